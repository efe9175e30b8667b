package policy

import (
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Answer says yes or no to a question of Flagger's, and why. r is nil when no rollout of the Canary is under way. For
// Rollback yes means "roll back"; for all others it means "go on". A verdict that was not renewed lately lets nothing go
// on: silence of our own evaluator is missing evidence too.
func Answer(hook rollout.Hook, r *rollout.Rollout, now time.Time) (yes bool, why string) {
	switch hook {
	case rollout.ConfirmRollout:
		return true, "no gate holds"
	case rollout.PreRollout:
		return ready(r, now)
	case rollout.ConfirmTrafficIncrease:
		return mayGoOn(r, now)
	case rollout.ConfirmPromotion:
		return mayBePromoted(r, now)
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

func ready(r *rollout.Rollout, now time.Time) (bool, string) {
	switch {
	case r == nil:
		return false, "this revision is not known to the gatekeeper yet"
	case stale(r, now):
		return false, "the canary's pods have not been read lately"
	case r.Latest.Answering == 0:
		return false, "no canary pod answers with its metrics: check its prometheus.io/port and path annotations and that the gatekeeper can reach pods"
	default:
		return true, fmt.Sprintf("%d canary pods answer", r.Latest.Answering)
	}
}

func mayGoOn(r *rollout.Rollout, now time.Time) (bool, string) {
	switch {
	case r == nil:
		return false, "this revision is not known to the gatekeeper yet"
	case r.Verdict.Outcome == rollout.Fail:
		return false, r.Verdict.Text()
	case stale(r, now):
		return false, "the verdict was not renewed lately"
	default:
		return r.Verdict.Outcome == rollout.Pass, r.Verdict.Text()
	}
}

// mayBePromoted asks more than mayGoOn: pods that only answer have proven nothing, a step with traffic must have passed.
func mayBePromoted(r *rollout.Rollout, now time.Time) (bool, string) {
	if r != nil {
		if _, underWay := r.Step(); !underWay {
			return false, "no traffic has been seen at the canary's weight yet"
		}
	}
	return mayGoOn(r, now)
}

func stale(r *rollout.Rollout, now time.Time) bool { return now.Sub(r.Latest.At) > maxAge }
