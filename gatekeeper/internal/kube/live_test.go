package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// fakeAPI answers as the API server does for a few objects, by their paths: read, list by "path?list", and merge patches
// with a resourceVersion as precondition. The real thing is asked by the lab.
type fakeAPI struct {
	mu      sync.Mutex
	objects map[string]map[string]any
	pages   map[string]string       // what a proxied pod answers, by path
	refuse  func(*http.Request) int // a status to answer with, 0: none
	before  func()                  // runs before each patch
	patches []string                // their queries and bodies
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int) {
		reason := map[int]string{404: "NotFound", 403: "Forbidden", 409: "Conflict", 500: "InternalError"}[code]
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, reason+" "+r.URL.Path)
	}
	if page, ok := f.pages[r.URL.Path]; ok {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, page)
		return
	}
	if f.refuse != nil {
		if code := f.refuse(r); code != 0 {
			fail(code)
			return
		}
	}
	if r.Method == http.MethodPatch && f.before != nil {
		f.before()
	}
	object, ok := f.objects[r.URL.Path]
	if !ok {
		fail(http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		body, _ := io.ReadAll(r.Body)
		f.patches = append(f.patches, r.Header.Get("Content-Type")+" "+r.URL.RawQuery+" "+string(body))
		var patch struct {
			Metadata struct {
				ResourceVersion string
				Annotations     map[string]any
			}
			Spec map[string]any
		}
		if err := json.Unmarshal(body, &patch); err != nil {
			fail(http.StatusInternalServerError)
			return
		}
		meta, _ := object["metadata"].(map[string]any)
		if patch.Metadata.ResourceVersion != meta["resourceVersion"] {
			fail(http.StatusConflict)
			return
		}
		annotations, _ := meta["annotations"].(map[string]any)
		for k, v := range patch.Metadata.Annotations {
			annotations[k] = v
		}
		if patch.Spec != nil {
			object["spec"] = patch.Spec
		}
	}
	if err := json.NewEncoder(w).Encode(object); err != nil {
		panic(err)
	}
}

const (
	canaryPath  = "/apis/flagger.app/v1beta1/namespaces/demo/canaries/podinfo"
	ingressPath = "/apis/networking.k8s.io/v1/namespaces/demo/ingresses/podinfo-canary"
	routePath   = "/apis/gateway.networking.k8s.io/v1/namespaces/demo/httproutes/podinfo"
)

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

func canaryJSON(phase, provider string) string {
	return fmt.Sprintf(`{"apiVersion":"flagger.app/v1beta1","kind":"Canary","metadata":{"namespace":"demo","name":"podinfo"},
		"spec":{"provider":%q,"targetRef":{"kind":"Deployment","name":"podinfo"},"ingressRef":{"name":"podinfo"},
		"analysis":{"metrics":[{"name":"m","templateRef":{"name":"backstop","namespace":"flagger-system"}}]}},"status":{"phase":%q}}`, provider, phase)
}

func ingressJSON(annotations string) string {
	return fmt.Sprintf(`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"namespace":"demo","name":"podinfo-canary","resourceVersion":"7","annotations":%s}}`, annotations)
}

