package dashboards

import (
	"fmt"
	"slices"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// times is a burn rate's unit: how many times as fast as the budget allows.
const times = "suffix:×"

// firing selects the alerts that fire for the chosen Canary, and those about what all Canaries need, which name none.
const firing = `ALERTS{alertstate="firing",namespace=~"$namespace|",canary=~"$canary|"}`

// ofObjective selects the records of one objective: a Canary may have several, with periods of their own.
const ofObjective = ofCanary + `,sloth_slo="$objective"`

// objectives says whether the service keeps its objective, and how fast its budget goes.
func objectives() *dashboard.DashboardBuilder {
	return board("SLO", "Whether one service keeps its objective: the budget that is left, how fast it burns, and what fires.", "now-24h").
		WithVariable(choice("objective", "Objective", `label_values(sloth_slo_info{`+ofCanary+`}, sloth_slo)`)).
		WithPanel(budgetLeft()).
		WithPanel(availability()).
		WithPanel(burnNow()).
		WithPanel(alertsNow()).
		WithPanel(burnByWindow()).
		WithPanel(burnDown()).
		WithPanel(burnByVersion()).
		WithPanel(alerts())
}

func budgetLeft() *stat.PanelBuilder {
	return figure(about{
		id: 1, title: "Budget left in the period", w: 6, h: 5, unit: units.PercentUnit, empty: "no requests counted yet",
		says: "Share of the period's error budget that is not spent. Under a quarter hold risky releases; below zero the objective is broken.",
	}, now(`min(slo:period_error_budget_remaining:ratio{`+ofObjective+`})`, "left")).
		Decimals(1).
		Thresholds(thresholds(vermilion, step{0, orange}, step{.25, blue}))
}

func availability() *stat.PanelBuilder {
	return figure(about{
		id: 2, title: "Good requests in the period", x: 6, w: 6, h: 5, unit: units.PercentUnit, empty: "no requests counted yet",
		says: "Share of the period's requests that were good, beside the objective. Below it, stop releasing and repair.",
	}, now(`1 - max(slo:period_burn_rate:ratio{`+ofObjective+`}) * max(slo:error_budget:ratio{`+ofObjective+`})`, "good"),
		now(`max(slo:objective:ratio{`+ofObjective+`})`, "objective")).
		Decimals(3).
		ColorScheme(one(blue)).
		OverrideByName("objective", fixed(grey))
}

func burnNow() *stat.PanelBuilder {
	return figure(about{
		id: 3, title: "Burn rate now", x: 12, w: 6, h: 5, unit: times, empty: "no requests",
		says: "How many times as fast as allowed the budget is being spent, over 5 minutes. 1 spends it in exactly the period; where that is 30 days, a person is woken from 14.4 on.",
	}, now(`max(slo:current_burn_rate:ratio{`+ofObjective+`})`, "burn rate")).
		Decimals(1).
		Thresholds(burns())
}

func alertsNow() *stat.PanelBuilder {
	return figure(about{
		id: 4, title: "Firing alerts", x: 18, w: 6, h: 5, unit: units.Short, empty: "none fires",
		says: "Alerts that fire for this service, by severity. Each has a runbook in docs/operations.md.",
	}, now(`count by (severity) (`+firing+`)`, "{{severity}}")).
		Decimals(0).
		ColorScheme(one(grey)).
		OverrideByName("warning", fixed(orange)).
		OverrideByName("critical", fixed(vermilion))
}

// burns are the factors of the alert tiers for a period of 30 days: those that wake somebody in another colour.
func burns() *dashboard.ThresholdsConfigBuilder {
	var steps []step
	for _, tier := range slo.Tiers() {
		colour := orange
		if tier.Page {
			colour = vermilion
		}
		steps = append(steps, step{tier.Factor(30 * 24 * time.Hour), colour})
	}
	slices.Reverse(steps) // the strongest came first
	return thresholds(blue, steps...)
}

// burnByWindow has the long windows of the alert tiers, the short one of the first, and the tiers' factors, which follow
// the objective's period.
func burnByWindow() *timeseries.PanelBuilder {
	var queries []*prometheus.DataqueryBuilder
	for _, window := range []string{"5m", "1h", "6h", "1d", "3d"} {
		queries = append(queries, over(
			`max(slo:sli_error:ratio_rate`+window+`{`+ofObjective+`}) / max(slo:error_budget:ratio{`+ofObjective+`})`, window))
	}
	for _, tier := range slo.Tiers() {
		queries = append(queries, over(
			fmt.Sprintf(`max(slo:time_period:days{%s}) * 24 * %g / %g`, ofObjective, tier.Share, tier.Long.Hours()), tier.Name))
	}
	return lines(about{
		id: 5, title: "Burn rate by window", y: 5, w: 12, h: 9, unit: times, empty: "no requests",
		says: "An alert fires while a long window and its short one are both above the broken line of its name. Short windows above and long ones below: it has just begun, or is over.",
	}, queries...).
		FillOpacity(0).
		OverrideByName("5m", fixed(sky)).
		OverrideByName("1h", fixed(blue)).
		OverrideByName("6h", fixed(green)).
		OverrideByName("1d", fixed(purple)).
		OverrideByName("3d", fixed(grey)).
		OverrideByRegexp("/^page-/", append(fixed(vermilion), broken(8, 8)...)).
		OverrideByRegexp("/^ticket-/", append(fixed(orange), broken(8, 8)...))
}

func burnDown() *timeseries.PanelBuilder {
	return lines(about{
		id: 6, title: "Budget left over time", x: 12, y: 5, w: 12, h: 9, unit: units.PercentUnit, empty: "no requests counted yet",
		says: "The budget as it was spent. A cliff is an incident, a slope a steady fault: choose the period as time range to see all of it.",
	}, over(`min(slo:period_error_budget_remaining:ratio{`+ofObjective+`})`, "left")).
		Max(1).
		FillOpacity(20).
		Thresholds(thresholds("transparent", step{0, vermilion}, step{.25, orange})).
		ThresholdsStyle(dashed()).
		OverrideByName("left", fixed(blue))
}

func burnByVersion() *timeseries.PanelBuilder {
	return versions(lines(about{
		id: 7, title: "Burn rate by version", y: 14, w: 12, h: 8, unit: times, empty: "no requests",
		says: "The burn rate that each version would cause with all of the traffic. If only the canary burns, the rollout takes it back; if the primary does, the release is not to blame.",
	}, over(`max by (version) (canary:burn_rate:ratio{`+ofCanary+`})`, "{{version}}"))).
		Thresholds(thresholds("transparent", step{1, orange})).
		ThresholdsStyle(dashed())
}

func alerts() *statetimeline.PanelBuilder {
	return lanes(about{
		id: 8, title: "Alerts over time", x: 12, y: 14, w: 12, h: 8, unit: units.NoUnit, empty: "no alert fired in this time range",
		says: "When which alert fired. Follow the first one of a chain: its runbook in docs/operations.md says what to look at.",
	}, states(state{"1", "firing", vermilion}),
		over(`max by (alertname, tier, sloth_slo) (`+firing+`)`, "{{alertname}} {{tier}} {{sloth_slo}}")).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeHidden).ShowLegend(false))
}
