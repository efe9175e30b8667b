package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// The closed list of reason kinds. Those that fail:
const (
	KindRejected     = "rejected"      // a person said no
	KindAborted      = "aborted"       // a person said stop
	KindUnattended   = "unattended"    // Flagger was silent while traffic flowed, and the brake was pulled
	KindSLO          = "slo"           // proven: the canary's error rate is over the SLO's
	KindCompare      = "compare"       // proven: the canary fails more often than the primary
	KindLatency      = "latency"       // proven: too many of the canary's responses are too slow
	KindWindow       = "window"        // over failFast.errorRate when its window ended
	KindIngressSLO   = "ingress-slo"   // as slo, by the ingress's counts
	KindIngressWorse = "ingress-worse" // as compare, by the ingress's counts
	KindCrashLoop    = "crash-loop"    // a canary pod exits again and again
	KindImage        = "image"         // a canary pod can not be started
	KindNoEndpoints  = "no-endpoints"  // no canary pod is ready though traffic is assigned
	KindUnready      = "unready"       // a canary pod stopped being ready and stays so
	KindHeldTooLong  = "held-too-long" // not decided within evidence.maxHold; holds or fails as the policy says
)

// Those that hold:
const (
	KindBlind          = "blind"           // no fresh counts
	KindData           = "data"            // counts that can not be
	KindContradiction  = "contradiction"   // pods and ingress count different requests
	KindNoTraffic      = "no-traffic"      // no canary request yet
	KindSharedIncident = "shared-incident" // the primary itself is proven to be over the SLO
	KindOverLimit      = "over-limit"      // over failFast.errorRate, evidence not strong enough to fail
	KindObjective      = "objective"       // under slo.objective
	KindNeedEvidence   = "evidence-needed" // the ramp's bound does not allow the next weight yet
	KindBaking         = "baking"          // bake time of this weight not over
	KindSuperseding    = "superseding"     // weight is still that of the revision before
)

// Those that pass, and one that is only told:
const (
	KindReady    = "ready"     // canary pods answer, no traffic yet
	KindStepDone = "step-done" // this weight's bake time is over and its evidence is good
	KindShare    = "share"     // the canary's share of the traffic is not its weight
)

const (
	// maxAge is how old the canary's counts may be before they say nothing: five scrapes at one a second.
	maxAge = 5 * time.Second
	// maxIngressAge is that of the ingress's counts, which come by way of Prometheus' own scrapes, up to 30 s apart.
	maxIngressAge = time.Minute
	// LeastErrors must have been seen before anything is rolled back for errors: one or two prove nothing (verdict.md §2.6).
	LeastErrors = 3
	// thinEvidence is what the window rule asks for where requests are few, 10 : 1 (verdict.md §2.5).
	thinEvidence = 10
	// secondOpinion is the ingress's part of the whole chance of a false rollback.
	secondOpinion = 0.2
	// crashes of one pod are a loop even before the kubelet says so.
	crashes = 2
	// startGrace is for errors that a second attempt may mend, such as a registry's hiccup.
	startGrace = 10 * time.Second
	// downGrace and unreadyGrace let a pod be moved to another node; failing requests are judged meanwhile.
	downGrace    = 5 * time.Second
	unreadyGrace = 30 * time.Second
)

// Advance takes the tick t into r and judges r by it. It is the one step that the evaluator, replay and simulate share, so
// recorded ticks give the recorded verdicts again, bit for bit.
func Advance(rules Rules, r *rollout.Rollout, t rollout.Tick) {
	r.Observe(t)
	if r.Result != "" || !t.Phase.Analysed() {
		return
	}
	r.Phase = t.Phase
	if _, underWay := r.Step(); underWay {
		r.Evidence = r.Evidence.Observe(rules.Plan(hasIngress(rules, *r)), t.At.Sub(r.FirstTrafficAt), totals(r.Latest))
	}
	climb := r.Climb()
	v := Decide(rules, *r, t.At)
	if !climb.IsZero() && t.At.Sub(climb) >= rules.FailFast.Within {
		r.WindowOf = climb // looked at once
	}
	r.HeldSince = heldSince(r.HeldSince, v)
	r.Judge(v)
}

