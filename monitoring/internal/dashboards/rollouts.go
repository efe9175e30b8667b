package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// ofCanary selects what the gatekeeper, and the rules, say of the chosen Canary.
const ofCanary = `namespace="$namespace",canary="$canary"`

// rollouts says how releases go: the one under way in the middle, those of a month above and below.
func rollouts() *dashboard.DashboardBuilder {
	b := board("Rollouts", "How releases of one Canary go: what is under way, why it moves or holds, and how the last month went.", "now-1h")
	for _, a := range rolloutMarks() {
		b.Annotation(a)
	}
	return b.
		WithPanel(underWay()).
		WithPanel(promoted()).
		WithPanel(ended()).
		WithPanel(share()).
		WithPanel(errorRate()).
		WithPanel(verdictAndGates()).
		WithPanel(evidence()).
		WithPanel(duration()).
		WithPanel(deploys()).
		WithPanel(leadTime()).
		WithPanel(failedChanges()).
		WithPanel(timeToRestore())
}

// rolloutMarks are the moments that explain the lines. Grafana asks for them every 15 s, and more seldom along a longer range:
// $__interval is that step, so that nothing falls between two. The verdict that ends a rollout is marked where it begins; pass and
// hold take turns, and have their lane.
func rolloutMarks() []*dashboard.AnnotationQueryBuilder {
	failed := func(offset string) string {
		return `max by (verdict) (max_over_time(gatekeeper_verdict{` + ofCanary + `,verdict="fail"}[$__interval]` + offset + `)) == 1`
	}
	return []*dashboard.AnnotationQueryBuilder{
		// Version and time are joined where both are of the same rollout, and only then looked for in the step.
		mark("Start", sky, `max_over_time((max by (namespace, canary, version) (gatekeeper_rollout_info{`+ofCanary+`})`+
			` * on (namespace, canary) group_left () max by (namespace, canary) (gatekeeper_rollout_started_timestamp_seconds{`+ofCanary+`}))[$__interval:15s]) * 1000`,
			"{{version}} starts").UseValueForTime(true),
		mark("Verdict", vermilion, failed("")+" unless "+failed(" offset $__interval"), "{{verdict}}"),
		mark("End", purple, `max by (result) (gatekeeper_rollout_ended_timestamp_seconds{`+ofCanary+`}) * 1000`, "{{result}}").UseValueForTime(true),
	}
}

func underWay() *stat.PanelBuilder {
	return figure(about{
		id: 1, title: "Under way", w: 8, h: 4, unit: units.NoUnit, empty: "no rollout",
		says: "The version that is being rolled out, and the one it replaces. The page of the gatekeeper has the whole story.",
	}, now(`max by (version) (gatekeeper_rollout_info{`+ofCanary+`})`, "{{version}}").Format(prometheus.PromQueryFormatTable),
		now(`max by (stable) (gatekeeper_rollout_info{`+ofCanary+`})`, "{{stable}}").Format(prometheus.PromQueryFormatTable)).
		ReduceOptions(last().Fields("/^(version|stable)$/")).
		TextMode(common.BigValueTextModeValueAndName).
		ColorScheme(one(grey)).
		OverrideByName("version", fixed(orange))
}

// promoted comes from the ledger and not from counters: it needs no month of samples, and no restart forgets a rollout.
func promoted() *stat.PanelBuilder {
	return figure(about{
		id: 2, title: "Promoted, 30 days", x: 8, w: 4, h: 4, unit: units.PercentUnit, empty: "no rollout has ended",
		says: "Share of the decided rollouts that were promoted. Below 85 % see why the others were not, in deployment_report.md.",
	}, now(`max(gatekeeper_dora_deployments{`+ofCanary+`}) / (max(gatekeeper_dora_decided{`+ofCanary+`}) > 0)`, "promoted")).
		Decimals(0).
		Thresholds(thresholds(grey, step{0, vermilion}, step{.7, orange}, step{.85, blue}))
}

func ended() *stat.PanelBuilder {
	return figure(about{
		id: 3, title: "Ended in this time range", x: 12, w: 12, h: 4, unit: units.Short, empty: "none",
		says: "Rollouts that ended, by result. Stuck ones need a person: runbook rolloutstuck in docs/operations.md.",
	}, now(`round(sum by (result) (increase(gatekeeper_rollouts_total{`+ofCanary+`}[$__range])))`, "{{result}}")).
		Decimals(0).
		ColorScheme(one(grey)).
		OverrideByName("promoted", fixed(blue)).
		OverrideByName("rolled-back", fixed(vermilion)).
		OverrideByName("stuck", fixed(purple))
}

// share reads Flagger's weight by the name of the target, which is the Canary's name in helm/podinfo-like.
func share() *timeseries.PanelBuilder {
	return lines(about{
		id: 4, title: "The canary's share of the traffic", y: 4, w: 12, h: 8, unit: units.PercentUnit, empty: "no weight",
		says: "What Flagger sends to the canary, and the most that the evidence supports. A share that stands still while more is supported waits for a gate.",
	}, over(`max(flagger_canary_weight{namespace="$namespace",workload="$canary"}) / 100`, "share"),
		over(`max(gatekeeper_allowed_weight{`+ofCanary+`})`, "supported")).
		Max(1).
		LineInterpolation(common.LineInterpolationStepAfter).
		OverrideByName("share", fixed(orange)).
		OverrideByName("supported", append(fixed(grey), broken(10, 10)...))
}

