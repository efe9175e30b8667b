package keeper

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// descs are what Collect sends, each with the labels namespace and canary.
type descs struct{ evidence, rate, allowed, needed, info, verdict, gate, started, waiting, seen, stuck *prometheus.Desc }

func descriptions() descs {
	of := func(name, help string, label ...string) *prometheus.Desc {
		return prometheus.NewDesc("gatekeeper_"+name, help, append([]string{"namespace", "canary"}, label...), nil)
	}
	return descs{
		evidence: of("evidence_log", "Evidence against the canary, or the primary, as a natural logarithm: ln 200 is 200 : 1.", "channel"),
		rate:     of("canary_error_rate", "Share of the canary's responses that are bad, 0 to 1, and its bounds.", "bound"),
		allowed:  of("allowed_weight", "Share of the traffic, 0 to 1, that the evidence supports."),
		needed:   of("requests_needed", "Canary requests without an error that the next weight still needs."),
		info:     of("rollout_info", "1 for the rollout under way: its id, what it releases, and the stable version, by image tags.", "rollout", "version", "revision", "stable"),
		verdict:  of("verdict", "1 for the verdict of the rollout under way, 0 for the other two.", "verdict"),
		gate:     of("gate_open", "0 while a gate of this kind holds what the rollout under way wants next, else 1. clock and hold are there only while they hold.", "gate"),
		started:  of("rollout_started_timestamp_seconds", "Unix time at which the rollout under way began."),
		waiting:  of("waiting_since_timestamp_seconds", "Unix time since when the rollout under way waits for a person: for an approval, or held for longer than its policy says. Absent while it does not."),
		seen:     of("evidence_timestamp_seconds", "Unix time of the canary's counts, of the rollout under way while Flagger analyses it and it has traffic; its first traffic before the first counts."),
		stuck:    of("rollout_stuck", "1 while a person must act: a promotion broke down or does not end, or Flagger stopped asking while traffic flows to the canary."),
	}
}

// Describe is part of prometheus.Collector.
func (k *Keeper) Describe(out chan<- *prometheus.Desc) {
	d := descriptions()
	for _, desc := range []*prometheus.Desc{d.evidence, d.rate, d.allowed, d.needed, d.info, d.verdict, d.gate, d.started, d.waiting, d.seen, d.stuck} {
		out <- desc
	}
}

// Collect is part of prometheus.Collector: it lets Prometheus see how rollouts under way stand, as it hangs on the board.
// What a rollout has goes with its end.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	b, d, now := k.board.Load(), descriptions(), k.cfg.Now()
	step := k.cfg.Wall().Sub(now) // by which the clock that others see is apart from the one that never steps
	for _, c := range b.all {
		g := gauge{out, c.Key}
		g.set(d.stuck, truth(isStuck(c, b.open[c.Key])))
	}
	for _, r := range b.others {
		g, rules, ahead := gauge{out, r.Canary}, b.rules[r.Canary], b.ahead[r.Canary]
		g.evidence(d, r.Verdict.Evidence)
		g.set(d.info, 1, r.ID, r.Revision.Tag(), r.Revision.Hash, r.Stable.Tag())
		for _, outcome := range []rollout.Outcome{rollout.Pass, rollout.Hold, rollout.Fail} {
			g.set(d.verdict, truth(r.Verdict.Outcome == outcome), string(outcome))
		}
		g.gates(d, r, policy.Gates(rules, r, b.around(r.Canary, rules, k.cfg.Policies, now), now.Add(ahead)))
		shown := func(at time.Time) float64 { return seconds(at.Add(step - ahead)) } // a record's own time may be ahead
		g.set(d.started, shown(r.StartedAt))
		if since := r.Told[rollout.IsWaiting].Since; !since.IsZero() {
			g.set(d.waiting, shown(since))
		}
		if r.Latest.Weight > 0 && r.Phase.Analysed() {
			g.set(d.seen, shown(b.seen[r.Canary]))
		}
	}
}

// isStuck reports whether a Canary's last rollout needs a person: the Canary itself says that a promotion broke down, the
// rollout under way (nil: none) that nobody steers it or that its promotion does not end.
func isStuck(c rollout.Canary, open *rollout.Rollout) bool {
	if open == nil {
		return c.Phase == rollout.Failed && c.LeftAt > 0
	}
	return !open.Told[rollout.IsUnattended].Since.IsZero() || !open.Told[rollout.IsStalled].Since.IsZero()
}

// gauge sends figures of one Canary.
type gauge struct {
	out chan<- prometheus.Metric
	of  rollout.Key
}

func (g gauge) set(d *prometheus.Desc, value float64, label ...string) {
	g.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{g.of.Namespace, g.of.Name}, label...)...)
}

// evidence is what verdict.md §5.2 has; nil before the first traffic.
func (g gauge) evidence(d descs, a *rollout.Assessment) {
	if a == nil {
		return
	}
	for channel, log := range map[string]float64{
		"slo": a.LogSLO, "hard": a.LogHard, "compare": a.LogCompare, "primary": a.LogPrimary, "latency": a.LogLatency,
		"ingress-slo": a.LogIngressSLO, "ingress-compare": a.LogIngressCompare,
	} {
		g.set(d.evidence, log, channel)
	}
	for bound, rate := range map[string]float64{"seen": a.Rate, "lower": a.Lower, "upper": a.Upper} {
		g.set(d.rate, rate, bound)
	}
	g.set(d.allowed, a.AllowedWeight)
	g.set(d.needed, a.RequestsNeeded)
}

// gates sends one figure for each kind: several gates of one kind are open when all are.
func (g gauge) gates(d descs, r rollout.Rollout, gates []policy.Gate) {
	holds, next := map[policy.GateKind]bool{}, policy.Next(r)
	for _, gate := range gates {
		holds[gate.Kind] = holds[gate.Kind] || gate.Holds(next)
	}
	for kind, is := range holds {
		g.set(d.gate, truth(!is), string(kind))
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// lastSeen is of when the canary's counts are: of the oldest among pods that owe an answer, while one answers.
func (r *run) lastSeen() time.Time {
	if r.rollout.Latest.Answering > 0 {
		return r.rollout.Latest.At.Add(-r.rollout.Latest.Age)
	}
	last := r.rollout.FirstTrafficAt
	for _, record := range r.book {
		if record.Track == rollout.TrackCanary && record.SeenAt.After(last) {
			last = record.SeenAt
		}
	}
	return last
}
