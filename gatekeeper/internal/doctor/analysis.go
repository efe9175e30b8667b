package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const analysis = "Canary spec.analysis"

// fewChecks is up to how many failed checks a threshold counts as low: a few scrapes without traffic, or one restart of
// whom a hook asks, come to that.
const fewChecks = 4

// metric is one metric check of the analysis.
type metric struct {
	Object
	where    string
	builtin  bool   // Flagger's own query is run
	template string // namespace/name, "" without templateRef
	query    string // of the template, "" when not known
}

func (p Patient) metrics() (all []metric) {
	for i, o := range p.Canary.list("spec", "analysis", "metrics") {
		m := metric{Object: o, where: fmt.Sprintf("%s.metrics[%d] (%s)", analysis, i, o.Text("name"))}
		m.builtin = slices.Contains([]string{"request-success-rate", "request-duration"}, o.Text("name"))
		if name := o.Text("templateRef", "name"); name != "" {
			ns := o.Text("templateRef", "namespace")
			if ns == "" {
				ns = p.Canary.namespace()
			}
			m.template = ns + "/" + name
			m.query = p.Templates[m.template].Text("spec", "query")
		}
		all = append(all, m)
	}
	return all
}

// window is the time that a metric looks back.
func (m metric) window() time.Duration { return m.duration(time.Minute, "interval") }

// needsTraffic reports whether silence fails the check, as far as one can see: only a query with a value of its own for
// "nothing" passes then.
func (m metric) needsTraffic() bool {
	if m.builtin || m.query == "" {
		return true
	}
	return !regexp.MustCompile(`\bor\s+(on\s*\(\s*\)\s*)?vector\s*\(`).MatchString(m.query)
}

// forMetrics applies a check to each metric.
func forMetrics(find func(p Patient, m metric) []hit) func(Patient) []hit {
	return func(p Patient) (hits []hit) {
		for _, m := range p.metrics() {
			hits = append(hits, find(p, m)...)
		}
		return hits
	}
}

func analysisChecks() []Check {
	return slices.Concat(metricChecks(), stepChecks(), alertChecks())
}

