package rules

import (
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// versions are the figures of the canary and of the primary, for dashboards. Their windows are short: a step of a rollout
// is. They are not what the gatekeeper judges by, which is every request since the rollout began.
//
// The pods' own counters are read whatever the objective's source is: the ingress has one counter for all canaries there ever
// were, and the canary before this one would be in its rates.
func versions(s slo.Service) Group {
	group := Group{Name: "canary-recordings-" + s.Service(), Interval: 10 * time.Second}
	for _, name := range []string{canaryVersion, primaryVersion} {
		group.Rules = append(group.Rules, versionRules(s, name)...)
	}
	return group
}

func versionRules(s slo.Service, name string) []Rule {
	labels := map[string]string{"namespace": s.Namespace, "canary": s.Canary, "version": name}
	self := fmt.Sprintf("{namespace=%q,canary=%q,version=%q}", s.Namespace, s.Canary, name)
	rule := func(record, expr string) Rule { return Rule{Record: record, Labels: labels, Expr: expr} }
	// Pods that are gone count no longer, though the window still has their samples: they were another revision.
	rate := func(metric, matchers, window string) string {
		return fmt.Sprintf("rate(%s{%s}[%s]) and on (namespace, pod) up{%s}", metric, matchers, window, version(s, name))
	}
	rates := func(window string) []Rule {
		total, failed := "canary:requests:rate"+window, "canary:errors:rate"+window
		return []Rule{
			rule(total, "sum("+rate("http_requests_total", version(s, name), window)+")"),
			rule(failed, fmt.Sprintf("sum(%s)\nor 0 * sum(%s%s)", rate("http_requests_total", version(s, name)+","+bad(s.Good), window), total, self)),
			rule("canary:sli_error:ratio_rate"+window, fmt.Sprintf("%s%s / (%s%s > 0)", failed, self, total, self)),
		}
	}
	all := append(rates("1m"), rates("5m")...)
	all = append(all, rule("canary:burn_rate:ratio", fmt.Sprintf("canary:sli_error:ratio_rate5m%s / %s", self, number(s.Budget()))))
	for _, percent := range []int{50, 95, 99} {
		// Without traffic a quantile is NaN, which no comparison lets through.
		all = append(all, rule(fmt.Sprintf("canary:latency:p%d_rate1m", percent),
			fmt.Sprintf("histogram_quantile(%s, sum by (le) (%s)) >= 0", number(float64(percent)/100), rate("http_request_duration_seconds_bucket", version(s, name), "1m"))))
	}
	return all
}
