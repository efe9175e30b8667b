package kube

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// apiServer answers GETs of these paths with these bodies, everything else with 404 as an API server does, and returns
// a client for it.
func apiServer(t *testing.T, answers map[string]string) *Client {
	t.Helper()
	return clientFor(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
		}
		fmt.Fprint(w, body)
	})
}

func clientFor(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: other, clusters: [{name: c, cluster: {server: "%s"}}],
  users: [{name: u, user: {}}], contexts: [{name: lab, context: {cluster: c, user: u}}, {name: other, context: {cluster: none, user: u}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := New(kubeconfig, "lab")
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestSetPolicy(t *testing.T) {
	written := ""
	client := clientFor(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPut {
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			written = string(text)
		}
		fmt.Fprint(w, `{"kind":"Canary","apiVersion":"flagger.app/v1beta1","metadata":{"name":"podinfo"},"spec":{"analysis":{"webhooks":[
			{"name":"step","metadata":{"policy":"default"}},{"name":"load","metadata":{"rate":"50"}},{"name":"bare"}]}}}`)
	})
	if err := client.SetPolicy(t.Context(), "demo", "podinfo", "paged"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"metadata":{"policy":"paged"},"name":"step"}`, `{"metadata":{"rate":"50"},"name":"load"}`, `{"name":"bare"}`} {
		if !strings.Contains(written, want) {
			t.Errorf("the Canary that is written has no %s: %s", want, written)
		}
	}
}

func TestWeight(t *testing.T) {
	const path = "/apis/networking.k8s.io/v1/namespaces/demo/ingresses/podinfo-canary"
	ingress := func(annotations string) map[string]string {
		return map[string]string{path: `{"kind":"Ingress","apiVersion":"networking.k8s.io/v1","metadata":{"annotations":{` + annotations + `}}}`}
	}
	const gateway = "/apis/gateway.networking.k8s.io/v1/namespaces/demo/httproutes/podinfo"
	split := func(primary, canary string) string {
		return `{"backendRefs":[{"name":"podinfo-primary","weight":` + primary + `},{"name":"podinfo-canary","weight":` + canary + `}]}`
	}
	route := func(rules string) map[string]string {
		return map[string]string{gateway: `{"kind":"HTTPRoute","apiVersion":"gateway.networking.k8s.io/v1","spec":{"rules":[` + rules + `]}}`}
	}
	const on, of = `"nginx.ingress.kubernetes.io/canary":"true"`, `"nginx.ingress.kubernetes.io/canary-weight":`
	for name, c := range map[string]struct {
		answers map[string]string
		want    int
		fail    bool
	}{
		"a canary with a weight has it":                {ingress(on + "," + of + `"25"`), 25, false},
		"a canary that is switched off has none":       {ingress(`"nginx.ingress.kubernetes.io/canary":"false",` + of + `"25"`), 0, false},
		"a canary without a weight has none":           {ingress(on), 0, false},
		"before the first release there is no Ingress": {nil, 0, false},
		"a weight that is no number is an error":       {ingress(on + "," + of + `"many"`), 0, true},
		"an HTTPRoute has it in its last rule":         {route(split("0", "100") + "," + split("75", "25")), 25, false},
		"one that is the primary's alone has none":     {route(`{"backendRefs":[{"name":"podinfo-primary"}]}`), 0, false},
		"an HTTPRoute without rules is an error":       {route(""), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apiServer(t, c.answers).Weight(t.Context(), "demo", "podinfo")
			if got != c.want || (err != nil) != c.fail {
				t.Errorf("got %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

func TestPhase(t *testing.T) {
	const path = "/apis/flagger.app/v1beta1/namespaces/demo/canaries/podinfo"
	for body, want := range map[string]string{
		`{"kind":"Canary","apiVersion":"flagger.app/v1beta1","status":{"phase":"Failed"}}`: "Failed",
		`{"kind":"Canary","apiVersion":"flagger.app/v1beta1"}`:                             "",
	} {
		if got, err := apiServer(t, map[string]string{path: body}).Phase(t.Context(), "demo", "podinfo"); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if _, err := apiServer(t, nil).Phase(t.Context(), "demo", "podinfo"); err == nil {
		t.Error("without a Canary there must be an error")
	}
}

func TestRelease(t *testing.T) {
	const path = "/apis/apps/v1/namespaces/demo/deployments/podinfo-primary"
	deployment := func(status string) string {
		return `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"generation":2},"spec":{"replicas":2,"template":{
			"metadata":{"annotations":{"rollout.monitoring/deploy-id":"d1"}},"spec":{"containers":[{"name":"app","image":"app:2.0.0"}]}}},"status":` + status + `}`
	}
	for name, c := range map[string]struct {
		status string
		ready  bool
	}{
		"all pods new and available is ready":          {`{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"availableReplicas":2}`, true},
		"an old pod that is still there is not ready":  {`{"observedGeneration":2,"replicas":3,"updatedReplicas":2,"availableReplicas":2}`, false},
		"a change that is not yet seen is not ready":   {`{"observedGeneration":1,"replicas":2,"updatedReplicas":2,"availableReplicas":2}`, false},
		"a pod that is not yet available is not ready": {`{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"availableReplicas":1}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apiServer(t, map[string]string{path: deployment(c.status)}).Release(t.Context(), "demo", "podinfo-primary")
			if want := (Release{"app:2.0.0", "d1", c.ready}); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestPods(t *testing.T) {
	pod := func(name, phase, more string, restarts int) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"uid":"u-%s","annotations":{"rollout.monitoring/deploy-id":"d1"},"labels":{"pod-template-hash":"h1"}%s},
			"status":{"phase":%q,"podIP":"10.0.0.1","containerStatuses":[{"name":"app","ready":true,"restartCount":%d,"imageID":"app@sha256:aa"}]}}`, name, name, more, phase, restarts)
	}
	client := apiServer(t, map[string]string{"/api/v1/namespaces/demo/pods": `{"kind":"PodList","apiVersion":"v1","items":[` + strings.Join([]string{
		pod("a", "Running", "", 0), pod("b", "Running", `,"deletionTimestamp":"2026-01-02T03:04:05Z"`, 1), pod("c", "Pending", "", 0), pod("d", "Succeeded", "", 0),
	}, ",") + `]}`})
	got, err := client.Pods(t.Context(), "demo", "podinfo")
	want := []Pod{{"a", "u-a/0", "d1", "h1", "app@sha256:aa", 0, true, false}, {"b", "u-b/1", "d1", "h1", "app@sha256:aa", 1, true, true}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v: only running pods, also those that are shutting down", got, err, want)
	}
}

func TestServiceIsReachedThroughTheProxy(t *testing.T) {
	const base = "/api/v1/namespaces/rollout-system/services/gatekeeper:people/proxy"
	client := clientFor(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + strings.TrimPrefix(r.URL.Path, base) {
		case "GET /api/v1/rollouts":
			fmt.Fprint(w, r.URL.Query().Get("canary"))
		case "POST /refused":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, r.Header.Get("Content-Type"))
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no endpoints available","code":503}`)
		}
	})
	call := func(method, path string, body []byte) (string, int, error) {
		text, status, err := client.Service(t.Context(), method, "rollout-system", "gatekeeper", "people", path, body)
		return string(text), status, err
	}
	if text, status, err := call("GET", "/api/v1/rollouts?canary=demo/podinfo", nil); err != nil || status != 200 || text != "demo/podinfo" {
		t.Errorf("got %q %d %v", text, status, err)
	}
	if text, status, err := call("POST", "/refused", []byte("{}")); err != nil || status != 403 || text != "application/json" {
		t.Errorf("a refusal is an answer: got %q %d %v", text, status, err)
	}
	if _, _, err := call("GET", "/gone", nil); err == nil || !strings.Contains(err.Error(), "no endpoints") {
		t.Errorf("nobody there is an error: got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	client := apiServer(t, map[string]string{"/api/v1/namespaces/demo/pods/a:8080/proxy/metrics": "up 1\n"})
	if text, err := client.Metrics(t.Context(), "demo", "a", 8080); err != nil || string(text) != "up 1\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := client.Metrics(t.Context(), "demo", "b", 8080); err == nil {
		t.Error("a pod that is gone must be an error")
	}
}

func TestAvailableSaysWhyPodsDoNotRun(t *testing.T) {
	pod := func(status string) string { return `{"metadata":{"name":"p"},"status":` + status + `}` }
	noImage := pod(`{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"ErrImageNeverPull","message":"image web:1 is not there"}}}]}`)
	client := apiServer(t, map[string]string{
		"/apis/apps/v1/namespaces/demo/deployments/web": `{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web"},
			"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{"spec":{"containers":[{"image":"web:1"}]}}}}`,
		"/api/v1/namespaces/demo/pods": `{"kind":"PodList","apiVersion":"v1","items":[` + noImage + "," + noImage + "," +
			pod(`{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/1 nodes are available"}]}`) + `]}`,
	})
	err := client.Available(t.Context(), "demo", "web", time.Millisecond)
	const want = "to be available: context deadline exceeded: ErrImageNeverPull image web:1 is not there; Unschedulable 0/1 nodes are available"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
