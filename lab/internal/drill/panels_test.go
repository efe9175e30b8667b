package drill

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// watched is a drill whose Prometheus, behind the API server's proxy, answers by path and query.
func watched(t *testing.T, answers map[string]string) *Drill {
	t.Helper()
	const proxy = "/api/v1/namespaces/monitoring/services/prometheus:http/proxy"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, proxy)
		answer, known := answers[path+r.URL.Query().Get("query")]
		if !ok || !known {
			http.Error(w, `{"status":"error","error":"unknown"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(api.Close)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "%s"}}], contexts: [{name: x, context: {cluster: x}}]}`, api.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Kube: client, Namespace: "demo", Name: "podinfo", Monitoring: "monitoring"})
}

func TestQuery(t *testing.T) {
	d := watched(t, map[string]string{
		"/api/v1/queryup":     `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]},{"metric":{},"value":[1,"0"]}]}}`,
		"/api/v1/querynone":   `{"status":"success","data":{"resultType":"vector","result":[]}}`,
		"/api/v1/querynan":    `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}`,
		"/api/v1/queryscalar": `{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}`,
	})
	for expr, want := range map[string]struct {
		answered bool
		wrong    string
	}{"up": {true, ""}, "none": {false, ""}, "nan": {false, ""}, "scalar": {true, ""}, "else": {false, "unknown"}} {
		answered, wrong, err := d.query(t.Context(), expr)
		if err != nil || answered != want.answered || wrong != want.wrong {
			t.Errorf("%s gives %t, %q, %v, want %v", expr, answered, wrong, err, want)
		}
	}
}

func TestRulesAreJudged(t *testing.T) {
	rules := func(list string) string {
		return `{"status":"success","data":{"groups":[{"name":"g","rules":[` + list + `]}]}}`
	}
	const (
		record = `{"type":"recording","name":"r","health":"ok"}`
		firing = `{"type":"alerting","name":"RolloutRolledBack","health":"ok","state":"firing","alerts":[{"activeAt":"2026-01-02T03:04:05Z"}]}`
		quiet  = `{"type":"alerting","name":"RolloutRolledBack","health":"ok","state":"inactive","alerts":[]}`
	)
	for name, c := range map[string]struct{ answer, miss string }{
		"all are well":                      {record + "," + firing, ""},
		"the alert does not fire":           {record + "," + quiet, "alerts [] fire, want RolloutRolledBack alone"},
		"another fires too":                 {record + "," + firing + "," + strings.Replace(firing, "RolledBack", "Stuck", 1), "alerts [RolloutRolledBack RolloutStuck] fire"},
		"a page fires":                      {record + "," + firing + `,{"name":"ErrorBudgetBurn","health":"ok","state":"firing","labels":{"severity":"critical"}}`, "alerts [ErrorBudgetBurn RolloutRolledBack] fire"},
		"a ticket may":                      {record + "," + firing + `,{"name":"ErrorBudgetBurn","health":"ok","state":"firing","labels":{"severity":"warning"}}`, ""},
		"a rule is not there":               {firing, "does not have rule g/r"},
		"a rule can not be evaluated":       {strings.Replace(record, `"ok"`, `"err","lastError":"many-to-many"`, 1) + "," + firing, "rule g/r is err many-to-many"},
		"a rule has not been evaluated yet": {strings.Replace(record, `"ok"`, `"unknown"`, 1) + "," + firing, "rule g/r is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			d := watched(t, map[string]string{"/api/v1/rules": rules(c.answer)})
			err := d.Watch(Sights{
				Dashboards: [][]byte{[]byte(`{"uid":"d","panels":[{"title":"Rate","targets":[{"refId":"A","expr":"rate(x{namespace=\"$namespace\"}[$__rate_interval])"}]}]}`)},
				Rules:      []byte("groups: [{name: g, rules: [{record: r, expr: up}, {alert: RolloutRolledBack, expr: up == 0}]}]"),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.judgeRules(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantMiss(t, d.panels.wrong, c.miss)
		})
	}
}

func TestWindowsOfAPage(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	right := func() moments {
		return moments{begin: begin, fired: after(55), told: after(63), held: after(15), end: after(64), over: after(85), opened: after(124)}
	}
	for name, c := range map[string]struct {
		change func(*moments)
		miss   string
	}{
		"all in time":             {func(*moments) {}, ""},
		"it fires too early":      {func(m *moments) { m.fired = after(40) }, "the quick page fired"},
		"it fires too late":       {func(m *moments) { m.fired, m.told = after(80), after(81) }, "the quick page fired"},
		"people are told late":    {func(m *moments) { m.told = after(85) }, "people were told"},
		"the gate closes late":    {func(m *moments) { m.held = after(50) }, "gate closed"},
		"nobody hears of the end": {func(m *moments) { m.over = after(120) }, "people heard that it is over"},
		"the gate stays closed":   {func(m *moments) { m.opened = after(180) }, "the gate opened again"},
		"it is over too early":    {func(m *moments) { m.over = after(60) }, "people heard that it is over"},
		"the gate opens early":    {func(m *moments) { m.opened = after(80) }, "the gate opened again"},
	} {
		t.Run(name, func(t *testing.T) {
			m := right()
			c.change(&m)
			wantMiss(t, windows(m, after(50), after(8)), c.miss)
		})
	}
}
