package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// strange is what a dashboard has that Grafana's schema does not, or lacks that it wants: in the dashboard as in the options
// of every kind of panel and query. The SDK's strict decoder returns an empty list as an error, and then has not kept what
// it read: it serves for this alone.
func strange(text []byte) []string {
	plugins.RegisterDefaultPlugins()
	err := new(dashboard.Dashboard).UnmarshalJSONStrict(text)
	var list cog.BuildErrors
	if err != nil && !errors.As(err, &list) {
		return []string{err.Error()}
	}
	var found []string
	for _, e := range list {
		found = append(found, e.Error())
	}
	return found
}

func decode(t *testing.T, f File) dashboard.Dashboard {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard
	if err := json.Unmarshal(f.JSON, &d); err != nil {
		t.Fatalf("%s is no dashboard: %v", f.Name, err)
	}
	return d
}

func files(t *testing.T) []File {
	t.Helper()
	all, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDashboardsKeepTheRules(t *testing.T) {
	uids := map[string]string{}
	for _, f := range files(t) {
		d := decode(t, f)
		for _, p := range slices.Concat(strange(f.JSON), problems(d)) {
			t.Errorf("%s: %s", f.Name, p)
		}
		if other, taken := uids[*d.Uid]; taken {
			t.Errorf("%s and %s have the uid %s", f.Name, other, *d.Uid)
		}
		uids[*d.Uid] = f.Name
	}
	for uid, file := range map[string]string{"rollout-monitoring-rollouts": "rollouts.json", "rollout-monitoring-slo": "slo.json", "rollout-monitoring-service": "service.json"} {
		if uids[uid] != file {
			t.Errorf("uid %s is of %q, want %s: links and bookmarks hold on to it", uid, uids[uid], file)
		}
	}
}

func TestDashboardsAreTheSameEachTime(t *testing.T) {
	first, again := files(t), files(t)
	for i := range first {
		if string(first[i].JSON) != string(again[i].JSON) {
			t.Errorf("%s came out differently the second time", first[i].Name)
		}
	}
}

// problems are what the rules of this house find wrong with a dashboard.
func problems(d dashboard.Dashboard) []string {
	var found []string
	if d.Id != nil {
		found = append(found, "has an absolute id, which belongs to one Grafana")
	}
	if d.Uid == nil || !strings.HasPrefix(*d.Uid, tag+"-") || d.Title == nil || *d.Title == "" || d.Description == nil || *d.Description == "" {
		found = append(found, "wants a uid of ours, a title and a description")
	}
	if !slices.Contains(d.Tags, tag) || len(d.Links) == 0 {
		found = append(found, "is not linked with its siblings")
	}
	ids := map[uint32]string{}
	var places []dashboard.GridPos
	for _, p := range d.Panels {
		panel := p.Panel
		found = append(found, panelProblems(*panel)...)
		if panel.Id == nil || *panel.Id == 0 || ids[*panel.Id] != "" {
			found = append(found, fmt.Sprintf("panel %q has no id of its own", *panel.Title))
		} else {
			ids[*panel.Id] = *panel.Title
		}
		for _, other := range places {
			if overlap(*panel.GridPos, other) {
				found = append(found, fmt.Sprintf("panel %q lies on another", *panel.Title))
			}
		}
		places = append(places, *panel.GridPos)
	}
	for _, a := range d.Annotations.List {
		if !ours(a.Datasource) || a.Expr == nil {
			found = append(found, fmt.Sprintf("annotation %q does not ask the data source of the variable", a.Name))
		}
	}
	return append(found, variableProblems(d)...)
}

func panelProblems(p dashboard.Panel) []string {
	var found []string
	complain := func(what string) { found = append(found, fmt.Sprintf("panel %q %s", *p.Title, what)) }
	if *p.Title == "" || p.Description == nil || strings.Count(*p.Description, ".") < 1 {
		complain("wants a title and a description in sentences")
	}
	defaults := p.FieldConfig.Defaults
	if defaults.Unit == nil || *defaults.Unit == "" || defaults.NoValue == nil || *defaults.NoValue == "" {
		complain("wants a unit, and words for when there is no data")
	}
	if !ours(p.Datasource) || len(p.Targets) == 0 {
		complain("does not ask the data source of the variable")
	}
	if p.GridPos.W == 0 || p.GridPos.H == 0 || p.GridPos.X+p.GridPos.W > 24 {
		complain("has no place in the 24 columns")
	}
	for _, o := range p.FieldConfig.Overrides {
		// Without slashes Grafana takes the text for the whole name.
		if text, ok := o.Matcher.Options.(string); o.Matcher.Id == "byRegexp" && (!ok || !strings.HasPrefix(text, "/") || !strings.HasSuffix(text, "/")) {
			complain(fmt.Sprintf("has the pattern %v, which matches whole names only", o.Matcher.Options))
		}
	}
	refs := map[string]bool{}
	for _, target := range p.Targets {
		query, ok := target.(*prometheus.Dataquery)
		if !ok {
			complain(fmt.Sprintf("asks something that is not Prometheus: %T", target))
			continue
		}
		if !ours(query.Datasource) || query.Expr == "" || query.RefId == nil || refs[*query.RefId] {
			complain("has a query without the data source of the variable, or without a name of its own")
			continue
		}
		refs[*query.RefId] = true
		if p.Type != "table" && (query.LegendFormat == nil || *query.LegendFormat == "") {
			complain("has a query without a legend")
		}
	}
	return found
}

func ours(ref *common.DataSourceRef) bool {
	return ref != nil && ref.Uid != nil && *ref.Uid == "${datasource}" && ref.Type != nil && *ref.Type == "prometheus"
}

func overlap(a, b dashboard.GridPos) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// variableProblems compares the variables that are defined with those that are used. Grafana's own begin with __.
func variableProblems(d dashboard.Dashboard) []string {
	text, err := json.Marshal(d)
	if err != nil {
		return []string{err.Error()}
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(text), -1) {
		used[m[1]] = true
	}
	var found []string
	defined := map[string]bool{}
	for _, v := range d.Templating.List {
		defined[v.Name] = true
		if !used[v.Name] {
			found = append(found, "variable "+v.Name+" is not used")
		}
	}
	for name := range used {
		if !defined[name] && !strings.HasPrefix(name, "__") {
			found = append(found, "variable "+name+" is not defined")
		}
	}
	return found
}

func TestBrokenDashboardsAreFound(t *testing.T) {
	first := func(d *dashboard.Dashboard) *dashboard.Panel { return d.Panels[0].Panel }
	for name, spoil := range map[string]func(d *dashboard.Dashboard){
		"an absolute id":        func(d *dashboard.Dashboard) { d.Id = cog.ToPtr[int64](3) },
		"another's uid":         func(d *dashboard.Dashboard) { d.Uid = cog.ToPtr("abc") },
		"no links":              func(d *dashboard.Dashboard) { d.Links = nil },
		"an id twice":           func(d *dashboard.Dashboard) { *first(d).Id = *d.Panels[1].Panel.Id },
		"panels on one another": func(d *dashboard.Dashboard) { *first(d).GridPos = *d.Panels[1].Panel.GridPos },
		"a panel off the grid":  func(d *dashboard.Dashboard) { first(d).GridPos.X = 20 },
		"a data source by name": func(d *dashboard.Dashboard) { first(d).Datasource.Uid = cog.ToPtr("prometheus") },
		"no unit":               func(d *dashboard.Dashboard) { first(d).FieldConfig.Defaults.Unit = nil },
		"no words for no data":  func(d *dashboard.Dashboard) { first(d).FieldConfig.Defaults.NoValue = nil },
		"no description":        func(d *dashboard.Dashboard) { first(d).Description = nil },
		"a pattern without slashes": func(d *dashboard.Dashboard) {
			errorRate := d.Panels[4].Panel
			errorRate.FieldConfig.Overrides[0].Matcher.Options = "^canary"
		},
		"no query":                   func(d *dashboard.Dashboard) { first(d).Targets = nil },
		"a variable that is not":     func(d *dashboard.Dashboard) { first(d).Targets[0].(*prometheus.Dataquery).Expr = "up{job=\"$job\"}" },
		"a variable nobody uses":     func(d *dashboard.Dashboard) { d.Templating.List[1].Name = "space" },
		"an annotation from nowhere": func(d *dashboard.Dashboard) { d.Annotations.List[0].Datasource = nil },
	} {
		d := decode(t, files(t)[0])
		spoil(&d)
		if len(problems(d)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}

func TestAFieldThatGrafanaDoesNotKnowIsFound(t *testing.T) {
	for _, spoil := range [][2]string{{`"fillOpacity"`, `"fillOpacty"`}, {`"legendFormat"`, `"legend"`}, {`"gridPos"`, `"grid"`}} {
		text := strings.Replace(string(files(t)[0].JSON), spoil[0], spoil[1], 1)
		if len(strange([]byte(text))) == 0 {
			t.Errorf("%s is taken for a field", spoil[1])
		}
	}
}