func metricChecks() []Check {
	return []Check{
		{"metric-window", Info, "a metric that looks back further than an interval", "flagger-facts §4.4", forMetrics(func(p Patient, m metric) []hit {
			return when(m.window() > p.interval() && !p.burst(m), m.where+".interval", fmt.Sprintf("it looks back %s every %s, so one burst of errors counts as up to %d failed checks", m.window(), p.interval(), p.looks(m)), "keep threshold over that number, or shorten the metric's interval")
		})},
		{"metric-burst", Warn, "a metric with which one burst of errors alone reaches the threshold", "flagger-facts §4.4", forMetrics(func(p Patient, m metric) []hit {
			return when(p.burst(m), m.where+".interval", fmt.Sprintf("it looks back %s every %s, so one burst of errors counts as up to %d failed checks and the threshold is %d", m.window(), p.interval(), p.looks(m), p.threshold()), "let the metric's interval be at most the analysis interval, or raise threshold")
		})},
		{"metric-builtin-name", Error, "a template under the name of a builtin metric", "flagger-facts §4.3, #610, #1720", forMetrics(func(_ Patient, m metric) []hit {
			return when(m.builtin && m.template != "", m.where+".name", "under this name Flagger also runs its builtin query, whatever the template says", "give the metric another name")
		})},
		{"metric-no-interval", Error, "a template metric without interval", "flagger-facts §4.3", forMetrics(func(_ Patient, m metric) []hit {
			uses := m.query == "" || strings.Contains(m.query, "interval")
			return when(m.template != "" && !m.has("interval") && uses, m.where+".interval", "templates have no default: the query gets [] and fails at every look", "set interval, for example 1m")
		})},
		{"metric-template", Error, "a metric template that is not there", "flagger-facts §4.3", forMetrics(func(p Patient, m metric) []hit {
			return when(m.template != "" && p.missing("MetricTemplate", p.Templates[m.template]), m.where+".templateRef", "there is no MetricTemplate "+m.template+": every look is a failed check", "apply the template or correct the reference")
		})},
		{"metric-variable", Error, "a template variable that the Canary does not give", "flagger-facts §4.3", forMetrics(func(_ Patient, m metric) (hits []hit) {
			for _, found := range regexp.MustCompile(`variables\.(\w+)`).FindAllStringSubmatch(m.query, -1) {
				if name := found[1]; !m.has("templateVariables", name) && !slices.ContainsFunc(hits, func(h hit) bool { return strings.HasSuffix(h.where, "."+name) }) {
					hits = append(hits, hit{m.where + ".templateVariables." + name, "the template's query needs it: without it every look is a failed check", "set it"})
				}
			}
			return hits
		})},
		{"metric-duration-unit", Error, "a builtin duration under 1 ms", "flagger-facts §4.3", forMetrics(func(_ Patient, m metric) []hit {
			limit := max(m.number("thresholdRange", "max"), m.number("threshold"))
			return when(m.builtin && m.Text("name") == "request-duration" && limit > 0 && limit < 1, m.where, fmt.Sprintf("the unit is milliseconds and %v is cut to 0, which no response keeps", limit), "write milliseconds, for example 500")
		})},
		{"metric-mean", Info, "the builtin duration of NGINX", "flagger-facts §0.12", forMetrics(func(p Patient, m metric) []hit {
			return when(m.builtin && m.Text("name") == "request-duration" && p.nginx(), m.where, "with NGINX this is the mean, not the 99th percentile that Flagger's documents name: slow tails do not show", "set latency in the gatekeeper's policy")
		})},
		{"metric-gateway", Info, "builtin metrics with the Gateway API", "flagger-facts §5", forMetrics(func(p Patient, m metric) []hit {
			return when(m.builtin && m.template == "" && p.gateway(), m.where, "the query wants the labels kubernetes_namespace and kubernetes_pod_name, which only Flagger's own Prometheus sets", "use a MetricTemplate with the labels that your Prometheus has")
		})},
		{"metric-silence", Warn, "metrics that fail without traffic, and a low threshold", "flagger-facts §0.8, §0.11, §4.4, #1501", func(p Patient) (hits []hit) {
			for _, m := range p.metrics() {
				if m.needsTraffic() && p.threshold() <= fewChecks {
					hits = append(hits, hit{m.where, fmt.Sprintf("no traffic is a failed check, failed checks add up over the whole rollout, and %d of them roll a good release back", p.threshold()), "raise threshold to 10, or let the query pass without traffic (… or on() vector(100))"})
				}
			}
			return hits
		}},
		{"metric-none", Info, "no metric check of Flagger's own", "flagger-facts §1.5", func(p Patient) []hit {
			return when(len(p.metrics()) == 0, analysis+".metrics", "while the gatekeeper is down nothing judges a release that already has traffic", "add one coarse check that passes without traffic, as in flagger/metric-template.yaml")
		}},
	}
}

// looks is at how many looks one burst of errors is still in a metric's window.
func (p Patient) looks(m metric) int { return int((m.window() + p.interval() - 1) / p.interval()) }

func (p Patient) burst(m metric) bool {
	return m.window() > p.interval() && p.looks(m) >= p.threshold()
}

