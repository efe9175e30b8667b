package static

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
)

// The proof's rules are the real ones but for their windows, and behind a Gateway for whose counters they read.
func TestTheProofsRulesAreMadeFromObjectives(t *testing.T) {
	monitoring := build(t, "monitoring")
	for kept, args := range map[string][]string{
		"lab/monitoring/accelerated_rules.yaml": {"--slo", "tests/slo.yaml", "--accelerate", strconv.Itoa(drill.Accelerated)},
		"lab/gateway/alert_rules.yaml":          {"--slo", "../lab/gateway/slo.yaml"},
	} {
		file := filepath.Join(t.TempDir(), "rules.yaml")
		made := exec.CommandContext(t.Context(), monitoring, append([]string{"rules", "--out", file}, args...)...)
		made.Dir = filepath.Join(root, "monitoring")
		if out, err := made.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, kept))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its objectives give: run make rules", kept)
		}
	}
}

// Every variable of a dashboard has a value in the proof, and what the proof excuses is really asked.
func TestTheProofKnowsWhatDashboardsAsk(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "monitoring", "grafana_dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	for rules, exceptions := range map[string][]panel.Exception{
		"monitoring/alert_rules.yaml": drill.Exceptions(), "lab/gateway/alert_rules.yaml": drill.GatewayExceptions(),
	} {
		watch(t, drill.Sights{Exceptions: exceptions}, append(slices.Clone(files), filepath.Join(root, rules)))
	}
}

func watch(t *testing.T, s drill.Sights, files []string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(file) == ".json" {
			s.Dashboards = append(s.Dashboards, text)
		} else {
			s.Rules = text
		}
	}
	if err := drill.New(drill.Config{Namespace: "demo", Name: "podinfo"}).Watch(s); err != nil {
		t.Error(err)
	}
}
