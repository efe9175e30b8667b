package static

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
)

// expected is what promtool must find of an expression at a moment.
type expected struct {
	Expr    string           `yaml:"expr"`
	At      string           `yaml:"eval_time"`
	Samples []map[string]any `yaml:"exp_samples"`
}

// Grafana asks for marks every 15 s, and along a month every half an hour and more. A rollout of four minutes that ends with a
// verdict of one scrape is marked at both: it begins at 12 min and is rolled back at 16 min.
func TestMarksAreFoundAtAnyStep(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "grafana_dashboards", "rollouts.json"))
	if err != nil {
		t.Fatal(err)
	}
	const ofCanary = `{namespace="demo",canary="podinfo"`
	series := func(name, labels, values string) map[string]string {
		return map[string]string{"series": name + ofCanary + labels + "}", "values": values}
	}
	scrapes := []map[string]string{
		series("gatekeeper_rollout_info", `,version="2.0",rollout="a"`, "_x144 1x47 stale"),
		series("gatekeeper_rollout_started_timestamp_seconds", "", "_x144 720x47 stale"),
		series("gatekeeper_verdict", `,verdict="fail"`, "_x144 0x46 1 stale"),
		series("gatekeeper_rollouts_total", `,result="rolled-back"`, "0x191 1x400"),
		series("gatekeeper_rollout_ended_timestamp_seconds", `,result="rolled-back"`, "_x192 960x400"),
	}
	start := []map[string]any{{"labels": `{namespace="demo",canary="podinfo",version="2.0"}`, "value": 720000}}
	verdict := []map[string]any{{"labels": `{verdict="fail"}`, "value": 1}}
	end := []map[string]any{{"labels": `{result="rolled-back"}`, "value": 960000}}

	var tests []expected
	for step, marked := range map[string]map[string]map[string][]map[string]any{
		"15s": {
			"Start":   {"11m45s": nil, "12m15s": start, "16m30s": nil},
			"Verdict": {"15m45s": nil, "16m": verdict, "16m30s": nil},
			"End":     {"15m45s": nil, "16m": end, "30m": end},
		},
		"10m": {
			"Start":   {"10m": nil, "20m": start, "30m": nil},
			"Verdict": {"10m": nil, "20m": verdict, "30m": nil},
			"End":     {"10m": nil, "20m": end, "30m": end},
		},
	} {
		queries, err := panel.Dashboard(text, map[string]string{
			"namespace": "demo", "canary": "podinfo", "datasource": "prometheus", "__rate_interval": "20s", "__interval": step, "__range": "1h",
		})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, q := range queries {
			_, mark, is := strings.Cut(q.Where, "/annotation ")
			if !is {
				continue
			}
			found++
			for at, samples := range marked[mark] {
				tests = append(tests, expected{q.Expr, at, samples})
			}
		}
		if found != len(marked) {
			t.Errorf("the dashboard has %d kinds of marks, and %d are tested", found, len(marked))
		}
	}
	file := filepath.Join(t.TempDir(), "marks.yaml")
	written, err := yaml.Marshal(map[string]any{"tests": []any{map[string]any{"interval": "5s", "input_series": scrapes, "promql_expr_test": tests}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, written, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}
