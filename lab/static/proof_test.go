package static

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
)

// The proof's rules are the real ones but for their windows.
func TestAcceleratedRulesAreMadeFromTheObjectives(t *testing.T) {
	made := exec.CommandContext(t.Context(), build(t, "monitoring"), "rules", "--slo", filepath.Join("tests", "slo.yaml"), "--accelerate", strconv.Itoa(drill.Accelerated))
	made.Dir = filepath.Join(root, "monitoring")
	want, err := made.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "lab", "monitoring", "accelerated_rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("lab/monitoring/accelerated_rules.yaml is not what monitoring/tests/slo.yaml gives: run make rules")
	}
}

// Every variable of a dashboard has a value in the proof, and what the proof excuses is really asked.
func TestTheProofKnowsWhatDashboardsAsk(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "monitoring", "grafana_dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no dashboards: %v", err)
	}
	s := drill.Sights{Exceptions: drill.Exceptions()}
	for _, file := range append(files, filepath.Join(root, "monitoring", "alert_rules.yaml")) {
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
