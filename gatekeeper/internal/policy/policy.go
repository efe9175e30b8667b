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

// Rules is one policy. Rates and the objective are percent, 0 to 100.
type Rules struct {
	Name     string
	SLO      SLO
	FailFast FailFast
	Bake     Bake
	Evidence Evidence
}

// SLO is what the service promises: at least Objective percent of responses have a good status. Good holds status
// classes ("2xx") and codes ("404").
type SLO struct {
	Objective float64
	Good      []string
}

// FailFast is the hard limit: more than ErrorRate percent bad responses, cumulative since first traffic, within Within
// of it, fail the rollout.
type FailFast struct {
	ErrorRate float64
	Within    time.Duration
}

// Bake is the least time at the first weight and at each later one.
type Bake struct {
	First time.Duration
	Step  time.Duration
}

// Evidence is how many canary requests a verdict needs, and how long a canary under its objective may be held.
type Evidence struct {
	MinRequests uint64
	MaxHold     time.Duration
}

// Set is all policies by name. It always has one named default.
type Set map[string]Rules

// For is the policy of that name, or the default where there is none (any more).
func (s Set) For(name string) Rules {
	if rules, ok := s[name]; ok {
		return rules
	}
	return s["default"]
}

// Default is the policy of a Canary that names none: requirements 4 and 5 in numbers.
func Default() Rules {
	return Rules{
		Name:     "default",
		SLO:      SLO{Objective: 99.5, Good: []string{"2xx"}},
		FailFast: FailFast{ErrorRate: 2, Within: 5 * time.Minute},
		Bake:     Bake{First: 5 * time.Minute, Step: time.Minute},
		Evidence: Evidence{MinRequests: 300, MaxHold: 30 * time.Minute},
	}
}

// Validate names the first field that is out of its range.
func (r Rules) Validate() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("name: missing; Canaries choose a policy by it")
	case !(r.SLO.Objective > 0 && r.SLO.Objective <= 100):
		return fmt.Errorf("slo.objective: %v is not a percentage over 0 and up to 100", r.SLO.Objective)
	case len(r.SLO.Good) == 0:
		return fmt.Errorf("slo.good: empty, so every response would be an error; name classes or codes, for example [2xx]")
	case !(r.FailFast.ErrorRate > 0 && r.FailFast.ErrorRate < 100):
		return fmt.Errorf("failFast.errorRate: %v is not a percentage between 0 and 100", r.FailFast.ErrorRate)
	case r.FailFast.Within <= 0:
		return fmt.Errorf("failFast.within: %v is not a positive duration", r.FailFast.Within)
	case r.Bake.First < 0 || r.Bake.Step < 0:
		return fmt.Errorf("bake: a bake time can not be negative")
	case r.Evidence.MinRequests == 0:
		return fmt.Errorf("evidence.minRequests: 0 would judge a canary that served nothing; use at least 1")
	case r.Evidence.MaxHold <= 0:
		return fmt.Errorf("evidence.maxHold: %v is not a positive duration", r.Evidence.MaxHold)
	}
	for _, g := range r.SLO.Good {
		if !validStatus(g) {
			return fmt.Errorf("slo.good: %q is neither a class (2xx) nor a status code (204)", g)
		}
	}
	return nil
}

func validStatus(s string) bool {
	if len(s) != 3 || s[0] < '1' || s[0] > '5' {
		return false
	}
	if s[1:] == "xx" {
		return true
	}
	_, err := strconv.Atoi(s)
	return err == nil
}

// IsGood reports whether a response with this status code counts as good by the SLI.
func (s SLO) IsGood(status string) bool {
	for _, g := range s.Good {
		if g == status || strings.HasSuffix(g, "xx") && len(status) == 3 && status[0] == g[0] {
			return true
		}
	}
	return false
}

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
