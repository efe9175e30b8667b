package policy

import (
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// AwaitsApproval reports whether r can not go on until a person approves, and what: its start, as long as it has no traffic;
// its promotion, once nothing else that is judged stands against it.
func AwaitsApproval(rules Rules, r rollout.Rollout, now time.Time) (why string, waits bool) {
	if !r.Phase.Analysed() || r.Verdict.Outcome == rollout.Fail {
		return "", false
	}
	stage := StageStart
	if _, underWay := r.Step(); underWay {
		if r.Latest.Next < 100 || r.Verdict.Outcome != rollout.Pass {
			return "", false
		}
		stage = StagePromotion
	}
	for _, g := range approvals(rules.Gates, r, now) {
		if !g.Open && slices.Contains(g.Stages, stage) {
			return g.Why, true
		}
	}
	return "", false
}

// Asks are the decisions about r that a person can make now and that change something: to approve or reject where an approval
// would open a gate, else to abort.
func Asks(rules Rules, r rollout.Rollout, now time.Time) []rollout.DecisionKind {
	_, refused := r.Refused(now)
	if r.Result != "" || !r.Phase.Analysed() || r.Verdict.Outcome == rollout.Fail || refused {
		return nil
	}
	closed := func(r rollout.Rollout) (n int) {
		for _, g := range approvals(rules.Gates, r, now) {
			if !g.Open {
				n++
			}
		}
		return n
	}
	approved := r
	approved.Decisions = append(slices.Clip(r.Decisions), rollout.Decision{Kind: rollout.Approve, At: now})
	if closed(approved) < closed(r) {
		return []rollout.DecisionKind{rollout.Approve, rollout.Reject}
	}
	return []rollout.DecisionKind{rollout.Abort}
}
