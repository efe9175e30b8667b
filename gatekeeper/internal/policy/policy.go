// Package policy says what should happen to a rollout: from rules, the rollout so far and the time it gives a verdict with reasons.
package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// The closed list of reason kinds.
const (
	KindErrorRate   = "error-rate"    // over failFast.errorRate since first traffic, within its window
	KindStepRate    = "step-rate"     // over failFast.errorRate at this weight alone
	KindObjective   = "objective"     // under slo.objective
	KindTooFew      = "too-few"       // fewer canary requests than evidence.minRequests
	KindBlind       = "blind"         // no fresh counts from the canary's pods
	KindSuperseding = "superseding"   // weight is still that of the revision before
	KindBaking      = "baking"        // bake time of this weight not over
	KindReady       = "ready"         // canary pods answer, no traffic yet
	KindStepDone    = "step-done"     // this weight's bake time is over and its evidence is good
	KindHeldTooLong = "held-too-long" // under the objective for longer than evidence.maxHold
)

// maxAge is how old the canary's counts may be before they say nothing: five scrapes at one a second.
const maxAge = 5 * time.Second

// Decide says what should happen to r at now. It is pure: the same arguments give the same verdict. A fail is final.
// Missing evidence is hold, never pass and never fail.
//
// Source of the limit: requirements 5, "fails if the error rate exceeds 2 % in the first 5 minutes"; taken literally and
// looked at on every tick once minRequests canary requests are counted. After the window, and at every later weight, a
// step is held to the same limit by its own requests, so that errors which start late are not diluted by good minutes.
func Decide(rules Rules, r rollout.Rollout, now time.Time) rollout.Verdict {
	if r.Verdict.Outcome == rollout.Fail {
		return r.Verdict
	}
	if r.AwaitsReset {
		return rollout.Verdict{Outcome: rollout.Hold, At: now, Reasons: []rollout.Reason{{
			Kind: KindSuperseding, Text: "Flagger has not taken the traffic back from the revision before yet",
		}}}
	}
	step, underWay := r.Step()
	if !underWay {
		return beforeTraffic(r, now)
	}
	if reasons := failures(rules, r, step, now); len(reasons) > 0 {
		return rollout.Verdict{Outcome: rollout.Fail, At: now, Reasons: reasons}
	}
	if reasons := holds(rules, r, step, now); len(reasons) > 0 {
		return rollout.Verdict{Outcome: rollout.Hold, At: now, Reasons: reasons}
	}
	c := r.Latest.Canary
	return rollout.Verdict{Outcome: rollout.Pass, At: now, Reasons: []rollout.Reason{{
		Kind:   KindStepDone,
		Text:   fmt.Sprintf("%s of %d canary requests were good at up to %d %% of traffic, the objective is %s", percent(100-c.ErrorRate()), c.Total(), r.Latest.Weight, percent(rules.SLO.Objective)),
		Values: values(c),
	}}}
}

// beforeTraffic is the verdict while the weight is 0: at the start, and when Flagger begins its analysis anew.
func beforeTraffic(r rollout.Rollout, now time.Time) rollout.Verdict {
	if r.Latest.Answering == 0 {
		return rollout.Verdict{Outcome: rollout.Hold, At: now, Reasons: []rollout.Reason{{
			Kind: KindBlind, Text: "no canary pod has answered with its metrics yet" + trouble(r.Latest),
		}}}
	}
	return rollout.Verdict{Outcome: rollout.Pass, At: now, Reasons: []rollout.Reason{{
		Kind: KindReady, Text: fmt.Sprintf("%d canary pods answer with their metrics, no traffic yet", r.Latest.Answering),
	}}}
}

func failures(rules Rules, r rollout.Rollout, step rollout.Step, now time.Time) []rollout.Reason {
	var reasons []rollout.Reason
	limit, least := rules.FailFast.ErrorRate, rules.Evidence.MinRequests
	c := r.Latest.Canary
	first := r.First()
	since := r.Latest.At.Sub(r.Steps[first].From)
	if since <= rules.FailFast.Within && c.Total() >= least && c.ErrorRate() > limit {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindErrorRate,
			Text:   fmt.Sprintf("%d of %d canary requests failed in the first %s: %s, the limit is %s in the first %s", c.Bad, c.Total(), seconds(since), percent(c.ErrorRate()), percent(limit), seconds(rules.FailFast.Within)),
			Values: values(c),
		})
	}
	later := first < len(r.Steps)-1 || since > rules.FailFast.Within
	if later && step.Canary.Total() >= least && step.Canary.ErrorRate() > limit {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindStepRate,
			Text:   fmt.Sprintf("%d of %d canary requests failed at %d %% of traffic: %s, the limit is %s", step.Canary.Bad, step.Canary.Total(), step.Weight, percent(step.Canary.ErrorRate()), percent(limit)),
			Values: values(step.Canary),
		})
	}
	held := now.Sub(step.From) - bake(rules, r)
	if held > rules.Evidence.MaxHold && underObjective(rules, c) {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindHeldTooLong,
			Text:   fmt.Sprintf("%s of %d canary requests were good, under the objective of %s, and holding for %s did not mend it", percent(100-c.ErrorRate()), c.Total(), percent(rules.SLO.Objective), seconds(held)),
			Values: values(c),
		})
	}
	return reasons
}

func holds(rules Rules, r rollout.Rollout, step rollout.Step, now time.Time) []rollout.Reason {
	var reasons []rollout.Reason
	t, c := r.Latest, r.Latest.Canary
	if t.Age > maxAge || t.Answering == 0 {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindBlind,
			Text:   fmt.Sprintf("the canary's counts are %s old and %d of its pods answer: nothing can be said of it%s", seconds(t.Age), t.Answering, trouble(t)),
			Values: map[string]float64{"age": t.Age.Seconds(), "answering": float64(t.Answering)},
		})
	}
	if underObjective(rules, c) {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindObjective,
			Text:   fmt.Sprintf("%d of %d canary requests failed: %s good, the objective is %s", c.Bad, c.Total(), percent(100-c.ErrorRate()), percent(rules.SLO.Objective)),
			Values: values(c),
		})
	}
	switch {
	case c.Total() < rules.Evidence.MinRequests:
		reasons = append(reasons, rollout.Reason{
			Kind: KindTooFew, Text: fmt.Sprintf("%d of at least %d canary requests counted", c.Total(), rules.Evidence.MinRequests), Values: values(c),
		})
	case step.Canary.Total() == 0:
		reasons = append(reasons, rollout.Reason{
			Kind: KindTooFew, Text: fmt.Sprintf("no canary request counted at %d %% of traffic", step.Weight), Values: values(step.Canary),
		})
	}
	if left := bake(rules, r) - now.Sub(step.From); left > 0 {
		reasons = append(reasons, rollout.Reason{
			Kind:   KindBaking,
			Text:   fmt.Sprintf("%s of %s at %d %% of traffic are left", seconds(left), seconds(bake(rules, r)), step.Weight),
			Values: map[string]float64{"left": left.Seconds(), "weight": float64(step.Weight)},
		})
	}
	return reasons
}

// underObjective reports whether enough requests say that the canary does not keep its objective.
func underObjective(rules Rules, c rollout.Counts) bool {
	return c.Total() >= rules.Evidence.MinRequests && c.ErrorRate() > 100-rules.SLO.Objective
}

func trouble(t rollout.Tick) string {
	if t.Trouble == "" {
		return ""
	}
	return " (" + t.Trouble + ")"
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