func TestBrake(t *testing.T) {
	const at25 = `{"nginx.ingress.kubernetes.io/canary-weight":"25","other":"stays"}`
	for name, c := range map[string]struct {
		phase, provider, annotations string
		refuse                       func(*http.Request) int
		was                          int
		err                          string
		kind                         error
		patched                      bool
	}{
		"traffic is taken away":          {phase: "Progressing", provider: "nginx", annotations: at25, was: 25, patched: true},
		"while the promotion waits":      {phase: "WaitingPromotion", annotations: at25, was: 25, patched: true},
		"it was 0 already":               {phase: "Progressing", provider: "nginx", annotations: `{"nginx.ingress.kubernetes.io/canary-weight":"0"}`},
		"during the promotion":           {phase: "Promoting", provider: "nginx", annotations: at25, kind: rollout.ErrNotAnalysed, err: "phase Promoting"},
		"after it":                       {phase: "Succeeded", provider: "nginx", annotations: at25, kind: rollout.ErrNotAnalysed, err: "demo/podinfo"},
		"before the start":               {phase: "Waiting", provider: "nginx", annotations: at25, kind: rollout.ErrNotAnalysed},
		"another provider":               {phase: "Progressing", provider: "istio", annotations: at25, err: `not supported: provider "istio"`},
		"traffic goes by header":         {phase: "Progressing", provider: "nginx", annotations: `{}`, err: "splits no traffic by weight"},
		"no such Canary":                 {kind: rollout.ErrUnknownCanary},
		"no canary ingress":              {phase: "Progressing", provider: "nginx", err: "read ingress podinfo-canary"},
		"no permission":                  {phase: "Progressing", provider: "nginx", annotations: at25, refuse: on(http.MethodPatch, 403), err: "brake.enabled"},
		"the API server is ill":          {phase: "Progressing", provider: "nginx", annotations: at25, refuse: on(http.MethodPatch, 500), err: "patch Ingress podinfo-canary"},
		"the API server hides the phase": {phase: "Progressing", provider: "nginx", annotations: at25, refuse: on(http.MethodGet, 403), err: "read canary"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeAPI{objects: map[string]map[string]any{}, refuse: c.refuse}
			if c.phase != "" {
				f.objects[canaryPath] = decoded(t, canaryJSON(c.phase, c.provider))
			}
			if c.annotations != "" {
				f.objects[ingressPath] = decoded(t, ingressJSON(c.annotations))
			}
			was, err := brakeAt(t, f)
			if was != c.was || (err != nil) != (c.err != "" || c.kind != nil) {
				t.Fatalf("was %d, error %v; want %d, %q", was, err, c.was, c.err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.err) || c.kind != nil && !errors.Is(err, c.kind)) {
				t.Errorf("error %v, want %q of kind %v", err, c.err, c.kind)
			}
			if (len(f.patches) > 0) != c.patched {
				t.Errorf("patches: %v", f.patches)
			}
			if c.patched {
				want := `application/merge-patch+json fieldManager=gatekeeper-brake {"metadata":{"annotations":{"nginx.ingress.kubernetes.io/canary-weight":"0"},"resourceVersion":"7"}}`
				if f.patches[0] != want {
					t.Errorf("the patch is\n%s, want\n%s", f.patches[0], want)
				}
				meta, _ := f.objects[ingressPath]["metadata"].(map[string]any)
				if a, _ := meta["annotations"].(map[string]any); a[weightAnnotation] != "0" || a["other"] != "stays" {
					t.Errorf("annotations are %v", a)
				}
			}
		})
	}
}

// split is a rule that splits traffic by weight.
func split(primary, canary int) string {
	return fmt.Sprintf(`{"backendRefs":[{"name":"podinfo-primary","port":80,"weight":%d},{"name":"podinfo-canary","port":80,"weight":%d}],"matches":[{"path":{"value":"/"}}]}`, primary, canary)
}

func routeJSON(rules ...string) string {
	return `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"namespace":"demo","name":"podinfo","resourceVersion":"7"},"spec":{"rules":[` + strings.Join(rules, ",") + `]}}`
}

func TestBrakeOnAnHTTPRoute(t *testing.T) {
	const alone = `{"backendRefs":[{"name":"podinfo-primary","port":80,"weight":100}]}`
	for name, c := range map[string]struct {
		route  string
		refuse func(*http.Request) int
		was    int
		err    string
		rules  string // of the patch
	}{
		"traffic is taken away":                 {route: routeJSON(split(75, 25)), was: 25, rules: split(100, 0)},
		"also from who has the canary's cookie": {route: routeJSON(split(0, 100), split(90, 10)), was: 10, rules: split(100, 0) + "," + split(100, 0)},
		"it was 0 already":                      {route: routeJSON(split(100, 0))},
		"traffic goes by header":                {route: routeJSON(split(0, 100), alone), err: "HTTPRoute podinfo splits no traffic by weight"},
		"no HTTPRoute":                          {err: "read HTTPRoute podinfo"},
		"no permission":                         {route: routeJSON(split(75, 25)), refuse: on(http.MethodPatch, 403), err: "brake.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeAPI{objects: map[string]map[string]any{canaryPath: decoded(t, canaryJSON("Progressing", "gatewayapi:v1"))}, refuse: c.refuse}
			if c.route != "" {
				f.objects[routePath] = decoded(t, c.route)
			}
			was, err := brakeAt(t, f)
			if was != c.was || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("was %d, error %v; want %d, %q", was, err, c.was, c.err)
			}
			var want []string
			if c.rules != "" {
				want = []string{`application/merge-patch+json fieldManager=gatekeeper-brake {"metadata":{"resourceVersion":"7"},"spec":{"rules":[` + c.rules + `]}}`}
			}
			if !slices.Equal(f.patches, want) {
				t.Errorf("patches are\n%s, want\n%s", f.patches, want)
			}
		})
	}
}

