package static

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	promlabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// added are the labels that monitoring/prometheus.yaml gives every series of a pod.
var added = []string{"__name__", "namespace", "pod", "app", "job", "instance"}

// queriesAreLive fails for each query that reads what is not there. Whoever reads a metric that nobody has sees an empty
// panel, or an alert that never fires, and no error.
func queriesAreLive(t *testing.T, all scraped) {
	t.Helper()
	found := 0
	for _, folder := range []string{"flagger", "monitoring", "docs"} {
		for file, queries := range queriesIn(t, filepath.Join(root, folder)) {
			for _, query := range queries {
				found++
				for _, problem := range all.dead(query) {
					t.Errorf("%s: %s\n%s", file, problem, query)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no query was found: this test looks in the wrong place")
	}
}

// recorded adds the series that a file of rules makes.
func (s scraped) recorded(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Record, Alert string
				Labels        map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			name, own := rule.Record, maps.Clone(rule.Labels)
			if rule.Alert != "" {
				// An alert also has labels of its expression; those of ours are a Canary's name or a sink's.
				name, own = "ALERTS", map[string]string{"alertname": rule.Alert, "sink": ""}
				maps.Copy(own, rule.Labels)
				s.add(name, "alertstate", "pending", "firing")
			}
			s.add(name, "")
			for label, value := range own {
				s.add(name, label, value)
			}
		}
	}
}

// declared adds what objectives count by queries of their own: the metrics are somebody else's program's, and have the labels
// that the queries ask for.
func (s scraped) declared(t *testing.T, objectives string) {
	t.Helper()
	var file struct {
		Services []struct{ Errors, Total string }
	}
	if err := yaml.Unmarshal([]byte(read(t, objectives)), &file); err != nil {
		t.Fatal(err)
	}
	for _, service := range file.Services {
		for _, query := range []string{service.Errors, service.Total} {
			if query == "" {
				continue
			}
			expression, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(query, "{{window}}", "5m"))
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			parser.Inspect(expression, func(node parser.Node, path []parser.Node) error {
				if selector, ok := node.(*parser.VectorSelector); ok {
					s.declare(selector, path)
				}
				return nil
			})
		}
	}
}

// declare adds a selector's series with the labels that it is chosen and summed by.
func (s scraped) declare(selector *parser.VectorSelector, around []parser.Node) {
	var labels []string
	for _, m := range selector.LabelMatchers {
		labels = append(labels, m.Name)
	}
	for _, node := range around {
		if sum, ok := node.(*parser.AggregateExpr); ok {
			labels = append(labels, sum.Grouping...)
		}
	}
	s.add(selector.Name, "")
	for _, label := range labels {
		if _, known := s[selector.Name][label]; !known {
			s[selector.Name][label] = nil
		}
	}
}

// A query in the wild has Flagger's or Grafana's variables in it. What they stand for is not known here: a value with this
// word in it may be any.
const anything = "anything"

var (
	templates  = regexp.MustCompile(`\{\{[^}]*\}\}`)
	windows    = regexp.MustCompile(`\$\{?__\w+\}?`)
	variables  = regexp.MustCompile(`\$\{?\w+\}?`)
	promql     = regexp.MustCompile("(?s)```promql\n(.*?)\n```") // on a page, one query a line
	dashboards = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
)

// plain is a query with its variables filled in.
func plain(query string) string {
	text := templates.ReplaceAllStringFunc(query, func(v string) string {
		switch {
		case strings.Contains(v, "interval"):
			return "1m"
		case strings.Contains(v, "variables."):
			return "1"
		}
		return anything
	})
	return variables.ReplaceAllString(windows.ReplaceAllString(text, "1m"), anything)
}

// dead says what of a query can not match any series.
func (s scraped) dead(query string) []string {
	text, wanted := plain(query), ""
	if parts := dashboards.FindStringSubmatch(text); parts != nil {
		text, wanted = parts[1], parts[2]
	}
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			problems = append(problems, s.unread(node)...)
		case *parser.AggregateExpr:
			problems = append(problems, s.ungrouped(node)...)
		}
		return nil
	})
	if wanted != "" && !slices.Contains(s.labelsIn(expression), wanted) {
		problems = append(problems, text+" has no label "+wanted)
	}
	return problems
}

