package policy

import (
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Case is what one question of Flagger's is about.
type Case struct {
	Rollout *rollout.Rollout // nil when none is under way
	Canary  rollout.Canary   // as the cluster has it
	Around  Surroundings
}

// SLI says what is counted under these rules.
func (r Rules) SLI() rollout.SLI {
	sli := rollout.SLI{Requests: r.Metrics.Requests, Status: r.Metrics.Status, Match: r.Metrics.Match, IsGood: r.SLO.IsGood, Ingress: r.uses(Ingress), Traces: r.Metrics.Duration}
	if r.Latency != nil {
		sli.Duration = r.Metrics.Duration
	}
	return sli
}

// Answer says yes or no to a question of Flagger's, and why. For Rollback yes means "roll back"; for all others it means
// "go on". A verdict that was not renewed lately lets nothing go on: silence of our own evaluator is missing evidence too.
func Answer(hook rollout.Hook, rules Rules, c Case, now time.Time) (yes bool, why string) {
	r := c.Rollout
	switch hook {
	case rollout.ConfirmRollout:
		return mayStart(rules, c, now)
	case rollout.PreRollout:
		return ready(r, now)
	case rollout.ConfirmTrafficIncrease:
		return mayGoOn(StageIncrease, rules, c, now)
	case rollout.ConfirmPromotion:
		return mayBePromoted(rules, c, now)
	case rollout.Rollback:
		if r == nil || r.Verdict.Outcome != rollout.Fail {
			return false, "no reason to roll back"
		}
		return true, r.Verdict.Text()
	case rollout.RolloutCheck, rollout.PostRollout, rollout.EventHook:
		return true, "noted"
	default:
		return false, fmt.Sprintf("unknown hook %q", hook)
	}
}

// mayStart opens the first gate. Flagger knows no "no" there, only "not yet" (flagger-facts §1.4): a rejected rollout is let
// through, and the rollback hook, which is asked before any traffic, sends it back.
func mayStart(rules Rules, c Case, now time.Time) (bool, string) {
	if c.Rollout == nil || !sameRevision(c) {
		if len(Gates(rules, rollout.Rollout{}, c.Around, now)) == 0 {
			return true, "no gate holds"
		}
		return false, "this revision is not known to the gatekeeper yet"
	}
	if d, ok := c.Rollout.Refused(now); ok {
		return true, d.Text() + "; it is sent back before it has traffic"
	}
	return open(StageStart, rules, c, now)
}

// sameRevision guards against an approval of the revision before: the rollout is followed a moment later than the cluster.
func sameRevision(c Case) bool {
	return c.Canary.Revision.Hash == "" || c.Canary.Revision.Hash == c.Rollout.Revision.Hash
}

// open says whether no gate holds at this stage, and if one does, which.
func open(stage Stage, rules Rules, c Case, now time.Time) (bool, string) {
	for _, g := range GatesAt(stage, rules, *c.Rollout, c.Around, now) {
		if !g.Open {
			if g.OpensAt.IsZero() {
				return false, g.Why
			}
			return false, g.Why + "; opens at " + g.OpensAt.Format("Mon 2006-01-02 15:04 MST")
		}
	}
	return true, "no gate holds"
}

func ready(r *rollout.Rollout, now time.Time) (bool, string) {
	switch {
	case r == nil:
		return false, "this revision is not known to the gatekeeper yet"
	case stale(r, now):
		// Ours to mend, and a no would burn one of the Canary's failed checks; no traffic grows on an old verdict anyway.
		return true, "the canary's pods have not been read lately, the first weight waits for it"
	case r.Latest.Answering == 0 && r.Latest.Age == 0 || r.Latest.Age > maxAge:
		return false, "no canary pod answers with its metrics: check its prometheus.io/port and path annotations and that the gatekeeper can reach pods"
	default:
		return true, "the canary's pods answer"
	}
}

func mayGoOn(stage Stage, rules Rules, c Case, now time.Time) (bool, string) {
	r := c.Rollout
	switch {
	case r == nil || !sameRevision(c):
		return false, "this revision is not known to the gatekeeper yet"
	case r.Verdict.Outcome == rollout.Fail:
		return false, r.Verdict.Text()
	case stale(r, now):
		return false, "the verdict was not renewed lately"
	case r.Verdict.Outcome != rollout.Pass:
		return false, r.Verdict.Text()
	}
	if yes, why := open(stage, rules, c, now); !yes {
		return false, why
	}
	return true, r.Verdict.Text()
}

// mayBePromoted asks more than mayGoOn: pods that only answer have proven nothing, a step with traffic must have passed.
func mayBePromoted(rules Rules, c Case, now time.Time) (bool, string) {
	if c.Rollout != nil {
		if _, underWay := c.Rollout.Step(); !underWay {
			return false, "no traffic has been seen at the canary's weight yet"
		}
	}
	return mayGoOn(StagePromotion, rules, c, now)
}

func stale(r *rollout.Rollout, now time.Time) bool { return now.Sub(r.Latest.At) > maxAge }

// Standing is how a Canary stands: what would have to happen for its release to go on.
type Standing struct {
	Canary rollout.Key   `json:"canary"`
	Phase  rollout.Phase `json:"phase"`
	Weight int           `json:"weight"`
	// Revision is the target's, to be released or released already; Stable is what the primary runs.
	Revision rollout.Revision `json:"revision"`
	Stable   rollout.Revision `json:"stable"`
	Rollout  *rollout.Rollout `json:"rollout"` // nil: none is under way
	Gates    []Gate           `json:"gates"`
	// Silent is how long ago Flagger last asked, in seconds; negative: never since the gatekeeper started.
	Silent float64 `json:"flaggerAskedSecondsAgo"`
}

// Tape is a rollout with all it was judged by: what replay and verify need, and nothing else. It is the sidecar of a
// report entry, then with the entry's place in the ledger.
type Tape struct {
	// Seq and Hash are those of the ledger's entry that closed the rollout; 0 and "" while it is open.
	Seq     int64                `json:"seq,omitempty"`
	Hash    string               `json:"hash,omitempty"`
	Rollout rollout.Rollout      `json:"rollout"`
	Rules   Rules                `json:"rules"`
	Ticks   []rollout.JudgedTick `json:"ticks"`
}