func on(method string, code int) func(*http.Request) int {
	return func(r *http.Request) int {
		if r.Method == method {
			return code
		}
		return 0
	}
}

func brakeAt(t *testing.T, f *fakeAPI) (int, error) {
	t.Helper()
	server := httptest.NewServer(f)
	defer server.Close()
	c, err := New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c.Brake(t.Context(), rollout.Key{Namespace: "demo", Name: "podinfo"})
}

// Flagger may promote between our reading and our writing: then its weight stands, and ours must not come over it.
func TestBrakeLooksAgainWhenSomebodyWasFaster(t *testing.T) {
	f := &fakeAPI{objects: map[string]map[string]any{
		canaryPath:  decoded(t, canaryJSON("Progressing", "nginx")),
		ingressPath: decoded(t, ingressJSON(`{"nginx.ingress.kubernetes.io/canary-weight":"50"}`)),
	}}
	f.before = func() {
		f.objects[canaryPath] = decoded(t, canaryJSON("Promoting", "nginx"))
		meta, _ := f.objects[ingressPath]["metadata"].(map[string]any)
		meta["resourceVersion"] = "8"
	}
	if _, err := brakeAt(t, f); !errors.Is(err, rollout.ErrNotAnalysed) {
		t.Errorf("error %v, want that the promotion is under way", err)
	}
	meta, _ := f.objects[ingressPath]["metadata"].(map[string]any)
	if a, _ := meta["annotations"].(map[string]any); a[weightAnnotation] != "50" {
		t.Errorf("the weight is %v", a[weightAnnotation])
	}

	f.objects[canaryPath] = decoded(t, canaryJSON("Progressing", "nginx"))
	f.before = func() {
		f.before = nil
		f.objects[ingressPath] = decoded(t, strings.ReplaceAll(ingressJSON(`{"nginx.ingress.kubernetes.io/canary-weight":"75"}`), `"7"`, `"9"`))
	}
	f.patches = nil
	if _, err := brakeAt(t, f); err != nil || len(f.patches) != 2 || !strings.Contains(f.patches[1], `"resourceVersion":"9"`) {
		t.Errorf("error %v after %v", err, f.patches)
	}
}

