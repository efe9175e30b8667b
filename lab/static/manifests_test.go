package static

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/kyaml/resid"
	strict "sigs.k8s.io/yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// built are the manifests of a folder as kubectl apply -k sends them: the names of its ConfigMaps, and its Deployments, read
// strictly.
func built(t *testing.T, folder string) (configMaps map[string]map[string]string, deployments []appsv1.Deployment) {
	t.Helper()
	configMaps = map[string]map[string]string{}
	for _, r := range kustomized(t, filepath.Join(root, folder)).Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch r.GetGvk() {
		case resid.NewGvk("", "v1", "ConfigMap"):
			configMaps[r.GetName()] = r.GetDataMap()
		case resid.NewGvk("apps", "v1", "Deployment"):
			var d appsv1.Deployment
			if err := strict.UnmarshalStrict(text, &d); err != nil {
				t.Fatalf("%s of %s: %v", r.GetName(), folder, err)
			}
			deployments = append(deployments, d)
		}
	}
	return configMaps, deployments
}

// Kubernetes' own check of the strictest Pod Security Standard, and what it leaves out.
func TestWhatWeDeployIsRestrictedPinnedAndBounded(t *testing.T) {
	restricted, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for folder, want := range map[string]int{"monitoring": 2, "monitoring/views": 3, "lab/monitoring": 2} {
		configMaps, deployments := built(t, folder)
		if len(deployments) != want {
			t.Errorf("%s has %d Deployments, want %d", folder, len(deployments), want)
		}
		for _, d := range deployments {
			name, pod := folder+": "+d.Name, d.Spec.Template
			for _, result := range restricted.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			for _, problem := range slices.Concat(loose(pod.Spec.Containers[0]), unmounted(pod.Spec, configMaps)) {
				t.Errorf("%s: %s", name, problem)
			}
		}
	}
}

// loose says what a container lacks.
func loose(c corev1.Container) (problems []string) {
	if _, tag, _ := strings.Cut(filepath.Base(c.Image), ":"); !strings.ContainsAny(tag, "0123456789") {
		problems = append(problems, "the image "+c.Image+" is not pinned to a version")
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		problems = append(problems, "requests or the memory limit are missing")
	}
	if c.StartupProbe == nil || c.ReadinessProbe == nil || c.LivenessProbe == nil {
		problems = append(problems, "a probe is missing")
	}
	if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		problems = append(problems, "the root file system can be written")
	}
	return problems
}

// unmounted says which ConfigMaps, or keys of them, a pod waits for in vain.
func unmounted(pod corev1.PodSpec, configMaps map[string]map[string]string) (problems []string) {
	for _, v := range pod.Volumes {
		var sources []corev1.ConfigMapProjection
		if v.ConfigMap != nil {
			sources = append(sources, corev1.ConfigMapProjection{LocalObjectReference: v.ConfigMap.LocalObjectReference, Items: v.ConfigMap.Items})
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					sources = append(sources, *s.ConfigMap)
				}
			}
		}
		for _, s := range sources {
			data, found := configMaps[s.Name]
			if !found {
				problems = append(problems, "there is no ConfigMap "+s.Name)
			}
			for _, item := range s.Items {
				if _, found := data[item.Key]; !found {
					problems = append(problems, "ConfigMap "+s.Name+" has no key "+item.Key)
				}
			}
		}
	}
	return problems
}

// The names under which the parts look for each other are those of Services, whose ports lead to ports of pods.
func TestTheViewsFindEachOther(t *testing.T) {
	reached := map[string]bool{} // host:port
	for _, folder := range []string{"monitoring", "monitoring/views"} {
		_, deployments := built(t, folder)
		for _, d := range deployments {
			text, err := os.ReadFile(filepath.Join(root, folder, d.Name, "service.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var s corev1.Service
			if err := strict.UnmarshalStrict(text, &s); err != nil {
				t.Fatal(err)
			}
			if s.Name != d.Name || !maps.Equal(s.Spec.Selector, d.Spec.Selector.MatchLabels) {
				t.Errorf("Service %s does not select the pods of %s", s.Name, d.Name)
			}
			for _, port := range s.Spec.Ports {
				if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port.TargetPort.StrVal }) {
					t.Errorf("port %s of Service %s leads to no port of the pods", port.Name, s.Name)
				}
				reached[fmt.Sprintf("%s.%s:%d", s.Name, d.Namespace, port.Port)] = true
			}
		}
	}
	config := func(file string) any {
		text, err := os.ReadFile(filepath.Join(root, "monitoring", file))
		if err != nil {
			t.Fatal(err)
		}
		return documents(t, text)[0]
	}
	sources := config("views/grafana/datasources.yaml")
	for who, address := range map[string]string{
		"Prometheus":     dig[string](t, config("prometheus.yaml"), "alerting", "alertmanagers", 0, "static_configs", 0, "targets", 0),
		"the collector":  dig[string](t, config("views/otel-collector/config.yaml"), "exporters", "otlp_grpc", "endpoint"),
		"Grafana":        dig[string](t, sources, "datasources", 0, "url"),
		"Grafana, too,":  dig[string](t, sources, "datasources", 1, "url"),
		"what is traced": stack.CollectorURL,
	} {
		if !reached[strings.TrimPrefix(address, "http://")] {
			t.Errorf("%s looks for %s, which no Service is", who, address)
		}
	}
}

// Grafana gets the dashboards as they are, and a trace that an exemplar names is looked up where traces go.
func TestGrafanaIsProvisioned(t *testing.T) {
	configMaps, _ := built(t, "monitoring/views")
	var dashboards, provisioning map[string]string
	for name, data := range configMaps {
		switch {
		case strings.HasPrefix(name, "grafana-dashboards-"):
			dashboards = data
		case strings.HasPrefix(name, "grafana-provisioning-"):
			provisioning = data
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "monitoring", "grafana_dashboards", "*.json"))
	if err != nil || len(files) == 0 || len(files) != len(dashboards) {
		t.Errorf("there are %d dashboards, and Grafana gets %d: %v", len(files), len(dashboards), err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || dashboards[filepath.Base(file)] != string(text) {
			t.Errorf("Grafana does not get %s as it is: %v", file, err)
		}
	}
	sources := dig[[]any](t, documents(t, []byte(provisioning["datasources.yaml"]))[0], "datasources")
	if uid := dig[string](t, sources[0], "uid"); uid != "prometheus" {
		t.Errorf("the first data source is %s", uid)
	}
	jaeger, err := url.Parse(dig[string](t, sources[1], "url"))
	if err != nil {
		t.Fatal(err)
	}
	// A link to a data source opens Explore, which a viewer may not. Grafana reads $$ as $.
	exemplars := dig[map[string]any](t, sources[0], "jsonData", "exemplarTraceIdDestinations", 0)
	want := "http://localhost:" + jaeger.Port() + "/trace/$${__value.raw}"
	if exemplars["name"] != "trace_id" || exemplars["url"] != want || exemplars["datasourceUid"] != nil || dig[string](t, sources[1], "type") != "jaeger" {
		t.Errorf("exemplars lead to %v, want %s", exemplars, want)
	}
}
