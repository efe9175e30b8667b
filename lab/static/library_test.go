package static

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// adopted is a service's own chart that uses the library chart, as docs/adopt.md has it: a Canary and the pods' annotations.
func adopted(t *testing.T, values ...string) (canary, annotations map[string]any, err error) {
	t.Helper()
	folder := t.TempDir()
	for file, text := range map[string]string{
		"Chart.yaml":                 "{apiVersion: v2, name: shop, version: 1.0.0, dependencies: [{name: rollout-canary, version: '>=0.1.0'}]}",
		"templates/canary.yaml":      `{{ include "rollout-canary" . }}`,
		"templates/annotations.yaml": "kind: Annotations\ndata:\n" + `  {{- include "rollout-canary.annotations" . | nindent 2 }}`,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(folder, "charts", "rollout-canary"), os.DirFS(filepath.Join(root, "helm", "rollout-canary"))); err != nil {
		t.Fatal(err)
	}
	r := chart.Release{Name: "shop", Namespace: "demo", Chart: folder, JSON: []string{`rollout-canary.host="shop.example"`}}
	for _, value := range values {
		r.JSON = append(r.JSON, "rollout-canary."+value)
	}
	rendered, err := chart.Render(r)
	if err != nil {
		return nil, nil, err
	}
	for _, object := range documents(t, rendered.Objects) {
		switch object["kind"] {
		case "Canary":
			canary = object
		case "Annotations":
			annotations = dig[map[string]any](t, object, "data")
		}
	}
	return canary, annotations, nil
}

// Services have names of before; those of the Deployment's are only the default.
func TestAnAdoptedServiceKeepsItsNames(t *testing.T) {
	for want, values := range map[string][]string{
		"shop shop shop <nil>":     {`autoscaler=true`},
		"web public scale shop-v1": {`autoscaler=true`, `name="web"`, `ingress="public"`, `autoscalerName="scale"`, `service.name="shop-v1"`},
	} {
		canary, _, err := adopted(t, values...)
		if err != nil {
			t.Fatal(err)
		}
		spec := dig[map[string]any](t, canary, "spec")
		service, named := dig[map[string]any](t, spec, "service")["name"].(string)
		if !named {
			service = "<nil>"
		}
		got := strings.Join([]string{dig[string](t, spec, "targetRef", "name"), dig[string](t, spec, "ingressRef", "name"), dig[string](t, spec, "autoscalerRef", "name"), service}, " ")
		if got != want {
			t.Errorf("%v: Deployment, Ingress, autoscaler and Service are %s, want %s", values, got, want)
		}
	}
}

// What a chart refuses it names by the key that its user wrote.
func TestTheLibraryChartNamesItsOwnKeys(t *testing.T) {
	for value, says := range map[string]string{
		`provider="gatewayapi:v1"`:                    "rollout-canary.provider gatewayapi:v1 needs rollout-canary.gatewayRefs",
		`host=""`:                                     "rollout-canary.host is missing",
		`service.extra={"port":80}`:                   "/service/extra",
		`note="` + strings.Repeat("much ", 100) + `"`: "/note",
	} {
		if _, _, err := adopted(t, value); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want one that names %s", value, err, says)
		}
	}
	canary, _, err := adopted(t, `service.extra={"timeout":"15s"}`)
	if err != nil || dig[string](t, canary, "spec", "service", "timeout") != "15s" {
		t.Errorf("the time limit of the service is not the Canary's: %v", err)
	}
}

// The gatekeeper knows a release by the same annotations, whichever chart wrote them.
func TestBothChartsAnnotatePodsAlike(t *testing.T) {
	values := []string{
		`deployId="7"`, `commit="1a2b"`, `commitTime="2026-11-26T12:00:00Z"`, `traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`,
		`change="hotfix"`, `note="asked for"`, `drill=true`,
	}
	_, library, err := adopted(t, values...)
	if err != nil {
		t.Fatal(err)
	}
	podinfo := dig[map[string]any](t, render(t, chart.Release{Chart: "podinfo-like", JSON: values})["Deployment"][0], "spec", "template", "metadata", "annotations")
	if len(podinfo) != len(values)+3 || !maps.Equal(library, podinfo) {
		t.Errorf("podinfo-like writes %v, the library chart %v", podinfo, library)
	}
}
