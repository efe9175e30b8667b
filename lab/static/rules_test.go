package static

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	promlabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	strict "sigs.k8s.io/yaml"
)

// The tests of the rules say what the arithmetic gives; the generator of the rules does not know them.
func TestRulesDoWhatTheArithmeticSays(t *testing.T) {
	dir := filepath.Dir(demoRules(t))
	for _, file := range ruleTests(t) {
		copied := filepath.Join(dir, filepath.Base(file))
		write(t, copied, read(t, file))
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", copied)
		})
	}
}

// ruleTests are the files of promtool tests for the rules of monitoring/tests/slo.yaml.
func ruleTests(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "monitoring", "tests", "*.yaml"))
	if err != nil || len(all) < 2 {
		t.Fatalf("monitoring/tests has %d files, %v", len(all), err)
	}
	return slices.DeleteFunc(all, func(file string) bool {
		return slices.Contains([]string{"backstop.yaml", "slo.yaml"}, filepath.Base(file))
	})
}

// demoRules is a file with the rules of the demo's objective, which other entries of slo.yaml do not touch.
func demoRules(t *testing.T) string {
	t.Helper()
	return makeRules(t, filepath.Join(root, "monitoring", "tests", "slo.yaml"))
}

// makeRules makes the rules of objectives in a folder of their own.
func makeRules(t *testing.T, objectives string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "operator"), 0o755); err != nil {
		t.Fatal(err)
	}
	generate := exec.CommandContext(t.Context(), build(t, "monitoring"), "rules", "--slo", objectives, "--folder", dir)
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("make rules: %v\n%s", err, out)
	}
	return filepath.Join(dir, "alert_rules.yaml")
}

func TestOtherServicesAreOneMoreEntry(t *testing.T) {
	folder := filepath.Join(root, "monitoring", "tests", "services")
	tests := filepath.Join(filepath.Dir(makeRules(t, filepath.Join(folder, "slo.yaml"))), "services.yaml")
	write(t, tests, read(t, filepath.Join(folder, "services.yaml")))
	promtool(t, "test", "rules", tests)
}

func TestPrometheusTakesTheRules(t *testing.T) {
	for _, file := range []string{"monitoring/alert_rules.yaml", "lab/monitoring/accelerated_rules.yaml", "lab/gateway/alert_rules.yaml"} {
		promtool(t, "check", "rules", filepath.Join(root, filepath.FromSlash(file)))
	}
}

// Whoever appends the examples of docs/slo.md to slo.yaml finds the checks of this folder as green as before: what promtool
// tests are about is the demo's, and the checks of slo.yaml and its rules take what is new.
func TestTheExamplesOfThePageHold(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, filepath.Join(root, "docs", "slo.md")), -1)
	if len(examples) != 2 {
		t.Fatalf("docs/slo.md has %d examples, want 2", len(examples))
	}
	objectives := filepath.Join(t.TempDir(), "slo.yaml")
	write(t, objectives, read(t, filepath.Join(root, "monitoring", "tests", "slo.yaml"))+
		examples[0][1]+"  - namespace: shop\n    canary: orders\n    objective: 99\n    period: 28d\n"+examples[1][1])
	rules := makeRules(t, objectives)
	promtool(t, "check", "rules", rules)
	records, alerts := namedRules(t, rules)
	namesAreOn(t, "slo.md", records, alerts)

	all := scraped{"up": {}}
	all.add("http_request_duration_seconds_bucket", "le")
	for _, name := range []string{"nginx_ingress_controller_requests", "http_requests_total"} {
		for _, label := range []string{"ingress", "status"} {
			all.add(name, label)
		}
	}
	all.recorded(t, rules)
	dead := func() (problems []string) {
		for _, query := range queriesIn(t, filepath.Dir(rules))[rules] {
			if strings.Contains(query, "shop") || strings.Contains(query, "orders") {
				problems = append(problems, all.dead(query)...)
			}
		}
		return problems
	}
	if strange := strings.Join(dead(), "\n"); !strings.Contains(strange, "nobody has a series orders_total") {
		t.Errorf("the metric of the example is known without slo.yaml: %s", strange)
	}
	all.declared(t, objectives)
	for _, problem := range dead() {
		t.Error(problem)
	}
	if problems := all.dead("rate(orders_totals[5m])"); len(problems) != 1 {
		t.Errorf("of a metric that slo.yaml does not name is said %q", problems)
	}
}