// heldSince is when the hold that v continues began. Time that is only baked is not held.
func heldSince(since time.Time, v rollout.Verdict) time.Time {
	baking := slices.ContainsFunc(v.Reasons, func(r rollout.Reason) bool { return r.Kind == KindBaking })
	switch {
	case v.Outcome != rollout.Hold || v.Evidence == nil || baking:
		return time.Time{}
	case since.IsZero():
		return v.At
	default:
		return since
	}
}

// Plan fixes what is tested, with or without the ingress as a source. The chance of a false rollback is shared by all
// channels that run: a fifth is the ingress's two, the rest is divided evenly between SLO, compare and latency.
func (r Rules) Plan(ingress bool) evidence.Plan {
	whole := r.Confidence.FalseRollback / 100
	p := evidence.Plan{Block: r.Confidence.Block, Hard: r.FailFast.ErrorRate / 100}
	stakes := evidence.EveryBlock(r.Confidence.Block)
	channels := 2.0
	if r.Latency != nil {
		channels++
	}
	if ingress {
		p.Ingress = evidence.Limits{SLO: r.Allowed(), Ratio: 1, Alpha: whole * secondOpinion / 2, Stakes: stakes}
		whole -= whole * secondOpinion
	}
	p.Pods = evidence.Limits{SLO: r.Allowed(), Ratio: 1, Alpha: whole / channels, Stakes: stakes}
	if l := r.Latency; l != nil {
		p.Latency = evidence.LatencyPlan{Alpha: whole / channels, Allowed: 1 - l.Quantile/100, Max: l.Max.Seconds()}
		if l.WorseBy > 0 {
			p.Latency.WorseBy = 1 + l.WorseBy/100
		}
	}
	return p
}

// Allowed is the share of bad requests, in (0,1), that the objective allows.
func (r Rules) Allowed() float64 { return (100 - r.SLO.Objective) / 100 }

// hasIngress reports whether the ingress is a source for r.
func hasIngress(rules Rules, r rollout.Rollout) bool {
	return r.Ingress != "" && rules.uses(Ingress)
}

// uses reports whether counts of a source are asked for.
func (r Rules) uses(s Source) bool {
	return len(r.Evidence.Source) == 0 || slices.Contains(r.Evidence.Source, s)
}

func totals(t rollout.Tick) evidence.Totals {
	out := evidence.Totals{Canary: counts(t.Canary), Primary: counts(t.Primary)}
	if t.Ingress != nil {
		out.IngressCanary, out.IngressPrimary = counts(t.Ingress.Canary), counts(t.Ingress.Primary)
	}
	if l := t.Latency; l != nil {
		out.CanaryTimes, out.PrimaryTimes = histogram(l.Bounds, l.Canary), histogram(l.Bounds, l.Primary)
	}
	return out
}

func counts(c rollout.Counts) evidence.Counts {
	return evidence.Counts{Requests: float64(c.Total()), Bad: float64(c.Bad)}
}

func histogram(bounds []float64, counts []uint64) evidence.Histogram {
	h := evidence.Histogram{Bounds: bounds}
	for _, c := range counts {
		h.Counts = append(h.Counts, float64(c))
	}
	return h
}

