package static

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	modellabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	strict "sigs.k8s.io/yaml"
)

// operator reads one of the objects for the Prometheus Operator; a field that its types do not know fails the test.
func operator(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "operator", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := strict.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// relabelings reads relabel rules as a Prometheus does.
func relabelings(t *testing.T, rules any) []*relabel.Config {
	t.Helper()
	text, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	var configs []*relabel.Config
	if err := yaml.Unmarshal(text, &configs); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, c := range configs {
		if err := c.Validate(model.UTF8Validation); err != nil {
			t.Fatal(err)
		}
	}
	return configs
}

// given are the operator's relabelings as it writes them into Prometheus' configuration.
func given(t *testing.T, rules []monitoringv1.RelabelConfig) []*relabel.Config {
	t.Helper()
	var list []map[string]any
	for _, r := range rules {
		rule := map[string]any{}
		if len(r.SourceLabels) > 0 {
			rule["source_labels"] = r.SourceLabels
		}
		for key, value := range map[string]string{"target_label": r.TargetLabel, "regex": r.Regex, "action": r.Action} {
			if value != "" {
				rule[key] = value
			}
		}
		if r.Replacement != nil {
			rule["replacement"] = *r.Replacement
		}
		list = append(list, rule)
	}
	return relabelings(t, list)
}

// addedByOperator is what the operator puts before an object's own relabelings (prometheus-operator, pkg/prometheus/promcfg.go); the
// endpoint of a PodMonitor is empty when it names no port.
func addedByOperator(t *testing.T, kind, endpoint string) []*relabel.Config {
	t.Helper()
	const common = `
- {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
- {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
- {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
- {source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded), action: drop}
`
	text := common + "- {target_label: job, replacement: monitoring/annotated-pods}\n"
	if kind == "service" {
		text = `- {source_labels: [__meta_kubernetes_endpointslice_port_name], regex: "` + endpoint + `", action: keep}` + common + `
- {source_labels: [__meta_kubernetes_service_name], target_label: service}
- {source_labels: [__meta_kubernetes_service_name], target_label: job, regex: (.+), replacement: "${1}"}
- {target_label: endpoint, replacement: "` + endpoint + `"}
`
	}
	var rules []map[string]any
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		t.Fatal(err)
	}
	return relabelings(t, rules)
}

// target is what comes of a discovered target: all that Prometheus knows it by, or "" when it is dropped.
func target(discovered map[string]string, job string, rules ...*relabel.Config) string {
	builder := modellabels.NewBuilder(modellabels.FromMap(discovered))
	builder.Set("job", job)
	builder.Set("__scheme__", "http")
	builder.Set("__metrics_path__", "/metrics")
	if !relabel.ProcessBuilder(builder, rules...) {
		return ""
	}
	known := map[string]string{}
	builder.Range(func(l modellabels.Label) {
		if !strings.HasPrefix(l.Name, "__meta_") {
			known[l.Name] = l.Value
		}
	})
	return modellabels.FromMap(known).String()
}

// pod is one of a cluster with the ports of its container, by name.
type pod struct {
	namespace, name, app, phase string
	annotations                 map[string]string
	ports                       map[string]int
	service                     bool // its Service has those ports too
}

// discover gives what role pod finds, and what role endpointslice finds behind a Service.
func (p pod) discover(role string) []map[string]string {
	var all []map[string]string
	for _, name := range slices.Sorted(maps.Keys(p.ports)) {
		found := map[string]string{
			"__address__":                                        "10.0.0.1:" + strconv.Itoa(p.ports[name]),
			"__meta_kubernetes_namespace":                        p.namespace,
			"__meta_kubernetes_pod_name":                         p.name,
			"__meta_kubernetes_pod_phase":                        p.phase,
			"__meta_kubernetes_pod_container_name":               "main",
			"__meta_kubernetes_pod_container_init":               "false",
			"__meta_kubernetes_pod_label_app_kubernetes_io_name": p.app,
		}
		for key, value := range p.annotations {
			found["__meta_kubernetes_pod_annotation_prometheus_io_"+key] = value
		}
		if role == "endpointslice" {
			found["__meta_kubernetes_service_name"], found["__meta_kubernetes_endpointslice_port_name"] = p.app, name
		}
		all = append(all, found)
	}
	return all
}