// unread says what of a selector can not match any series.
func (s scraped) unread(selector *parser.VectorSelector) []string {
	known, there := s[selector.Name]
	if !there {
		return []string{"nobody has a series " + selector.Name}
	}
	var problems []string
	for _, m := range selector.LabelMatchers {
		values, own := known[m.Name]
		switch {
		case !own && !slices.Contains(added, m.Name):
			problems = append(problems, selector.Name+" has no label "+m.Name)
		case len(values) == 0 || strings.Contains(m.Value, anything):
		case !slices.ContainsFunc(values, asked(m)):
			problems = append(problems, selector.Name+" has no "+m.Name+" that is "+m.Value)
		}
	}
	return problems
}

// asked says whether a matcher speaks of a value, to take it or to leave it.
func asked(m *promlabels.Matcher) func(value string) bool {
	return func(value string) bool {
		return m.Matches(value) == (m.Type == promlabels.MatchEqual || m.Type == promlabels.MatchRegexp)
	}
}

// ungrouped says by which labels is summed that nothing below has.
func (s scraped) ungrouped(sum *parser.AggregateExpr) []string {
	if sum.Without {
		return nil
	}
	below := s.labelsIn(sum.Expr)
	var problems []string
	for _, label := range sum.Grouping {
		if !slices.Contains(below, label) {
			problems = append(problems, sum.Op.String()+" by "+label+", which nothing below has")
		}
	}
	return problems
}

// labelsIn are the labels of all series that an expression reads, and those that it makes by label_replace.
func (s scraped) labelsIn(expression parser.Expr) []string {
	found := slices.Clone(added)
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			found = slices.AppendSeq(found, maps.Keys(s[node.Name]))
		case *parser.Call:
			if made, is := node.Args[min(1, len(node.Args)-1)].(*parser.StringLiteral); is && node.Func.Name == "label_replace" {
				found = append(found, made.Val)
			}
		}
		return nil
	})
	return found
}

func TestDeadQueriesAreFound(t *testing.T) {
	all := scraped{}
	all.add("http_requests_total", "status", "200")
	all.add("http_requests_total", "app")
	all.add("rollouts_total", "result", "promoted", "rolled-back")
	for query, want := range map[string]int{
		`http_requests_total{status="500"}`:                                                     0,
		`http_requests_total{code="500"}`:                                                       1,
		`http_request_total{status="500"}`:                                                      1,
		`http_requests_total{status="500",pod="a"}`:                                             0,
		`http_requests_total{verb="GET",code="500"}`:                                            2,
		`rollouts_total{result="rolled-back"}`:                                                  0,
		`rollouts_total{result="rolledback"}`:                                                   1,
		`rollouts_total{result=~"promoted|stuck"}`:                                              0,
		`rollouts_total{result=~"stuck|gone"}`:                                                  1,
		`rollouts_total{result!="promoted"}`:                                                    0,
		`rollouts_total{result!="gone"}`:                                                        1,
		`rollouts_total{result="$result"}`:                                                      0,
		`sum by (result) (rate(rollouts_total[$__range]))`:                                      0,
		`sum by (results) (rate(rollouts_total[$__range]))`:                                     1,
		`sum by (version) (label_replace(http_requests_total, "version", "canary", "app", ""))`: 0,
		`label_values(rollouts_total, result)`:                                                  0,
		`label_values(rollouts_total{namespace="$namespace"}, results)`:                         1,
		`label_values(rollout_total, namespace)`:                                                1,
		`sum(rate(rollouts_total[5m])`:                                                          1,
	} {
		if got := all.dead(query); len(got) != want {
			t.Errorf("%s has %q, want %d problems", query, got, want)
		}
	}
}

// queriesIn are all values under the keys query and expr of the YAML and JSON files in folder and all queries on its pages, by
// file.
func queriesIn(t *testing.T, folder string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		extension := filepath.Ext(file)
		if err == nil && entry.IsDir() && (entry.Name() == "tests" || entry.Name() == "pictures") {
			return filepath.SkipDir // these bring the series along that they ask for
		}
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".json", ".md"}, extension) {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if extension == ".md" {
			for _, block := range promql.FindAllStringSubmatch(string(text), -1) {
				found[file] = append(found[file], strings.Split(block[1], "\n")...)
			}
			return nil
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
		if node["type"] == "datasource" {
			return // a variable of a dashboard, whose query is a kind of data source
		}
		for key, value := range node {
			if text, ok := value.(string); ok && (key == "query" || key == "expr") {
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