// The operator's types know every field, and the rules are those of the file.
func TestTheOperatorGetsTheSameRules(t *testing.T) {
	var object monitoringv1.PrometheusRule
	operator(t, "prometheusrule.yaml", &object)
	var file monitoringv1.PrometheusRuleSpec
	if err := strict.UnmarshalStrict([]byte(read(t, filepath.Join(root, "monitoring", "alert_rules.yaml"))), &file); err != nil {
		t.Fatal(err)
	}
	if object.Kind != monitoringv1.PrometheusRuleKind || object.APIVersion != monitoringv1.SchemeGroupVersion.String() {
		t.Errorf("the object is a %s of %s", object.Kind, object.APIVersion)
	}
	if len(file.Groups) == 0 || !reflect.DeepEqual(object.Spec, file) {
		t.Errorf("the operator gets %d groups, the file has %d, or they differ", len(object.Spec.Groups), len(file.Groups))
	}
}

// Slices of the traffic add up only if slo.yaml has the interval of the scrapes.
func TestTheObjectivesKnowHowOftenCountersAreRead(t *testing.T) {
	folder := filepath.Join(root, "monitoring")
	want := dig[string](t, documents(t, []byte(read(t, filepath.Join(folder, "slo.yaml"))))[0], "scrape")
	if got := dig[string](t, documents(t, []byte(read(t, filepath.Join(folder, "prometheus.yaml"))))[0], "global", "scrape_interval"); got != want {
		t.Errorf("prometheus.yaml has %s, slo.yaml %s", got, want)
	}
	var pods monitoringv1.PodMonitor
	operator(t, "podmonitor.yaml", &pods)
	var services monitoringv1.ServiceMonitor
	operator(t, "servicemonitor.yaml", &services)
	for _, endpoint := range pods.Spec.PodMetricsEndpoints {
		if string(endpoint.Interval) != want {
			t.Errorf("the PodMonitor has %s, slo.yaml %s", endpoint.Interval, want)
		}
	}
	for _, endpoint := range services.Spec.Endpoints {
		if string(endpoint.Interval) != want {
			t.Errorf("the ServiceMonitor has %s, slo.yaml %s", endpoint.Interval, want)
		}
	}
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr string
			Labels              map[string]string
		}
	}
}

// testFile is what is read of a file of promtool tests.
type testFile struct {
	Tests []struct {
		Promql []struct{ Expr string } `yaml:"promql_expr_test"`
		Alerts []struct {
			Name   string `yaml:"alertname"`
			Expect []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

// Every record is asked for in some test, and every alert both fires and does not.
func TestEveryRuleIsTested(t *testing.T) {
	var asked []*promlabels.Matcher
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, file := range ruleTests(t) {
		var tests testFile
		if err := yaml.Unmarshal([]byte(read(t, file)), &tests); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, one := range tests.Tests {
			for _, query := range one.Promql {
				asked = append(asked, names(t, query.Expr)...)
			}
			for _, alert := range one.Alerts {
				fires[alert.Name] = fires[alert.Name] || len(alert.Expect) > 0
				rests[alert.Name] = rests[alert.Name] || len(alert.Expect) == 0
			}
		}
	}
	var rules ruleFile
	if err := yaml.Unmarshal([]byte(read(t, demoRules(t))), &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			switch {
			case rule.Alert != "" && (!fires[rule.Alert] || !rests[rule.Alert]):
				t.Errorf("%s: tested to fire: %v, and not to: %v", rule.Alert, fires[rule.Alert], rests[rule.Alert])
			case rule.Record != "" && !slices.ContainsFunc(asked, func(m *promlabels.Matcher) bool { return m.Matches(rule.Record) }):
				t.Errorf("%s is in no test", rule.Record)
			}
		}
	}
}

// names match the metrics that an expression reads.
func names(t *testing.T, query string) []*promlabels.Matcher {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var all []*promlabels.Matcher
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			for _, m := range selector.LabelMatchers {
				if m.Name == "__name__" {
					all = append(all, m)
				}
			}
		}
		return nil
	})
	return all
}

