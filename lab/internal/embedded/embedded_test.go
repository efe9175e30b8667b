package embedded

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

func index(t *testing.T, objects ...any) cache.Indexer {
	t.Helper()
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := i.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func TestNamesLeadToReadyPodsOnly(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 81}}}}
	slice := func(name string, ready bool, port int32, portName string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "app"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}
	}
	d := directory{
		services: corelisters.NewServiceLister(index(t, service)),
		slices:   discoverylisters.NewEndpointSliceLister(index(t, slice("a", true, 20001, "http"), slice("b", false, 20002, "http"), slice("c", true, 20003, "admin"))),
	}
	for name, c := range map[string]struct {
		namespace, service string
		port               int
		want               []string
		known              bool
	}{
		"a port leads to the pods that are ready":       {"demo", "app", 80, []string{"127.0.0.1:20001"}, true},
		"another port has its own addresses":            {"demo", "app", 81, []string{"127.0.0.1:20003"}, true},
		"a port that the service does not have is none": {"demo", "app", 82, nil, true},
		"a service of another namespace is unknown":     {"other", "app", 80, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := d.find(c.namespace, c.service, c.port)
			if !slices.Equal(got, c.want) || known != c.known {
				t.Errorf("got %v, %v; want %v, %v", got, known, c.want, c.known)
			}
		})
	}
}

func TestPrometheusFindsPodsAsInACluster(t *testing.T) {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: "app-1", UID: "u1", Labels: map[string]string{"app.kubernetes.io/name": "app"},
			Annotations:     map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "20001"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "app", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "app", Image: "app:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, HostPort: 20001, Protocol: "TCP"}}}}},
		Status: corev1.PodStatus{
			Phase: "Running", PodIP: "127.0.0.1", HostIP: "127.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	pending := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app-2"}}
	answer := httptest.NewRecorder()
	bearer("secret", discovery(corelisters.NewPodLister(index(t, pod, pending)))).ServeHTTP(answer, request(t, "Bearer secret"))
	var groups []targets
	if err := json.Unmarshal(answer.Body.Bytes(), &groups); err != nil || len(groups) != 1 || !slices.Equal(groups[0].Targets, []string{"127.0.0.1:20001"}) {
		t.Fatalf("got %s, %v: want the one pod that has an address", answer.Body, err)
	}
	for label, want := range map[string]string{
		"namespace": "demo", "pod_name": "app-1", "pod_phase": "Running", "pod_ready": "true", "pod_container_init": "false",
		"pod_annotation_prometheus_io_scrape": "true", "pod_annotation_prometheus_io_port": "20001",
		"pod_label_app_kubernetes_io_name": "app", "pod_container_port_number": "20001", "pod_controller_kind": "ReplicaSet",
	} {
		if got := groups[0].Labels["__meta_kubernetes_"+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	// What the configuration asks for must be given, or its rules would quietly match nothing.
	text, err := os.ReadFile("../../../monitoring/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \n[],", r) }) {
		if _, given := groups[0].Labels[word]; strings.HasPrefix(word, "__meta_") && !given && !strings.Contains(word, "prometheus_io_path") {
			t.Errorf("monitoring/prometheus.yaml reads %s, which is not given", word)
		}
	}
	refused := httptest.NewRecorder()
	bearer("secret", discovery(corelisters.NewPodLister(index(t)))).ServeHTTP(refused, request(t, "Bearer wrong"))
	if refused.Code != http.StatusUnauthorized {
		t.Errorf("a wrong token gave %d", refused.Code)
	}
}

func request(t *testing.T, authorization string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, discoveryPath, nil)
	r.Header.Set("Authorization", authorization)
	return r
}

// adaptedTo compares a configuration with what it must have become.
func adaptedTo(t *testing.T, after []byte, err error, expected string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := yaml.Unmarshal([]byte(expected), &want); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(after, &got); err != nil {
		t.Fatal(err)
	}
	if a, b := text(t, got), text(t, want); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestPrometheusHasItsConfigurationButForTheWays(t *testing.T) {
	const before = `
global: {scrape_interval: 5s}
rule_files: [rules.yaml]
alerting: {alertmanagers: [{static_configs: [{targets: ["alertmanager.monitoring:9093"]}]}]}
scrape_configs:
  - {job_name: self, static_configs: [{targets: ["localhost:9090"]}]}
  - {job_name: pods, honor_labels: true, kubernetes_sd_configs: [{role: pod}], relabel_configs: [{source_labels: [__meta_kubernetes_namespace], target_label: namespace}]}
`
	here := Place{Discovery: "https://api/pods", Token: "secret", Authority: "/ca", Proxy: "socks5://127.0.0.1:1", Port: "20001"}
	after, err := AdaptPrometheus([]byte(before), "", here)
	adaptedTo(t, after, err, strings.NewReplacer("kubernetes_sd_configs: [{role: pod}]",
		"http_sd_configs: [{url: https://api/pods, refresh_interval: 1s, authorization: {type: Bearer, credentials: secret}, tls_config: {ca_file: /ca}}]",
		"alertmanagers: [{", "alertmanagers: [{proxy_url: 'socks5://127.0.0.1:1', ", "localhost:9090", "localhost:20001").Replace(before))
	if _, err := AdaptPrometheus([]byte(strings.Replace(before, "role: pod", "role: node", 1)), "", here); err == nil || !strings.Contains(err.Error(), "job pods discovers node") {
		t.Errorf("a role that is not known must be refused, got %v", err)
	}
}

func TestAlertmanagerHasItsConfigurationButForTheWays(t *testing.T) {
	const before = `
route: {receiver: a}
receivers:
  - {name: none}
  - {name: a, slack_configs: [{api_url_file: /etc/alertmanager/secrets/url}], webhook_configs: [{url: "http://b.c:80/", http_config: {authorization: {credentials_file: /etc/alertmanager/secrets/token}}}]}
`
	after, err := AdaptAlertmanager([]byte(before), "/pod/config", Place{Proxy: "socks5://127.0.0.1:1"})
	adaptedTo(t, after, err, strings.NewReplacer("/etc/alertmanager/secrets/url", "/pod/config/secrets/url, http_config: {proxy_url: 'socks5://127.0.0.1:1'}",
		"http_config: {auth", "http_config: {proxy_url: 'socks5://127.0.0.1:1', auth", "/etc/alertmanager/secrets/token", "/pod/config/secrets/token").Replace(before))
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestOneProcessHasTheEngine(t *testing.T) {
	e, err := New(Config{State: t.TempDir(), Cache: t.TempDir(), Env: os.Getenv, Say: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	if held, err := e.held(); held || err != nil {
		t.Fatalf("held at first: %v, %v", held, err)
	}
	release, err := e.lock()
	if err != nil {
		t.Fatal(err)
	}
	if held, err := e.held(); !held || err != nil || e.holder() != os.Getpid() {
		t.Errorf("held %v by %d, %v", held, e.holder(), err)
	}
	if _, err := e.lock(); err == nil || !strings.Contains(err.Error(), "lab down --engine embedded") {
		t.Errorf("a second one must be refused with what to do, got %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if held, err := e.held(); held || err != nil {
		t.Errorf("still held after its release: %v, %v", held, err)
	}
}

// The names of images stand in manifests of other folders, or in Flagger's chart.
func TestImagesAreThoseOfTheManifests(t *testing.T) {
	for name, image := range map[string]string{"prometheus": prometheusImage, "alertmanager": alertmanagerImage} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "monitoring", name, "deployment.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "image: "+image+"\n") {
			t.Errorf("monitoring does not run %s", image)
		}
	}
}