func cluster() []pod {
	scraped := func(port string) map[string]string {
		return map[string]string{"scrape": "true", "port": port, "path": "/metrics"}
	}
	return []pod{
		{"demo", "podinfo-1", "podinfo", "Running", scraped("8080"), map[string]int{"http": 8080, "grpc": 9999}, false},
		{"demo", "podinfo-primary-1", "podinfo-primary", "Running", scraped("8080"), map[string]int{"http": 8080, "grpc": 9999}, false},
		{"demo", "gone", "podinfo", "Succeeded", scraped("8080"), map[string]int{"http": 8080}, false},
		{"demo", "coming", "podinfo", "Pending", scraped("8080"), map[string]int{"http": 8080}, false},
		{"demo", "silent", "silent", "Running", nil, map[string]int{"http": 8080}, false},
		{"other", "gatekeeper-1", "gatekeeper", "Running", scraped("80"), map[string]int{"http": 80}, false}, // somebody else's
		{"flagger-system", "flagger-1", "flagger", "Running", map[string]string{"scrape": "true", "port": "8080"}, map[string]int{"http": 8080}, false},
		{"ingress-nginx", "controller-1", "ingress-nginx", "Running", map[string]string{"scrape": "true", "port": "10254"}, map[string]int{"http": 80, "https": 443, "metrics": 10254}, false},
		{"rollout-system", "gatekeeper-1", "gatekeeper", "Running", scraped("8081"), map[string]int{"hooks": 8080, "people": 8081}, true},
		{"rollout-system", "loadgen-1", "loadgen", "Running", scraped("8080"), map[string]int{"http": 8080}, true},
	}
}

// With the operator or without it, the same series have the same labels, or rules and dashboards would fit only one of them.
func TestTheOperatorFindsTheSameTargets(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := documents(t, text)[0]
	job := dig[map[string]any](t, config, "scrape_configs", 1)
	ours := relabelings(t, job["relabel_configs"])
	var pods monitoringv1.PodMonitor
	operator(t, "podmonitor.yaml", &pods)
	var services monitoringv1.ServiceMonitor
	operator(t, "servicemonitor.yaml", &services)

	want, got := map[string]bool{}, map[string]int{}
	for _, p := range cluster() {
		for _, found := range p.discover("pod") {
			want[target(found, "kubernetes-pods", ours...)] = true
			rules := append(addedByOperator(t, "pod", ""), given(t, pods.Spec.PodMetricsEndpoints[0].RelabelConfigs)...)
			got[target(found, "x", rules...)] = 1 // ports that become one target are one
		}
		for _, found := range p.discover("endpointslice") {
			if !p.service {
				continue
			}
			for _, endpoint := range services.Spec.Endpoints {
				rules := append(addedByOperator(t, "service", endpoint.Port), given(t, endpoint.RelabelConfigs)...)
				if known := target(found, "x", rules...); known != "" {
					got[known]++ // twice would be scraped twice
				}
			}
		}
	}
	delete(want, "")
	delete(got, "")
	if len(want) != 7 {
		t.Errorf("prometheus.yaml finds %d targets, want 7: %q", len(want), slices.Sorted(maps.Keys(want)))
	}
	for known := range want {
		if got[known] != 1 {
			t.Errorf("the operator finds %s %d times, want once", known, got[known])
		}
	}
	for known := range got {
		if !want[known] {
			t.Errorf("only the operator finds %s", known)
		}
	}

	for _, endpoint := range []struct {
		interval, timeout monitoringv1.Duration
		honor             bool
	}{
		{pods.Spec.PodMetricsEndpoints[0].Interval, pods.Spec.PodMetricsEndpoints[0].ScrapeTimeout, pods.Spec.PodMetricsEndpoints[0].HonorLabels},
		{services.Spec.Endpoints[0].Interval, services.Spec.Endpoints[0].ScrapeTimeout, services.Spec.Endpoints[0].HonorLabels},
		{services.Spec.Endpoints[1].Interval, services.Spec.Endpoints[1].ScrapeTimeout, services.Spec.Endpoints[1].HonorLabels},
	} {
		if string(endpoint.interval) != dig[string](t, config, "global", "scrape_interval") || string(endpoint.timeout) != dig[string](t, config, "global", "scrape_timeout") || endpoint.honor != (job["honor_labels"] == true) {
			t.Errorf("the operator scrapes differently: %+v", endpoint)
		}
	}
}
