package static

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// Who reads the gatekeeper's rights must see at once whether it may change something, and what.
func TestTheGatekeeperOnlyChangesWeightsAndOnlyWithTheBrake(t *testing.T) {
	for _, c := range []struct {
		values []string
		brake  bool
	}{{nil, false}, {[]string{"brake.enabled=true"}, true}} {
		kinds := render(t, chart.Release{Chart: "gatekeeper", JSON: c.values})
		var changes []string
		for _, role := range kinds["ClusterRole"] {
			for _, rule := range dig[[]any](t, role, "rules") {
				for _, verb := range dig[[]any](t, rule, "verbs") {
					if !slices.Contains([]any{"get", "list", "watch"}, verb) {
						for _, what := range dig[[]any](t, rule, "resources") {
							changes = append(changes, verb.(string)+" "+what.(string))
						}
					}
				}
			}
		}
		var want []string
		if c.brake {
			want = []string{"patch ingresses", "patch httproutes"}
		}
		if !slices.Equal(changes, want) {
			t.Errorf("with %v it may %v, want %v", c.values, changes, want)
		}
		if roles, bindings := len(kinds["ClusterRole"]), len(kinds["ClusterRoleBinding"]); roles != bindings {
			t.Errorf("with %v there are %d roles and %d bindings", c.values, roles, bindings)
		}
		for _, binding := range kinds["ClusterRoleBinding"] {
			if of, account := dig[string](t, binding, "roleRef", "name"), dig[string](t, binding, "subjects", 0, "name"); of != dig[string](t, binding, "metadata", "name") || account != "gatekeeper" {
				t.Errorf("a binding of %s to %s", of, account)
			}
		}
		set := slices.ContainsFunc(dig[[]any](t, kinds["Deployment"][0], "spec", "template", "spec", "containers", 0, "env"), func(v any) bool {
			return dig[string](t, v, "name") == "GATEKEEPER_BRAKE" && dig[string](t, v, "value") == "true"
		})
		if set != c.brake {
			t.Errorf("with %v GATEKEEPER_BRAKE is set: %v", c.values, set)
		}
	}
}

// The doctor's tests call our own chart healthy by a copy of what it renders; here is that it still renders that.
func TestTheDoctorsHealthyCanaryIsTheCharts(t *testing.T) {
	file := filepath.Join(root, "gatekeeper", "internal", "doctor", "testdata", "chart.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]any
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	kinds := render(t, chart.Release{Chart: "podinfo-like"})
	template, err := os.ReadFile(filepath.Join(root, "flagger", "metric-template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]any{
		"Canary": kinds["Canary"][0], "Deployment": kinds["Deployment"][0], "Ingress": kinds["Ingress"][0], "MetricTemplate": documents(t, template)[0],
	}
	// Through JSON, so that numbers are of one type.
	again, err := json.Marshal(now)
	if err != nil {
		t.Fatal(err)
	}
	var fresh map[string]any
	if err := json.Unmarshal(unversioned(t, again), &fresh); err != nil {
		t.Fatal(err)
	}
	switch {
	case reflect.DeepEqual(kept, fresh):
	case !*update:
		t.Errorf("%s is not what the chart renders; make charts ARGS=-update writes it", file)
	default:
		text, err := json.MarshalIndent(fresh, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, file, append(text, '\n'))
	}
}