// Decide says what should happen to r at now, its latest tick's time. It is pure and total: the same arguments give the
// same verdict, and every input has one. A fail is final. Missing evidence is hold, never pass. Reasons come strongest
// first (order of verdict.md §2.6).
func Decide(rules Rules, r rollout.Rollout, now time.Time) rollout.Verdict {
	if r.Verdict.Outcome == rollout.Fail {
		return r.Verdict
	}
	if d, ok := r.Refused(now); ok {
		kind := map[rollout.DecisionKind]string{rollout.Reject: KindRejected, rollout.Abort: KindAborted, rollout.Brake: KindUnattended}[d.Kind]
		return verdict(rollout.Fail, now, nil, rollout.Reason{Kind: kind, Text: d.Text()})
	}
	if reasons := broken(r); len(reasons) > 0 {
		return verdict(rollout.Fail, now, assess(rules, r), reasons...)
	}
	if r.AwaitsReset {
		return verdict(rollout.Hold, now, nil, rollout.Reason{
			Kind: KindSuperseding, Text: "Flagger has not taken the traffic back from the revision before yet",
		})
	}
	step, underWay := r.Step()
	if !underWay {
		return beforeTraffic(rules, r, now)
	}
	a := assess(rules, r)
	if reasons := failures(rules, r, a, now); len(reasons) > 0 {
		return verdict(rollout.Fail, now, a, reasons...)
	}
	if reasons := holds(rules, r, step, a, now); len(reasons) > 0 {
		if late, ok := heldTooLong(rules, r, step, reasons, now); ok {
			reasons = append([]rollout.Reason{late}, reasons...)
			if canaryToBlame(rules, r, a, reasons) {
				return verdict(rollout.Fail, now, a, reasons...)
			}
		}
		return verdict(rollout.Hold, now, a, append(reasons, told(step)...)...)
	}
	c := r.Latest.Canary
	return verdict(rollout.Pass, now, a, append([]rollout.Reason{{
		Kind: KindStepDone,
		Text: fmt.Sprintf("%s of %d canary requests were good at up to %d %% of traffic, the objective is %s; the evidence supports %s of traffic",
			percent(100-c.ErrorRate()), c.Total(), r.Latest.Weight, percent(rules.SLO.Objective), percent(math.Floor(100*a.AllowedWeight))),
		Values: values(c),
	}}, told(step)...)...)
}

