package rules

import (
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// versions are the figures of the canary and of the primary, for dashboards. Their windows are short: a step of a rollout
// is. They are not what the gatekeeper judges by, which is every request since the rollout began.
func versions(s slo.Service) Group {
	group := Group{Name: "canary-recordings-" + s.Service(), Interval: 10 * time.Second}
	for _, version := range []string{canaryVersion, primaryVersion} {
		group.Rules = append(group.Rules, versionRules(s, version)...)
	}
	return group
}

func versionRules(s slo.Service, version string) []Rule {
	c := seriesOf(s)
	labels := map[string]string{"namespace": s.Namespace, "canary": s.Canary, "version": version}
	self := fmt.Sprintf("{namespace=%q,canary=%q,version=%q}", s.Namespace, s.Canary, version)
	rule := func(record, expr string) Rule { return Rule{Record: record, Labels: labels, Expr: expr} }
	rates := func(window string) []Rule {
		total, failed := "canary:requests:rate"+window, "canary:errors:rate"+window
		return []Rule{
			rule(total, fmt.Sprintf("sum(rate(%s{%s}[%s]))", c.requests, c.of[version], window)),
			rule(failed, fmt.Sprintf("sum(rate(%s{%s,%s}[%s]))\nor 0 * sum(%s%s)", c.requests, c.of[version], c.bad, window, total, self)),
			rule("canary:sli_error:ratio_rate"+window, fmt.Sprintf("%s%s / (%s%s > 0)", failed, self, total, self)),
		}
	}
	all := append(rates("1m"), rates("5m")...)
	all = append(all, rule("canary:burn_rate:ratio", fmt.Sprintf("canary:sli_error:ratio_rate5m%s / %s", self, number(s.Budget()))))
	for _, percent := range []int{50, 95, 99} {
		// Without traffic a quantile is NaN, which no comparison lets through.
		all = append(all, rule(fmt.Sprintf("canary:latency:p%d_rate1m", percent),
			fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(%s{%s}[1m]))) >= 0", number(float64(percent)/100), c.buckets, c.of[version])))
	}
	return all
}