func TestPatients(t *testing.T) {
	const apps, services = "/apis/apps/v1/namespaces/demo/", "/api/v1/namespaces/demo/services/"
	named := func(kind, name, rest string) map[string]any {
		return decoded(t, fmt.Sprintf(`{"apiVersion":"v1","kind":%q,"metadata":{"namespace":"demo","name":%q,"uid":%q,"annotations":{"deployment.kubernetes.io/revision":"3"}}%s}`, kind, name, name, rest))
	}
	list := func(items ...string) map[string]any {
		return decoded(t, `{"apiVersion":"v1","kind":"List","items":[`+strings.Join(items, ",")+`]}`)
	}
	set := func(name, owner, revision, made string) string {
		return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":%q,"creationTimestamp":%q,"annotations":{"deployment.kubernetes.io/revision":%q},"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":%q,"uid":%q}]}}`, name, made, revision, owner, owner)
	}
	f := &fakeAPI{objects: map[string]map[string]any{
		"/apis/flagger.app/v1beta1/canaries": list(canaryJSON("Failed", "nginx"), strings.ReplaceAll(canaryJSON("Succeeded", ""), "podinfo", "shop")),
		apps + "deployments/podinfo":         named("Deployment", "podinfo", ""),
		apps + "deployments/podinfo-primary": named("Deployment", "podinfo-primary", `,"spec":{"selector":{"matchLabels":{"app":"podinfo-primary"}}}`),
		apps + "replicasets": list(set("old", "podinfo", "2", "2026-03-01T00:00:00Z"), set("new", "podinfo", "3", "2026-03-02T00:00:00Z"),
			set("other", "shop", "3", "2026-03-03T00:00:00Z")),
		services + "podinfo": named("Service", "podinfo", ""),
		"/apis/networking.k8s.io/v1/namespaces/demo/ingresses/podinfo": named("Ingress", "podinfo", ""),
		ingressPath: decoded(t, ingressJSON(`{}`)),
		"/apis/autoscaling/v2/namespaces/demo/horizontalpodautoscalers":                list(`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"podinfo"}}`),
		"/apis/flagger.app/v1beta1/namespaces/flagger-system/metrictemplates/backstop": named("MetricTemplate", "backstop", ""),
	}}
	f.objects["/apis/flagger.app/v1beta1/namespaces/demo/canaries"] = f.objects["/apis/flagger.app/v1beta1/canaries"]
	f.refuse = func(r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/services/podinfo-canary") {
			return http.StatusForbidden
		}
		return 0
	}
	server := httptest.NewServer(f)
	defer server.Close()
	reader, err := NewReader(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(5000, 0)
	got, err := reader.Patients(t.Context(), rollout.Key{Namespace: "demo", Name: "podinfo"}, now)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d patients, error %v", len(got), err)
	}
	p := got[0]
	for what, ok := range map[string]bool{
		"the Canary":                  p.Name() == "podinfo" && p.Namespace() == "demo",
		"its target":                  p.Target.Text("metadata", "name") == "podinfo",
		"its primary":                 p.Primary.Text("metadata", "name") == "podinfo-primary",
		"the apex":                    p.Apex.Text("metadata", "name") == "podinfo",
		"a Service that is not there": p.PrimaryService == nil,
		"one that may not be read":    p.CanaryService == nil && strings.Contains(p.Unread["Service"], "Forbidden") && len(p.Unread) == 1,
		"both ingresses":              p.Ingress != nil && p.CanaryIngress != nil,
		"the template":                p.Templates["flagger-system/backstop"] != nil,
		"autoscalers":                 len(p.Autoscalers) == 1,
		"all Canaries":                len(p.Others) == 2,
		"the newest revision's age":   p.TargetSince.Equal(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)),
		"the time":                    p.Now.Equal(now),
	} {
		if !ok {
			t.Errorf("%s: %+v", what, p)
		}
	}
	if all, err := reader.Patients(t.Context(), rollout.Key{}, now); err != nil || len(all) != 2 {
		t.Errorf("without a name there are %d, error %v", len(all), err)
	}
	if _, err := reader.Patients(t.Context(), rollout.Key{Namespace: "demo", Name: "none"}, now); !errors.Is(err, rollout.ErrUnknownCanary) {
		t.Errorf("a Canary that is not there: %v", err)
	}

	pods := func(ready string) map[string]any {
		return decoded(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"namespace":"demo","name":"a","annotations":{"prometheus.io/port":"9797","prometheus.io/path":"/stats"}},"status":{"conditions":[{"type":"Ready","status":%q}]}}]}`, ready))
	}
	f.objects["/api/v1/namespaces/demo/pods"] = pods("True")
	f.pages = map[string]string{"/api/v1/namespaces/demo/pods/http:a:9797/proxy/stats": "http_requests_total 3\n"}
	pages, err := reader.Pages(t.Context(), p.Primary)
	if err != nil || pages["a"] != "http_requests_total 3\n" {
		t.Errorf("pages %v, error %v", pages, err)
	}
	f.pages = nil
	if _, err := reader.Pages(t.Context(), p.Primary); err == nil || !strings.Contains(err.Error(), "pod a") {
		t.Errorf("a pod that does not answer: %v", err)
	}
	f.objects["/api/v1/namespaces/demo/pods"] = pods("False")
	if _, err := reader.Pages(t.Context(), p.Primary); err == nil || !strings.Contains(err.Error(), "no pod is ready") {
		t.Errorf("no pod to ask: %v", err)
	}
	if _, err := reader.Pages(t.Context(), nil); err == nil {
		t.Error("no deployment, but pages")
	}
}