func errorRate() *timeseries.PanelBuilder {
	return versions(lines(about{
		id: 5, title: "Error rate by version", x: 12, y: 4, w: 12, h: 8, unit: units.PercentUnit, empty: "no requests",
		says: "Share of the last minute's requests that failed. The lines are the default policy's: 0.5 % breaks the objective, 2 % fails at once; if both versions fail, it is not the release. As the pods count in http_requests_total: a pod that dies of a request counts no error.",
	}, over(`max by (version) (canary:sli_error:ratio_rate1m{`+ofCanary+`})`, "{{version}}"))).
		AxisSoftMax(.05).
		Thresholds(thresholds("transparent", step{.005, orange}, step{.02, vermilion})).
		ThresholdsStyle(dashed())
}

// verdictAndGates has a lane for the verdict, 1 to 3, and one for each gate, 10 or 11: one table of words serves both.
func verdictAndGates() *statetimeline.PanelBuilder {
	verdict := func(weight, is string) string {
		return weight + ` * max(gatekeeper_verdict{` + ofCanary + `,verdict="` + is + `"})`
	}
	return lanes(about{
		id: 6, title: "Verdict and gates", y: 12, w: 12, h: 8, unit: units.NoUnit, empty: "no rollout in this time range",
		says: "What the evidence says and which gates hold. A closed gate names who is waited for: the clock, a person, another rollout, an alert.",
	}, states(
		state{"1", "pass", blue}, state{"2", "hold", orange}, state{"3", "fail", vermilion},
		state{"10", "closed", purple}, state{"11", "open", sky},
	),
		over(verdict("1", "pass")+" + "+verdict("2", "hold")+" + "+verdict("3", "fail"), "verdict"),
		over(`10 + max by (gate) (gatekeeper_gate_open{`+ofCanary+`})`, "{{gate}}"))
}

// evidence shows odds and not logarithms, as docs/verdict.md speaks of them. They are clamped to 1 : 100 and 100,000 : 1: more
// is nothing new, and the line of a proven fault would run out of the panel.
func evidence() *timeseries.PanelBuilder {
	return lines(about{
		id: 7, title: "Evidence against the canary", x: 12, y: 12, w: 12, h: 8, unit: "suffix: : 1", empty: "no evidence yet",
		says: "Odds that the canary breaks its objective, by what they are drawn from. At 200 : 1 it is rolled back; between 1 and 200 the verdict waits for more requests.",
	}, over(`max by (channel) (exp(clamp(gatekeeper_evidence_log{`+ofCanary+`,channel!="hard"}, -4.6, 11.5)))`, "{{channel}}")).
		AxisSoftMin(.01).
		ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10)).
		FillOpacity(0).
		Thresholds(thresholds("transparent", step{200, vermilion})).
		ThresholdsStyle(dashed()).
		OverrideByName("slo", fixed(vermilion)).
		OverrideByName("compare", fixed(orange)).
		OverrideByName("latency", fixed(purple)).
		OverrideByName("primary", fixed(blue)).
		OverrideByName("ingress-slo", fixed(green)).
		OverrideByName("ingress-compare", fixed(sky))
}

func duration() *bargauge.PanelBuilder {
	return bars(about{
		id: 8, title: "Median time of a rollout", y: 20, w: 8, h: 5, unit: units.Seconds, empty: "no rollout has ended",
		says: "From the first traffic to the end, of the rollouts in this time range, by result. Rollbacks that take longer than 5 minutes had too few requests: send more.",
	}, now(`histogram_quantile(0.5, sum by (le, result) (increase(gatekeeper_rollout_duration_seconds_bucket{`+ofCanary+`}[$__range]))) > 0`, "{{result}}")).
		Thresholds(thresholds(blue, step{600, orange}, step{1800, vermilion})).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
}

// delivery is one of the four metrics of dora.dev, which the gatekeeper works out from its ledger once a minute.
func delivery(a about, metric, matchers string) *stat.PanelBuilder {
	a.y, a.w, a.h = 20, 4, 5
	return figure(a, now(`max(gatekeeper_dora_`+metric+`{`+ofCanary+matchers+`})`, a.title)).Thresholds(thresholds(blue))
}

const median = `,quantile="0.5"`

func deploys() *stat.PanelBuilder {
	return delivery(about{
		id: 9, title: "Deploys a day", x: 8, unit: units.Short, empty: "no rollout has ended",
		says: "Promoted rollouts a day, over 30 days. Few and big releases are the risky ones: release smaller changes.",
	}, "deployments_per_day", "").Decimals(2)
}

func leadTime() *stat.PanelBuilder {
	return delivery(about{
		id: 10, title: "Lead time", x: 12, unit: units.Seconds, empty: "no commit times known",
		says: "Median time from the commit to the promotion, over 30 days. If it grows, look which gate holds longest.",
	}, "lead_time_seconds", median)
}

func failedChanges() *stat.PanelBuilder {
	return delivery(about{
		id: 11, title: "Failed changes", x: 16, unit: units.PercentUnit, empty: "no rollout has ended",
		says: "Share of the rollouts of 30 days that were rolled back or got stuck. Above 15 % look for what tests let through.",
	}, "change_failure_ratio", "").Thresholds(thresholds(blue, step{.15, orange}, step{.3, vermilion}))
}

func timeToRestore() *stat.PanelBuilder {
	return delivery(about{
		id: 12, title: "Time to restore", x: 20, unit: units.Seconds, empty: "nothing was rolled back",
		says: "Median time from a bad rollout's first traffic to the end of its rollback, over 30 days. Above 5 minutes read the evidence of the slow ones.",
	}, "time_to_restore_seconds", median).Thresholds(thresholds(blue, step{300, orange}, step{600, vermilion}))
}
