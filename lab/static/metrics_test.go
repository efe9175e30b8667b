package static

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// exposed are the metrics that the rest of the system reads, with their labels. The names were asked for.
var exposed = map[string][]string{
	"http_requests_total":           {"method", "route", "status"},
	"http_requests_errors_total":    {"method", "route", "status"},
	"http_request_duration_seconds": {"method", "route", "status"},
	"http_requests_in_flight":       {},
	"deployment_version":            {"version", "revision", "commit"},
}

// added are the labels that monitoring/prometheus.yaml gives every series of a pod.
var added = []string{"__name__", "namespace", "pod", "app", "job", "instance"}

func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(get(t, url+"/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func labels(m *dto.Metric) []string {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	return names
}

func TestTheAppExposesWhatTheOthersRead(t *testing.T) {
	url := startApp(t)
	families := scrape(t, url)
	for name, want := range exposed {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		for _, m := range families[name].GetMetric() {
			if got := labels(m); !slices.Equal(sorted(got), sorted(want)) {
				t.Errorf("%s has the labels %v, want %v", name, got, want)
			}
		}
	}
	count := func(families map[string]*dto.MetricFamily, name, status string) (series int, sum float64) {
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "status" && l.GetValue() == status {
					series++
					sum += m.GetCounter().GetValue()
				}
			}
		}
		return series, sum
	}
	for _, status := range []string{"200", "500"} {
		if series, sum := count(families, "http_requests_total", status); series == 0 || sum != 0 {
			t.Errorf("before the first request there are %d series of status %s with %v requests; want some, at 0", series, status, sum)
		}
	}
	get(t, url+"/api/items")
	get(t, url+"/healthz")
	if _, sum := count(scrape(t, url), "http_requests_total", "200"); sum != 1 {
		t.Errorf("after one request, a probe and two scrapes %v requests are counted, want 1", sum)
	}
}

func TestQueriesReadWhatIsExposed(t *testing.T) {
	families := scrape(t, startApp(t))
	found := 0
	for _, folder := range []string{"flagger", "monitoring"} {
		for file, queries := range queriesIn(t, filepath.Join(root, folder)) {
			for _, query := range queries {
				found++
				checkQuery(t, file, query, families)
			}
		}
	}
	if found == 0 {
		t.Error("no query was found: this test looks in the wrong place")
	}
}

// A query in the wild has Flagger's or Grafana's variables in it; any value will do for the parser.
var (
	templates = regexp.MustCompile(`\{\{[^}]*\}\}`)
	variables = regexp.MustCompile(`\$\{?\w+\}?`)
)

func checkQuery(t *testing.T, file, query string, families map[string]*dto.MetricFamily) {
	t.Helper()
	text := templates.ReplaceAllStringFunc(query, func(v string) string {
		switch {
		case strings.Contains(v, "interval"):
			return "1m"
		case strings.Contains(v, "variables."):
			return "1"
		}
		return "x"
	})
	text = variables.ReplaceAllString(text, "1m")
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v\n%s", file, err, text)
		return
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || !ours(selector.Name) {
			return nil
		}
		for _, problem := range unread(selector, families) {
			t.Errorf("%s: %s", file, problem)
		}
		return nil
	})
}

func ours(name string) bool {
	return strings.HasPrefix(name, "http_request") || strings.HasPrefix(name, "deployment_")
}

// unread says what of a selector can not match any series of the app.
func unread(selector *parser.VectorSelector, families map[string]*dto.MetricFamily) []string {
	base := selector.Name
	var extra []string
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if trimmed, cut := strings.CutSuffix(selector.Name, suffix); cut && families[trimmed] != nil {
			base = trimmed
			if suffix == "_bucket" {
				extra = []string{"le"}
			}
		}
	}
	family := families[base]
	if family == nil || len(family.GetMetric()) == 0 {
		return []string{"the app has no series " + selector.Name}
	}
	var problems []string
	known := slices.Concat(labels(family.GetMetric()[0]), added, extra)
	for _, m := range selector.LabelMatchers {
		if !slices.Contains(known, m.Name) {
			problems = append(problems, selector.Name+" has no label "+m.Name)
		}
	}
	return problems
}

func TestAWrongQueryIsFound(t *testing.T) {
	families := map[string]*dto.MetricFamily{"http_requests_total": {Metric: []*dto.Metric{{Label: []*dto.LabelPair{{Name: new("status")}}}}}}
	for query, want := range map[string]int{
		`http_requests_total{status="500"}`:          0,
		`http_requests_total{code="500"}`:            1,
		`http_request_total{status="500"}`:           1,
		`http_requests_total{status="500",pod="a"}`:  0,
		`http_requests_total{verb="GET",code="500"}`: 2,
	} {
		expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
		if err != nil {
			t.Fatal(err)
		}
		selector, ok := expression.(*parser.VectorSelector)
		if !ok || len(unread(selector, families)) != want {
			t.Errorf("%s has %v, want %d problems", query, unread(selector, families), want)
		}
	}
}

// queriesIn are all values under the keys query and expr of the YAML and JSON files in folder, by file.
func queriesIn(t *testing.T, folder string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		extension := filepath.Ext(file)
		if err != nil || entry.IsDir() || extension != ".yaml" && extension != ".json" {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var docs []map[string]any
		if extension == ".json" {
			var doc map[string]any
			err = json.Unmarshal(text, &doc)
			docs = append(docs, doc)
		} else {
			docs = documents(t, text)
		}
		for _, doc := range docs {
			collect(doc, func(query string) { found[file] = append(found[file], query) })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func collect(node any, found func(string)) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if text, ok := value.(string); ok && (key == "query" || key == "expr") && !strings.HasPrefix(text, "label_values(") {
				found(text)
			}
			collect(value, found)
		}
	case []any:
		for _, value := range node {
			collect(value, found)
		}
	}
}
