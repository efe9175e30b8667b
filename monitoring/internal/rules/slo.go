package rules

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// raw is the longest window that is computed from the counters themselves: 4,320 samples of each series, at each evaluation.
// A month of 1,000 series would be half a billion. Longer windows are made of slices that were summed over all series when
// they were new, and read 120 samples an hour whatever the number of series. The price: they know only what was seen while
// Prometheus ran, where counters would bridge the gap.
const raw = 6 * time.Hour

// labels are Sloth's, and those by which dashboards and Alertmanager know a Canary.
func labels(s slo.Service) map[string]string {
	return map[string]string{
		"namespace": s.Namespace, "canary": s.Canary,
		"sloth_id": s.ID(), "sloth_service": s.Service(), "sloth_slo": s.Name,
	}
}

// sli are the error ratios by window, under Sloth's names, and the requests they are made of.
//
// Without traffic there is no ratio: 0/0 is neither good nor bad. The ratio of a long window is that of sums, so that a
// quiet hour weighs what it has of requests. A status that was never answered has no series; that is 0 and not unknown.
func sli(s slo.Service, t times) Group {
	id := fmt.Sprintf("{sloth_id=%q}", s.ID())
	zero := func(total string) string { return fmt.Sprintf("or 0 * sum(%s%s)", total, id) }
	rules := []Rule{
		{Record: "slo:sli_total:rate", Labels: labels(s), Expr: totalIn(s, t.slice)},
		{Record: "slo:sli_errors:rate", Labels: labels(s), Expr: errorsIn(s, t.slice) + "\nor 0 * " + totalIn(s, t.slice)},
	}
	for _, window := range slo.Windows(s.Period) {
		name, in := Text(window), t.of(window)
		all := with(labels(s), "sloth_window", name)
		total := Rule{Record: "slo:sli_total:rate" + name, Labels: all, Expr: totalIn(s, in)}
		ratio := Rule{
			Record: "slo:sli_error:ratio_rate" + name, Labels: all,
			Expr: fmt.Sprintf("(%s %s)\n/\n(sum(%s%s) > 0)", errorsIn(s, in), zero(total.Record), total.Record, id),
		}
		if window > raw {
			sum := func(record string) string {
				return fmt.Sprintf("sum_over_time(%s%s[%s])", record, id, Text(in))
			}
			total.Expr = fmt.Sprintf("%s * %s / %s", sum("slo:sli_total:rate"), number(t.interval.Seconds()), number(in.Seconds()))
			ratio.Expr = fmt.Sprintf("%s\n/\n(%s > 0)", sum("slo:sli_errors:rate"), sum("slo:sli_total:rate"))
		}
		rules = append(rules, total, ratio)
	}
	return Group{Name: "sloth-slo-sli-recordings-" + s.ID(), Interval: t.interval, Rules: rules}
}

// meta are what Sloth's dashboards read beside the ratios.
func meta(s slo.Service, t times) Group {
	id := fmt.Sprintf("{sloth_id=%q}", s.ID())
	burn := func(window string) string {
		return fmt.Sprintf("slo:sli_error:ratio_rate%s%s\n/ on (sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio%s", window, id, id)
	}
	rule := func(record, expr string) Rule { return Rule{Record: record, Labels: labels(s), Expr: expr} }
	info := rule("sloth_slo_info", "vector(1)")
	info.Labels = with(info.Labels, "sloth_objective", number(s.Objective), "sloth_mode", "generated", "sloth_spec", "slo.yaml", "sloth_version", "none")
	return Group{Name: "sloth-slo-meta-recordings-" + s.ID(), Interval: t.interval, Rules: []Rule{
		rule("slo:objective:ratio", "vector("+number(1-s.Budget())+")"),
		rule("slo:error_budget:ratio", "vector("+number(s.Budget())+")"),
		rule("slo:time_period:days", "vector("+number(s.Period.Hours()/24)+")"),
		rule("slo:current_burn_rate:ratio", burn("5m")),
		rule("slo:period_burn_rate:ratio", burn(Text(s.Period))),
		rule("slo:period_error_budget_remaining:ratio", "1 - slo:period_burn_rate:ratio"+id),
		info,
	}}
}

// burn are the alerts on the budget: one for each tier, so that Alertmanager can let the stronger silence the weaker.
func burn(s slo.Service, t times) Group {
	group := Group{Name: "sloth-slo-alerts-" + s.ID(), Interval: t.interval}
	for _, tier := range slo.Tiers() {
		group.Rules = append(group.Rules, tierAlert(s, tier, t))
	}
	absent := with(labels(s), "severity", "warning")
	maps.Copy(absent, s.Labels)
	group.Rules = append(group.Rules, Rule{
		Alert: "SLOMetricsAbsent", Labels: absent, For: 10 * time.Minute,
		Expr: fmt.Sprintf("absent(slo:sli_total:rate{sloth_id=%q})", s.ID()),
		Annotations: annotations("SLOMetricsAbsent",
			// absent() gives no labels to take names from.
			fmt.Sprintf("There are no request counters of %s/%s", s.Namespace, s.Canary),
			fmt.Sprintf("Prometheus has had no series to compute the objective %s from for 10 minutes: while that is so, no burn of its error budget is alerted on.", s.ID())),
	})
	return group
}

func tierAlert(s slo.Service, tier slo.Tier, t times) Rule {
	severity, sloth := "warning", "ticket"
	if tier.Page {
		severity, sloth = "critical", "page"
	}
	long, short, factor := Text(tier.Long), Text(tier.Short), number(tier.Factor(s.Period))
	above := func(window string) string {
		return fmt.Sprintf("  max without (sloth_window) (slo:sli_error:ratio_rate%s{sloth_id=%q} > (%s * %s))", window, s.ID(), factor, number(s.Budget()))
	}
	least := fmt.Sprintf("  slo:sli_total:rate%s{sloth_id=%q} * %s >= %s", long, s.ID(), number(t.of(tier.Long).Seconds()), number(s.Least()))
	text := fmt.Sprintf("{{ $value | humanizePercentage }} of the requests of the last %s were bad, and more than %s %% of those of the last %s. At %s times the even rate %s %% of the error budget of %s are spent in %s.",
		long, number(slo.Percent(tier.Factor(s.Period)*s.Budget())), short, factor, number(slo.Percent(tier.Share)), Text(s.Period), long)
	all := with(labels(s), "severity", severity, "sloth_severity", sloth, "tier", tier.Name, "long", long, "short", short)
	maps.Copy(all, s.Labels)
	return Rule{
		Alert:  "ErrorBudgetBurn",
		Expr:   strings.Join([]string{"(", above(long), "  and", above(short), ")", "and on (sloth_id)", least}, "\n"),
		Labels: all,
		Annotations: annotations("ErrorBudgetBurn",
			fmt.Sprintf("{{ $labels.namespace }}/{{ $labels.canary }} spends its error budget more than %s times too fast", factor), text),
	}
}

func annotations(alert, summary, description string) map[string]string {
	return map[string]string{"summary": summary, "description": description, "runbook_url": runbooks + strings.ToLower(alert)}
}