// One wrong number, window, label or guard in the rules, and a test fails. Each error is made in every place where old stands.
func TestAnErrorInTheRulesIsFound(t *testing.T) {
	rules := read(t, demoRules(t))
	for name, mutation := range map[string]struct{ old, wrong, by string }{
		"factor of the quick page":        {`(14.4 * 0.005)`, `(15 * 0.005)`, "burn.yaml"},
		"factor of the slow ticket":       {`(1 * 0.005)`, `(0.7 * 0.005)`, "burn.yaml"},
		"long window":                     {`status!~"2.."}[1h]`, `status!~"2.."}[2h]`, "burn.yaml"},
		"short window of the page":        {`ratio_rate5m{sloth_id="demo-podinfo-availability"} >`, `ratio_rate30m{sloth_id="demo-podinfo-availability"} >`, "burn_hours.yaml"},
		"long window of the ticket":       {`ratio_rate1d{sloth_id="demo-podinfo-availability"} >`, `ratio_rate3d{sloth_id="demo-podinfo-availability"} >`, "burn_days.yaml"},
		"period":                          {`[30d]`, `[28d]`, "burn_month.yaml"},
		"weight of quiet hours":           {`sum_over_time(slo:sli_errors:rate{sloth_id="demo-podinfo-availability"}[30d])` + "\n" + `          /`, `avg_over_time(slo:sli_error:ratio_rate1d{sloth_id="demo-podinfo-availability"}[30d]) * ignoring (sloth_window)`, "burn_month.yaml"},
		"objective":                       {`vector(0.005)`, `vector(0.001)`, "burn.yaml"},
		"what is good":                    {`status!~"2.."`, `status!~"[23].."`, "burn.yaml"},
		"whose requests":                  {`namespace="demo",ingress="podinfo"`, `ingress="podinfo"`, "burn.yaml"},
		"severity":                        {`severity: critical`, `severity: warning`, "burn.yaml"},
		"name of the window":              {`sloth_window: 1h`, `sloth_window: 60m`, "burn.yaml"},
		"least traffic":                   {`>= 200`, `>= 20`, "burn.yaml"},
		"0/0":                             {`(sum(slo:sli_total:rate5m{sloth_id="demo-podinfo-availability"}) > 0)`, `sum(slo:sli_total:rate5m{sloth_id="demo-podinfo-availability"})`, "burn.yaml"},
		"errors that have no series":      {` or 0 * sum(`, ` or 1 * sum(`, "burn.yaml"},
		"which version":                   {`{namespace="demo",app="podinfo"`, `{namespace="demo",app="podinfo-primary"`, "versions.yaml"},
		"pods that are gone":              {` and on (namespace, pod) up{namespace="demo",app="podinfo"}`, ``, "versions.yaml"},
		"which result":                    {`_ended_timestamp_seconds{result=\"rolled-back\"})`, `_ended_timestamp_seconds{result=\"promoted\"})`, "rollouts.yaml"},
		"how long a person is waited for": {`timestamp_seconds) > 3600`, `timestamp_seconds) > 7200`, "rollouts.yaml"},
		"a restart of the gatekeeper":     {`keep_firing_for: 3m`, `keep_firing_for: 0s`, "rollouts.yaml"},
		"restarts before a drill is old":  {`[1h])`, `[1m])`, "drills.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(groups(rules, mutation.by), mutation.old) {
				t.Fatalf("the rules have no %s any more", mutation.old)
			}
			dir := t.TempDir()
			wrong, tests := filepath.Join(dir, "alert_rules.yaml"), filepath.Join(dir, mutation.by)
			write(t, wrong, strings.ReplaceAll(groups(rules, mutation.by), mutation.old, mutation.wrong))
			write(t, tests, read(t, filepath.Join(root, "monitoring", "tests", mutation.by)))
			// The error must be one of meaning: Prometheus takes the rules.
			promtool(t, "check", "rules", wrong)
			out, err := askPromtool(t, "test", "rules", tests)
			if err == nil || !regexp.MustCompile(`(?s)FAILED:.*exp:.*got:`).MatchString(out) {
				t.Errorf("no expectation failed: %v\n%s", err, out)
			}
		})
	}
}

// groups are those that a file of tests is about: the others would only take time.
func groups(rules, file string) string {
	about := map[string]string{"versions.yaml": "canary-", "rollouts.yaml": "rollouts", "drills.yaml": "rollouts"}[file]
	if about == "" {
		about = "sloth-"
	}
	const begin = "\n  - name: "
	all := strings.Split(rules, begin)
	kept := all[:1]
	for _, group := range all[1:] {
		if strings.HasPrefix(group, about) {
			kept = append(kept, group)
		}
	}
	return strings.Join(kept, begin)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
