package static

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
)

// Of two objectives of one Canary, with other budgets and other periods, each panel shows the chosen one's.
func TestPanelsShowTheChosenObjective(t *testing.T) {
	board, err := os.ReadFile(filepath.Join(root, "monitoring", "grafana_dashboards", "slo.json"))
	if err != nil {
		t.Fatal(err)
	}
	objectives := filepath.Join(t.TempDir(), "slo.yaml")
	write(t, objectives, `scrape: 5s
services:
  - {namespace: demo, canary: podinfo, objective: 99.5}
  - {namespace: demo, canary: podinfo, slo: orders, objective: 95, period: 28d, errors: 'rate(bad_total[{{window}}])', total: 'rate(all_total[{{window}}])'}
`)
	dir := filepath.Dir(makeRules(t, objectives))
	// 2 % of the requests are bad, which is 4 times the budget; of the orders 4 %, which is 0.8 times theirs.
	wants := map[string]map[string]float64{
		"availability": {
			"Budget left in the period A": -3, "Good requests in the period A": 0.98, "Good requests in the period B": 0.995, "Burn rate now A": 4,
			"Burn rate by window B": 4, "Burn rate by window F": 14.4, "Burn rate by window I": 1, "Budget left over time A": -3,
		},
		"orders": {
			"Budget left in the period A": 0.2, "Good requests in the period A": 0.96, "Good requests in the period B": 0.95, "Burn rate now A": 0.8,
			"Burn rate by window B": 0.8, "Burn rate by window F": 13.44, "Burn rate by window I": 0.933333, "Budget left over time A": 0.2,
		},
	}
	var asked []any
	for objective, panels := range wants {
		queries, err := panel.Dashboard(board, map[string]string{"namespace": "demo", "canary": "podinfo", "objective": objective, "datasource": "prometheus"})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, query := range queries {
			if want, listed := panels[filepath.Base(query.Where)]; listed {
				found++
				asked = append(asked, map[string]any{
					"expr": "round(1e6 * (" + query.Expr + "))", "eval_time": "10m", "exp_samples": []any{map[string]any{"value": want * 1e6}},
				})
			}
		}
		if found != len(panels) {
			t.Errorf("of %d queries on the dashboard %d were found", len(panels), found)
		}
	}
	series := func(name, values string) map[string]string {
		return map[string]string{"series": name, "values": values}
	}
	tests, err := yaml.Marshal(map[string]any{
		"rule_files": []string{"alert_rules.yaml"}, "evaluation_interval": "30s",
		"group_eval_order": []string{
			"sloth-slo-sli-recordings-demo-podinfo-availability", "sloth-slo-sli-recordings-demo-podinfo-orders",
			"sloth-slo-meta-recordings-demo-podinfo-availability", "sloth-slo-meta-recordings-demo-podinfo-orders",
		},
		"tests": []any{map[string]any{
			"interval": "5s", "promql_expr_test": asked,
			"input_series": []any{
				series(`nginx_ingress_controller_requests{namespace="demo",ingress="podinfo",status="200"}`, "0+98x120"),
				series(`nginx_ingress_controller_requests{namespace="demo",ingress="podinfo",status="500"}`, "0+2x120"),
				series("bad_total", "0+4x120"), series("all_total", "0+100x120"),
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "objectives.yaml")
	write(t, file, string(tests))
	promtool(t, "test", "rules", file)
}
