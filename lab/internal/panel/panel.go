// Package panel lists what dashboards and rules ask of Prometheus, and judges which of it was answered, and when.
package panel

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Query is one expression.
type Query struct {
	Where string // rollouts/Weight A: the dashboard's uid, the panel's title and the target; or burn rules/name
	Panel string // rollouts/Weight; "" is a query of a rule, an annotation or a variable
	Expr  string
}

// Rule is one rule of a file.
type Rule struct {
	Group, Name string
	Where       string // of its query: unlike the name it is no other rule's
	Alert       bool   // else it records
	Expr        string
}

// dashboard is as much of Grafana's model as asks something.
type dashboard struct {
	UID         string  `json:"uid"`
	Panels      []panel `json:"panels"`
	Annotations struct {
		List []struct {
			Name   string `json:"name"`
			Expr   string `json:"expr"`
			Target target `json:"target"`
		} `json:"list"`
	} `json:"annotations"`
}

type panel struct {
	Title   string   `json:"title"`
	Targets []target `json:"targets"`
	Panels  []panel  `json:"panels"` // of a row that is folded
}

type target struct {
	Ref  string `json:"refId"`
	Expr string `json:"expr"`
}

// Dashboard returns the queries of a dashboard's JSON, with its variables ($name or ${name}) replaced by values.
// Annotations are queries too.
func Dashboard(text []byte, values map[string]string) ([]Query, error) {
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("read dashboard: %w", err)
	}
	if d.UID == "" {
		return nil, fmt.Errorf("read dashboard: it has no uid")
	}
	var list []Query
	for _, p := range flat(d.Panels) {
		for _, t := range p.Targets {
			where := d.UID + "/" + p.Title
			list = append(list, Query{Where: where + " " + t.Ref, Panel: where, Expr: fill(t.Expr, values)})
		}
	}
	for _, a := range d.Annotations.List {
		if expr := a.Expr + a.Target.Expr; expr != "" {
			list = append(list, Query{Where: d.UID + "/annotation " + a.Name, Expr: fill(expr, values)})
		}
	}
	for _, q := range list {
		if strings.Contains(q.Expr, "$") {
			return nil, fmt.Errorf("read dashboard: %s asks %s: a variable has no value here", q.Where, q.Expr)
		}
	}
	return list, nil
}

// flat are the panels with those in rows.
func flat(panels []panel) []panel {
	var all []panel
	for _, p := range panels {
		all = append(append(all, p), flat(p.Panels)...)
	}
	return all
}

// fill replaces variables, longer names first: one may begin like another.
func fill(expr string, values map[string]string) string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for _, name := range names {
		expr = strings.NewReplacer("${"+name+"}", values[name], "$"+name, values[name]).Replace(expr)
	}
	return expr
}

// Rules returns the rules of a rule file.
func Rules(text []byte) ([]Rule, error) {
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record string `json:"record"`
				Alert  string `json:"alert"`
				Expr   string `json:"expr"`
				Labels labels `json:"labels"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	var list []Rule
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			list = append(list, Rule{Group: g.Name, Name: r.Record + r.Alert, Where: g.Name + "/" + r.Record + r.Alert + r.Labels.String(), Alert: r.Alert != "", Expr: r.Expr})
		}
	}
	return list, nil
}

// labels of a rule: one name may be recorded several times, with other ones.
type labels map[string]string

func (l labels) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		pairs = append(pairs, name+"="+l[name])
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}
