// Package dashboards builds the three Grafana dashboards: Rollouts, SLO and Service.
package dashboards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// File is one dashboard as Grafana imports it.
type File struct {
	Name string // of the file, such as slo.json
	JSON []byte
}

// tag is what the dashboards have in common: each links to all that carry it.
const tag = "rollout-monitoring"

// Files builds the dashboards. Their uids, and the ids of their panels, never change: links and pictures hold on to them.
func Files() ([]File, error) {
	var files []File
	for _, d := range []struct {
		name  string
		board *dashboard.DashboardBuilder
	}{
		{"rollouts", rollouts()},
		{"slo", objectives()},
		{"service", service()},
	} {
		built, err := d.board.Uid(tag + "-" + d.name).Build()
		if err != nil {
			return nil, fmt.Errorf("build dashboard %s: %w", d.name, err)
		}
		show(&built)
		text, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode dashboard %s: %w", d.name, err)
		}
		files = append(files, File{Name: d.name + ".json", JSON: append(text, '\n')})
	}
	return files, nil
}

// show puts links and annotations beside the variables; by the SDK's default they are in a menu.
func show(d *dashboard.Dashboard) {
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	for i := range d.Annotations.List {
		d.Annotations.List[i].Placement = nil
	}
}

// board is a dashboard without panels: the variables, the links to its siblings, and one crosshair for all panels.
func board(title, says, from string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).
		Description(says).
		Tags([]string{tag}).
		Time(from, "now").
		Refresh("10s").
		Timezone("browser").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus")).
		WithVariable(choice("namespace", "Namespace", "label_values(gatekeeper_rollouts_total, namespace)")).
		WithVariable(choice("canary", "Canary", `label_values(gatekeeper_rollouts_total{namespace="$namespace"}, canary)`)).
		Link(dashboard.NewDashboardLinkBuilder("Rollouts, SLO, Service").
			Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).IncludeVars(true).KeepTime(true))
}

// choice is a variable whose values Prometheus knows.
func choice(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Datasource(source()).
		Query(dashboard.StringOrMap{String: &query}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc)
}

// source is the data source that the variable names.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}