func verdict(o rollout.Outcome, now time.Time, a *rollout.Assessment, reasons ...rollout.Reason) rollout.Verdict {
	return rollout.Verdict{Outcome: o, At: now, Reasons: reasons, Evidence: a}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// assess puts the evidence into numbers.
func assess(rules Rules, r rollout.Rollout) *rollout.Assessment {
	if len(r.Steps) == 0 {
		return nil
	}
	p, e, c := rules.Plan(hasIngress(rules, r)), r.Evidence, r.Latest.Canary
	k, n := float64(c.Bad), float64(c.Total())
	miss, dispersion := rules.Ramp.Miss/100, rules.Confidence.Dispersion
	a := &rollout.Assessment{
		LogSLO: e.Pods.SLO.LogE(), LogHard: e.Hard.LogE(), LogCompare: e.Pods.Compare.LogE(), LogPrimary: e.Pods.Primary.LogE(), LogLatency: e.Latency.LogE(),
		LogLine:     -math.Log(p.Pods.Alpha),
		Rate:        c.ErrorRate() / 100,
		Lower:       evidence.Lower(k, n, lowerMiss, dispersion),
		Upper:       evidence.Upper(k, n, miss, dispersion),
		PrimaryRate: r.Latest.Primary.ErrorRate() / 100,
	}
	if p.Ingress.Alpha > 0 {
		a.LogIngressSLO, a.LogIngressCompare, a.LogIngressLine = e.Ingress.SLO.LogE(), e.Ingress.Compare.LogE(), -math.Log(p.Ingress.Alpha)
	}
	a.AllowedWeight = evidence.AllowedWeight(a.Upper, rules.Ramp.RiskBurn, rules.Allowed())
	if bound := rules.Ramp.RiskBurn * rules.Allowed() / next(r); bound < 1 && a.Upper > bound {
		a.RequestsNeeded = evidence.CleanRequests(k, n, bound, miss, dispersion)
	}
	return a
}

// lowerMiss is the chance that the lower bound is over the truth.
const lowerMiss = 0.025

// next is the share of traffic asked for next; everything, where the tick does not say.
func next(r rollout.Rollout) float64 {
	if r.Latest.Next <= 0 || r.Latest.Next > 100 {
		return 1
	}
	return float64(r.Latest.Next) / 100
}

// beforeTraffic is the verdict while the weight is 0: at the start, and when Flagger begins its analysis anew.
func beforeTraffic(rules Rules, r rollout.Rollout, now time.Time) rollout.Verdict {
	if r.Latest.Answering == 0 {
		return verdict(rollout.Hold, now, nil, rollout.Reason{
			Kind: KindBlind, Text: "no canary pod has answered with its metrics yet" + trouble(r.Latest.Trouble),
		})
	}
	if uncounted(r.Latest) && r.Latest.NoCounter && !ingressRead(r) {
		return verdict(rollout.Hold, now, nil, rollout.Reason{Kind: KindBlind, Text: fmt.Sprintf(
			"%s is on no pod's metrics page, the primary's neither: does metrics.requests of the policy name the service's counter? If it comes with the first response, one request to the service shows it",
			rules.Metrics.Requests)})
	}
	text := fmt.Sprintf("%d canary pods answer with their metrics, no traffic yet", r.Latest.Answering)
	if n := r.Latest.Uncounted; n > 0 {
		text += fmt.Sprintf("; on the page of %d, %s is still to come with the first response", n, rules.Metrics.Requests)
	}
	return verdict(rollout.Pass, now, nil, rollout.Reason{Kind: KindReady, Text: text})
}

// broken are failures that Kubernetes itself knows of, long before Flagger's deadline.
func broken(r rollout.Rollout) []rollout.Reason {
	h, traffic := r.Latest.Health, r.Latest.Weight > 0
	var reasons []rollout.Reason
	add := func(kind, text string) {
		reasons = append(reasons, rollout.Reason{Kind: kind, Text: text, Values: map[string]float64{
			"pods": float64(h.Pods), "ready": float64(h.Ready), "restarts": float64(h.Restarts),
		}})
	}
	switch {
	case h.Waiting == "CrashLoopBackOff" || h.Restarts >= crashes:
		add(KindCrashLoop, fmt.Sprintf("a canary pod ended with an error %d times%s", h.Restarts, detail(h)))
	case rollout.StartError(h.Waiting) && h.WaitingFor >= startGrace:
		add(KindImage, "a canary pod can not be started"+detail(h))
	}
	if traffic && h.DownFor >= downGrace {
		add(KindNoEndpoints, fmt.Sprintf("none of %d canary pods has been ready for %s while %d %% of the traffic is assigned to them", h.Pods, seconds(h.DownFor), r.Latest.Weight))
	} else if traffic && h.UnreadyFor >= unreadyGrace {
		add(KindUnready, fmt.Sprintf("%d of %d canary pods are ready, one has not been for %s", h.Ready, h.Pods, seconds(h.UnreadyFor)))
	}
	return reasons
}

func detail(h rollout.Health) string {
	if h.Waiting == "" {
		return ""
	}
	return fmt.Sprintf(" (%s: %s%s)", h.Pod, h.Waiting, because(h.Text))
}

func failures(rules Rules, r rollout.Rollout, a *rollout.Assessment, now time.Time) []rollout.Reason {
	var reasons []rollout.Reason
	c, e := r.Latest.Canary, r.Evidence
	worse := c.ErrorRate()-r.Latest.Primary.ErrorRate() >= rules.Baseline.Margin
	if c.Bad >= LeastErrors && a.LogSLO >= a.LogLine {
		reasons = append(reasons, proof(KindSLO, rules, c, e.Lately, "", a.LogSLO, a.LogLine))
	}
	if c.Bad >= LeastErrors && worse && a.LogCompare >= a.LogLine {
		reasons = append(reasons, comparison(KindCompare, c, r.Latest.Primary, "", a.LogCompare, a.LogLine))
	}
	if rules.Latency != nil && e.Slow >= LeastErrors && a.LogLatency >= a.LogLine {
		reasons = append(reasons, rollout.Reason{
			Kind: KindLatency,
			Text: fmt.Sprintf("%.0f of %d canary responses were over the limit of latency, %s may be; evidence %s, the line is %s",
				e.Slow, c.Total(), percent(100-rules.Latency.Quantile), Odds(a.LogLatency), Odds(a.LogLine)),
			Values: map[string]float64{"requests": float64(c.Total()), "slow": e.Slow, "logE": a.LogLatency, "line": a.LogLine},
		})
	}
	if w, ok := window(rules, r, a, now); ok {
		reasons = append(reasons, w)
	}
	if a.LogIngressLine > 0 {
		c, p := since(e.At.IngressCanary, e.First.IngressCanary), since(e.At.IngressPrimary, e.First.IngressPrimary)
		worse := c.ErrorRate()-p.ErrorRate() >= rules.Baseline.Margin
		if c.Bad >= LeastErrors && a.LogIngressSLO >= a.LogIngressLine {
			reasons = append(reasons, proof(KindIngressSLO, rules, c, e.IngressLately, " as the ingress saw them", a.LogIngressSLO, a.LogIngressLine))
		}
		if c.Bad >= LeastErrors && worse && a.LogIngressCompare >= a.LogIngressLine {
			reasons = append(reasons, comparison(KindIngressWorse, c, p, " as the ingress saw them", a.LogIngressCompare, a.LogIngressLine))
		}
	}
	return reasons
}

func since(at, first evidence.Counts) rollout.Counts {
	bad := at.Bad - first.Bad
	return rollout.Counts{Good: uint64(at.Requests - first.Requests - bad), Bad: uint64(bad)}
}

func proof(kind string, rules Rules, c rollout.Counts, l evidence.Lately, by string, logE, line float64) rollout.Reason {
	rate, lately := percent(c.ErrorRate()), 100*l.Canary.Rate()
	if lately > 2*c.ErrorRate() { // it turned bad: all that was good before would hide it
		rate += fmt.Sprintf(" in all, %.1f %% lately", lately)
	}
	return rollout.Reason{
		Kind: kind,
		Text: fmt.Sprintf("%d of %d canary requests failed%s: %s, the SLO allows %s; evidence %s, the line is %s",
			c.Bad, c.Total(), by, rate, percent(100-rules.SLO.Objective), Odds(logE), Odds(line)),
		Values: with(values(c), map[string]float64{"lately": lately, "logE": logE, "line": line}),
	}
}

func comparison(kind string, c, p rollout.Counts, by string, logE, line float64) rollout.Reason {
	return rollout.Reason{
		Kind: kind,
		Text: fmt.Sprintf("%s of %d canary requests failed%s and %s of %d of the primary's: the canary is worse; evidence %s, the line is %s",
			percent(c.ErrorRate()), c.Total(), by, percent(p.ErrorRate()), p.Total(), Odds(logE), Odds(line)),
		Values: with(values(c), map[string]float64{"primaryRequests": float64(p.Total()), "primaryBad": float64(p.Bad), "logE": logE, "line": line}),
	}
}

// window is requirements 5, "fails if the error rate exceeds 2 % in the first 5 minutes", looked at once, at the first tick at
// or after the window's end. Earlier the SLO channel speaks, which is quicker wherever there is evidence.
func window(rules Rules, r rollout.Rollout, a *rollout.Assessment, now time.Time) (rollout.Reason, bool) {
	c, f, climb := r.Latest.Canary, rules.FailFast, r.Climb()
	if now.Sub(climb) < f.Within || r.WindowOf.Equal(climb) || !(c.ErrorRate() > f.ErrorRate) {
		return rollout.Reason{}, false
	}
	if !rules.TakenLiterally(c.Total()) && (c.Bad < LeastErrors || a.LogSLO < math.Log(thinEvidence)) {
		return rollout.Reason{}, false
	}
	return rollout.Reason{
		Kind: KindWindow,
		Text: fmt.Sprintf("%d of %d canary requests failed in the first %s: %s, the limit is %s (%s)",
			c.Bad, c.Total(), seconds(now.Sub(climb)), percent(c.ErrorRate()), percent(f.ErrorRate), f.Mode),
		Values: with(values(c), map[string]float64{"logE": a.LogSLO}),
	}, true
}

// TakenLiterally reports whether so many requests are enough for failFast to need no evidence.
func (r Rules) TakenLiterally(requests uint64) bool {
	return r.FailFast.Mode == Strict || r.FailFast.Mode == Literal && requests >= r.Evidence.MinRequests
}

func holds(rules Rules, r rollout.Rollout, step rollout.Step, a *rollout.Assessment, now time.Time) []rollout.Reason {
	var reasons []rollout.Reason
	add := func(kind string, values map[string]float64, format string, args ...any) {
		reasons = append(reasons, rollout.Reason{Kind: kind, Text: fmt.Sprintf(format, args...), Values: values})
	}
	t, c := r.Latest, r.Latest.Canary
	if r.Evidence.Broken {
		add(KindData, values(c), "the counts can not be true: they went backwards, or more failed than were sent")
	}
	if t.Age > maxAge || t.Answering == 0 {
		add(KindBlind, map[string]float64{"age": t.Age.Seconds(), "answering": float64(t.Answering)},
			"the canary's counts are %s old and %d of its pods answer: nothing can be said of it%s", seconds(t.Age), t.Answering, trouble(t.Trouble))
	}
	if hasIngress(rules, r) {
		reasons = append(reasons, opinion(r, step)...)
	}
	if uncounted(t) && c.Total() == 0 && (t.Ingress == nil && t.NoCounter || t.Ingress != nil && t.Ingress.Canary.Total() > 0) {
		add(KindBlind, nil, "%s is on no canary pod's metrics page: does metrics.requests of the policy name the service's counter?", rules.Metrics.Requests)
	}
	if why := unmeasured(rules, t); why != "" {
		add(KindBlind, nil, "latency can not be judged: %s", why)
	}
	if c.Total() == 0 {
		add(KindNoTraffic, values(c), "no canary request counted at %d %% of traffic", step.Weight)
	}
	if limits := rules.Plan(hasIngress(rules, r)).Pods; r.Evidence.Pods.Breach(limits) || r.Evidence.Lately.Incident(limits) {
		rate := 100 * r.Evidence.Lately.Primary.Rate()
		add(KindSharedIncident, map[string]float64{"primaryErrorRate": rate},
			"the primary itself fails %s of its requests lately, more than its SLO allows: an incident that both share says nothing about the canary", percent(rate))
	}
	switch {
	case c.ErrorRate() > rules.FailFast.ErrorRate:
		add(KindOverLimit, values(c), "%d of %d canary requests failed: %s, the limit is %s; evidence %s, the line is %s",
			c.Bad, c.Total(), percent(c.ErrorRate()), percent(rules.FailFast.ErrorRate), Odds(a.LogSLO), Odds(a.LogLine))
	case underObjective(rules, c):
		add(KindObjective, values(c), "%d of %d canary requests failed: %s good, the objective is %s", c.Bad, c.Total(), percent(100-c.ErrorRate()), percent(rules.SLO.Objective))
	}
	if a.RequestsNeeded > 0 && c.Total() > 0 {
		reasons = append(reasons, needed(rules, r, step, a, now))
	}
	if left := bake(rules, r) - now.Sub(step.From); left > 0 {
		add(KindBaking, map[string]float64{"left": left.Seconds(), "weight": float64(step.Weight)},
			"%s of %s at %d %% of traffic are left", seconds(left), seconds(bake(rules, r)), step.Weight)
	}
	return reasons
}

// ingressRead reports whether the ingress's counts have lately been read since the rollout began. They show requests that no
// pod counts, such as by a wrong name of the counter.
func ingressRead(r rollout.Rollout) bool {
	i := r.Latest.Ingress
	return i != nil && i.Trouble == "" && i.Age < r.Latest.At.Sub(r.StartedAt) && i.Age <= maxIngressAge
}

// uncounted reports whether canary pods answer, and none has the counter of responses on its page.
func uncounted(t rollout.Tick) bool { return t.Uncounted > 0 && t.Uncounted == t.Answering }

// unmeasured says why latency, where the policy asks for it, can not be judged; "" when it can.
func unmeasured(rules Rules, t rollout.Tick) string {
	switch {
	case rules.Latency == nil || t.Canary.Total() == 0:
		return ""
	case t.Latency == nil || len(t.Latency.Bounds) == 0:
		return "there is no histogram " + rules.Metrics.Duration + " on the pods' pages, or they do not agree on its buckets"
	case rules.Latency.Max.Seconds() > t.Latency.Bounds[len(t.Latency.Bounds)-1]:
		return fmt.Sprintf("latency.max is beyond the last bucket of %s, %v s", rules.Metrics.Duration, t.Latency.Bounds[len(t.Latency.Bounds)-1])
	default:
		return ""
	}
}

// needed says how much more evidence the next weight takes, and whether there is hope.
func needed(rules Rules, r rollout.Rollout, step rollout.Step, a *rollout.Assessment, now time.Time) rollout.Reason {
	text := fmt.Sprintf("the evidence supports %s of traffic; %.0f more requests without an error allow %s",
		percent(math.Floor(100*a.AllowedWeight)), a.RequestsNeeded, percent(100*next(r)))
	rate := float64(step.Canary.Total()) / max(now.Sub(step.From).Seconds(), 1)
	reason := rollout.Reason{Kind: KindNeedEvidence, Values: with(values(r.Latest.Canary), map[string]float64{"needed": a.RequestsNeeded, "perSecond": rate, "allowedWeight": a.AllowedWeight})}
	left := rules.Evidence.MaxHold - held(r, now)
	switch {
	case rate <= 0 || left <= 0:
	case a.RequestsNeeded > rate*left.Seconds():
		text += fmt.Sprintf(", but only %.0f are to be expected in the %s that are left: send load, or wait longer", math.Floor(rate*left.Seconds()), seconds(left))
	default:
		text += fmt.Sprintf(", about %s", seconds(time.Duration(a.RequestsNeeded/rate*float64(time.Second))))
	}
	reason.Text = text
	return reason
}

// opinion are the reasons to distrust the ingress's counts or the pods'.
func opinion(r rollout.Rollout, step rollout.Step) []rollout.Reason {
	t := r.Latest
	if t.Ingress == nil {
		return []rollout.Reason{{Kind: KindBlind, Text: "the ingress's counts were never read, so errors that the pods do not see would go unnoticed"}}
	}
	if t.Ingress.Age > maxIngressAge {
		return []rollout.Reason{{
			Kind:   KindBlind,
			Text:   fmt.Sprintf("the ingress's counts are %s old, so errors that the pods do not see would go unnoticed%s", seconds(t.Ingress.Age), trouble(t.Ingress.Trouble)),
			Values: map[string]float64{"ingressAge": t.Ingress.Age.Seconds()},
		}}
	}
	// What the pods counted after the ingress was last looked at is not in its counts yet.
	pods, ingress := float64(t.Canary.Total()), t.Ingress.Canary.Total()
	// A step that has just begun knows no rate yet.
	rate := max(float64(step.Canary.Total())/max(t.At.Sub(step.From).Seconds(), 1), pods/max(t.At.Sub(r.Climb()).Seconds(), 1))
	late := rate * (t.Ingress.Age + slack).Seconds()
	most := max(pods, float64(ingress))
	if most < enoughToContradict || math.Abs(pods-float64(ingress)) <= late+tolerance*most {
		return nil
	}
	return []rollout.Reason{{
		Kind: KindContradiction,
		Text: fmt.Sprintf("the canary's pods counted %d requests and the ingress %d: some do not come by the ingress, or are not counted; name the sources to trust in evidence.source",
			t.Canary.Total(), ingress),
		Values: map[string]float64{"pods": pods, "ingress": float64(ingress)},
	}}
}

// From so many requests on, and beyond this share of them, two counts of the same requests contradict each other. Slack is
// the time a request may be between them.
const (
	enoughToContradict = 300
	tolerance          = 0.2
	slack              = 5 * time.Second
)

// told are reasons that decide nothing but should be known.
func told(step rollout.Step) []rollout.Reason {
	canary, all := float64(step.Canary.Total()), float64(step.Canary.Total()+step.Primary.Total())
	share := float64(step.Weight) / 100
	if all < leastShared || share <= 0 || share >= 1 {
		return nil
	}
	chance := evidence.Chance(canary, all, share)
	// Both: with enough requests also the second it took to see a new weight is more than chance.
	if chance > 1e-6 || math.Abs(canary/all-share) < tolerance*share {
		return nil
	}
	return []rollout.Reason{{
		Kind:   KindShare,
		Text:   fmt.Sprintf("%s of the requests go to the canary, its weight is %d %%: not all traffic comes by the ingress, or it does not split it as told", percent(100*canary/all), step.Weight),
		Values: map[string]float64{"canary": canary, "all": all, "chance": chance},
	}}
}

// leastShared is from how many requests a share is looked at.
const leastShared = 100

// held is how long the rollout has been held without a pass.
func held(r rollout.Rollout, now time.Time) time.Duration {
	if r.HeldSince.IsZero() {
		return 0
	}
	return now.Sub(r.HeldSince)
}

func heldTooLong(rules Rules, r rollout.Rollout, step rollout.Step, why []rollout.Reason, now time.Time) (rollout.Reason, bool) {
	h := held(r, now)
	if h <= rules.Evidence.MaxHold {
		return rollout.Reason{}, false
	}
	return rollout.Reason{
		Kind: KindHeldTooLong, Text: fmt.Sprintf("held for %s at %d %% of traffic, longer than %s, and it did not mend: %s", seconds(h), step.Weight, seconds(rules.Evidence.MaxHold), why[0].Text),
		Values: map[string]float64{"held": h.Seconds()},
	}, true
}

// canaryToBlame reports whether a rollout that was held too long is to fail: as the policy says of too little evidence, and
// where the objective was not kept and the evidence says so too, if less than it takes at once. What the environment or
// the counting does is never the canary's fault.
func canaryToBlame(rules Rules, r rollout.Rollout, a *rollout.Assessment, reasons []rollout.Reason) bool {
	for _, reason := range reasons {
		switch reason.Kind {
		case KindSharedIncident, KindBlind, KindContradiction, KindData:
			return false
		}
	}
	return rules.Evidence.OnTooLittle == RollBack || underObjective(rules, r.Latest.Canary) && a.LogSLO >= math.Log(thinEvidence)
}

// underObjective reports whether enough requests say that the canary does not keep its objective.
func underObjective(rules Rules, c rollout.Counts) bool {
	return c.Total() >= rules.Evidence.MinRequests && c.ErrorRate() > 100-rules.SLO.Objective
}

func trouble(what string) string {
	if what == "" {
		return ""
	}
	return " (" + what + ")"
}

// bake is the least time at the current weight.
func bake(rules Rules, r rollout.Rollout) time.Duration {
	if r.First() == len(r.Steps)-1 {
		return rules.Bake.First
	}
	return rules.Bake.Step
}

func values(c rollout.Counts) map[string]float64 {
	return map[string]float64{"requests": float64(c.Total()), "bad": float64(c.Bad), "errorRate": c.ErrorRate()}
}

// percent keeps four decimals: enough that 99.9963 is not read as 100.
func percent(p float64) string {
	return strconv.FormatFloat(math.Round(p*1e4)/1e4, 'f', -1, 64) + " %"
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

// Odds reads a natural logarithm as people say it, "200 : 1".
func Odds(log float64) string {
	if log >= math.Log(1e6) {
		return "over 1,000,000 : 1"
	}
	n := strconv.FormatFloat(math.Exp(log), 'f', 0, 64)
	if log < math.Log(10) {
		n = strconv.FormatFloat(math.Exp(log), 'f', 1, 64)
	}
	if len(n) > 3 && !strings.Contains(n, ".") {
		n = n[:len(n)-3] + "," + n[len(n)-3:]
	}
	return n + " : 1"
}

// with adds more numbers to a reason's.
func with(values, more map[string]float64) map[string]float64 {
	maps.Copy(values, more)
	return values
}
