package apiserver_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// api is a served API and clients of it.
type api struct {
	server  *apiserver.Server
	config  *rest.Config
	core    *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
}

func serve(t *testing.T, cfg apiserver.Config) *api {
	t.Helper()
	cfg.Token = "secret"
	server := apiserver.New(cfg)
	front := httptest.NewTLSServer(server) // clients send a token from a kubeconfig over TLS only
	t.Cleanup(front.Close)
	t.Cleanup(server.Close) // first, so that no watch keeps the listener from closing
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	config := &rest.Config{Host: front.URL, BearerToken: "secret", QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}
	core, err := kubernetes.NewForConfig(config)
	must(t, err)
	dyn, err := dynamic.NewForConfig(config)
	must(t, err)
	return &api{server: server, config: config, core: core, dynamic: dyn}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// value fails the test on an error and returns what came with none.
func value[T any](got T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return got
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("%s did not come true", what)
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: "app:1", Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
				}}},
			},
		},
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
}

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels}}
}

func TestAnswers(t *testing.T) {
	a := serve(t, apiserver.Config{})
	for name, test := range map[string]struct {
		method, path, token, body string
		code                      int
		want                      string
	}{
		"health needs no token":                     {"GET", "/healthz", "", "", 200, "ok"},
		"everything else does":                      {"GET", "/api/v1/namespaces", "", "", 401, `"reason":"Unauthorized"`},
		"a wrong token is none":                     {"GET", "/api", "wrong", "", 401, `"kind":"Status"`},
		"the first namespaces are there":            {"GET", "/api/v1/namespaces/kube-system", "secret", "", 200, `"phase":"Active"`},
		"an unknown path is not found":              {"GET", "/nothing/here", "secret", "", 404, `"kind":"Status"`},
		"an unknown resource is not found":          {"GET", "/api/v1/namespaces/default/things", "secret", "", 404, `"kind":"Status"`},
		"a cluster resource is in no namespace":     {"GET", "/api/v1/namespaces/default/nodes", "secret", "", 404, `"kind":"Status"`},
		"a missing object says what is missing":     {"GET", "/api/v1/namespaces/default/pods/x", "secret", "", 404, `pods \"x\" not found`},
		"a method that makes no sense is refused":   {"PUT", "/api/v1/namespaces/default/pods", "secret", "{}", 405, "MethodNotAllowed"},
		"a body that is no JSON is a bad request":   {"POST", "/api/v1/namespaces/default/pods", "secret", "{", 400, "BadRequest"},
		"a value of the wrong type names its field": {"POST", "/api/v1/namespaces/default/pods", "secret", `{"spec":{"containers":1}}`, 400, "spec.containers"},
		"an object of another kind is refused":      {"POST", "/api/v1/namespaces/default/pods", "secret", `{"kind":"Service","apiVersion":"v1"}`, 400, "the request is for v1 Pod"},
		"a body over 3 MiB is too large":            {"POST", "/api/v1/namespaces/default/pods", "secret", strings.Repeat(" ", 3<<20+1), 413, "RequestEntityTooLarge"},
		"a selector that can not be read is told":   {"GET", "/api/v1/pods?labelSelector=a==b==c", "secret", "", 400, "labelSelector"},
		"an object without a name is invalid":       {"POST", "/api/v1/namespaces/default/configmaps", "secret", "{}", 422, "metadata.name"},
		"a missing namespace is not found":          {"POST", "/api/v1/namespaces/x/configmaps", "secret", `{"metadata":{"name":"a"}}`, 404, `namespaces \"x\" not found`},
		"the version is one that Flagger supports":  {"GET", "/version", "secret", "", 200, `"gitVersion":"v1.34.0"`},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader(test.body))
			request.Header.Set("Content-Type", "application/json")
			if test.token != "" {
				request.Header.Set("Authorization", "Bearer "+test.token)
			}
			answer := httptest.NewRecorder()
			a.server.ServeHTTP(answer, request)
			if answer.Code != test.code || !strings.Contains(answer.Body.String(), test.want) {
				t.Errorf("got %d %s, want %d with %s", answer.Code, answer.Body, test.code, test.want)
			}
		})
	}
}

func TestClientThatReadsOnlyProtobufIsRefused(t *testing.T) {
	a := serve(t, apiserver.Config{})
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/namespaces/default", nil)
	request.Header.Set("Authorization", "Bearer secret")
	request.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	answer := httptest.NewRecorder()
	a.server.ServeHTTP(answer, request)
	if answer.Code != http.StatusNotAcceptable {
		t.Errorf("got %d", answer.Code)
	}
}

func TestClientThatWritesProtobufIsUnderstood(t *testing.T) {
	a := serve(t, apiserver.Config{})
	config := rest.CopyConfig(a.config)
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	client := value(kubernetes.NewForConfig(config))(t)
	value(client.AppsV1().Deployments("default").Create(t.Context(), deployment("web"), metav1.CreateOptions{}))(t)
	got := value(a.core.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{}))(t)
	if got.Spec.Template.Spec.Containers[0].Image != "app:1" {
		t.Errorf("got %+v", got.Spec)
	}
}

func TestDiscoveryIsTheSameInBothForms(t *testing.T) {
	a := serve(t, apiserver.Config{})
	_, aggregated, err := a.core.Discovery().ServerGroupsAndResources()
	must(t, err)
	legacy := a.core.DiscoveryClient
	legacy.UseLegacyDiscovery = true
	_, plain, err := legacy.ServerGroupsAndResources()
	must(t, err)
	names := func(lists []*metav1.APIResourceList) map[string]string {
		found := map[string]string{}
		for _, list := range lists {
			for _, r := range list.APIResources {
				found[list.GroupVersion+" "+r.Name] = r.Kind + " " + strings.Join(r.ShortNames, ",")
			}
		}
		return found
	}
	one, two := names(aggregated), names(plain)
	if len(one) != len(two) || one["apps/v1 deployments"] != "Deployment deploy" || one["apps/v1 deployments/scale"] == "" {
		t.Errorf("aggregated %v\nplain %v", one, two)
	}
	for name, kind := range one {
		if two[name] != kind {
			t.Errorf("%s is %q and %q", name, kind, two[name])
		}
	}
}

func TestNamespaceThatIsMissingRefusesObjects(t *testing.T) {
	a := serve(t, apiserver.Config{})
	lost := configMap("a", nil)
	lost.Namespace = "nowhere"
	if _, err := a.core.CoreV1().ConfigMaps("nowhere").Create(t.Context(), lost, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}