func stepChecks() []Check {
	return []Check{
		{"interval-short", Warn, "an interval under Flagger's smallest", "flagger-facts §0.9", func(p Patient) []hit {
			given := p.Canary.duration(time.Minute, "spec", "analysis", "interval")
			return when(given < leastInterval, analysis+".interval", fmt.Sprintf("Flagger takes %s for %s", leastInterval, given), "write "+leastInterval.String())
		}},
		{"threshold-low", Warn, "a threshold that one hiccup reaches", "flagger-facts §0.8, §1.5", func(p Patient) []hit {
			return when(p.threshold() <= 2, analysis+".threshold", fmt.Sprintf("%d failed checks, counted over the whole rollout, roll back; one restart of whom a rollout hook asks comes to that", p.threshold()), "raise it to 10: the gatekeeper judges, Flagger's checks are the backstop")
		}},
		{"threshold-slow", Warn, "Flagger's own rollback takes longer than the policy's window", "flagger-facts §0.9, requirements 5", func(p Patient) []hit {
			slowest := p.interval() * time.Duration(p.threshold()+1)
			within := p.Rules.FailFast.Within
			return when(within > 0 && slowest > within, analysis, fmt.Sprintf("without the gatekeeper Flagger needs up to interval × (threshold + 1) = %s to roll back, the policy says %s", slowest, within), "lower interval or threshold")
		}},
		{"strategy", Error, "not exactly one of iterations, stepWeight, stepWeights", "flagger-facts §1.6", func(p Patient) []hit {
			n := 0
			for _, field := range []string{"iterations", "stepWeight", "stepWeights"} {
				if p.Canary.has("spec", "analysis", field) {
					n++
				}
			}
			return when(n != 1, analysis, fmt.Sprintf("it sets %d of iterations, stepWeight and stepWeights: with stepWeight and stepWeights the steps go by the one and end by the other", n), "set exactly one")
		}},
		{"steps-order", Error, "step weights that do not ascend from over 0 to at most 100", "flagger-facts §1.6", func(p Patient) []hit {
			list, before, bad := p.Canary.numbers("spec", "analysis", "stepWeights"), 0.0, false
			for _, w := range list {
				bad = bad || w <= before || w > 100
				before = w
			}
			return when(bad, analysis+".stepWeights", fmt.Sprintf("%v: the next step is the element after the current weight, and the promotion follows the last one", list), "list each weight once, in ascending order, up to 100")
		}},
		{"steps-max", Warn, "step weights over maxWeight", "flagger-facts §1.6", func(p Patient) []hit {
			list, limit := p.Canary.numbers("spec", "analysis", "stepWeights"), p.Canary.number("spec", "analysis", "maxWeight")
			return when(limit > 0 && len(list) > 0 && slices.Max(list) > limit, analysis+".maxWeight", fmt.Sprintf("with stepWeights the last of them is the highest weight; maxWeight %v is not read", limit), "remove maxWeight, or the weights over it")
		}},
		{"skip-analysis", Error, "skipAnalysis", "flagger-facts §1.4", func(p Patient) []hit {
			return when(p.Canary.yes("spec", "skipAnalysis"), "Canary spec.skipAnalysis", "every release is promoted unjudged as soon as its pods are ready", "remove it")
		}},
		{"suspend", Warn, "suspend", "flagger-facts §1.6", func(p Patient) []hit {
			return when(p.Canary.yes("spec", "suspend"), "Canary spec.suspend", "Flagger does nothing for this Canary, not even roll back, and asks no hook", "remove it when the reason is over")
		}},
	}
}

func alertChecks() []Check {
	return []Check{
		{"alert-severity", Warn, "an alert without severity", "flagger-facts §2.3", func(p Patient) (hits []hit) {
			for i, a := range p.Canary.list("spec", "analysis", "alerts") {
				if a.Text("severity") == "" {
					hits = append(hits, hit{fmt.Sprintf("%s.alerts[%d] (%s)", analysis, i, a.Text("name")), "an alert without severity is never sent, though Flagger's documents say that info is the default", "set severity: info"})
				}
			}
			return hits
		}},
		{"alert-provider", Warn, "an alert provider that is not there", "flagger-facts §2.3", func(p Patient) (hits []hit) {
			for i, a := range p.Canary.list("spec", "analysis", "alerts") {
				ns := a.Text("providerRef", "namespace")
				if ns == "" {
					ns = p.Canary.namespace()
				}
				key := ns + "/" + a.Text("providerRef", "name")
				if p.missing("AlertProvider", p.AlertProviders[key]) {
					hits = append(hits, hit{fmt.Sprintf("%s.alerts[%d] (%s).providerRef", analysis, i, a.Text("name")), "there is no AlertProvider " + key + ", and alerts of a Canary replace Flagger's global one: nobody is told", "apply the provider or correct the reference"})
				}
			}
			return hits
		}},
	}
}
