package keeper

import "github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"

// move is what a look at a Canary asks for: to end its open rollout, to open a new one, or both.
type move struct {
	end  rollout.Result
	open bool
}

// next compares the open rollout (nil: none) with how the Canary stands. candidate is the revision that was under
// analysis at the last look: a revision must be seen twice in a row before it opens a rollout, because Canary, Deployment
// and ReplicaSet are watched separately and the phase of a new revision may arrive before the revision itself.
//
// Only the Canary's own status ends a rollout. It is written before Flagger sends its post-rollout hook, which may get
// lost, come twice, or be sent by somebody else.
//
// Away says that nobody looked for so long that another revision may have been under way meanwhile.
func next(open *rollout.Rollout, c rollout.Canary, candidate string, away bool) (m move, seen string) {
	switch {
	case !c.Phase.UnderWay():
		return move{end: ending(open, c, away)}, ""
	case !c.Phase.Analysed():
		// Promoting copies what was analysed; a revision pushed meanwhile has its turn afterwards.
		return move{}, ""
	}
	hash := c.Revision.Hash
	// Without the primary's revision nobody could say which of its pods speak for it.
	if hash == "" || c.Stable.Hash == "" || open != nil && open.Revision.Hash == hash {
		return move{}, ""
	}
	if candidate != hash {
		return move{}, hash
	}
	m = move{open: true}
	if open != nil {
		m.end = rollout.Superseded
	}
	return m, hash
}

// ending is the result that a Canary at rest gives its open rollout. The target may have a newer revision by then, which
// Flagger has not looked at yet: what the primary runs, and what was decided, say how the open one ended.
func ending(open *rollout.Rollout, c rollout.Canary, away bool) rollout.Result {
	if open == nil {
		return ""
	}
	same := open.Revision.Hash == c.Revision.Hash || c.Revision.Hash == "" || !away
	switch {
	case c.Phase == rollout.Failed && c.LeftAt > 0:
		return rollout.Stuck
	case c.Phase == rollout.Failed && (same || open.Verdict.Outcome == rollout.Fail):
		return rollout.RolledBack
	case c.Phase == rollout.Succeeded && (same || !open.Phase.Analysed() || promotedTo(c.Stable, *open)):
		return rollout.Promoted
	case c.Phase == rollout.Initialized:
		return rollout.Aborted // the Canary was deleted and made anew while nobody looked
	case c.Phase == rollout.Succeeded || c.Phase == rollout.Failed:
		return rollout.Superseded
	default:
		return ""
	}
}

// promotedTo reports whether the primary runs what r released: promotion copies image and deploy id.
func promotedTo(stable rollout.Revision, r rollout.Rollout) bool {
	return stable.Hash != r.Stable.Hash && stable.Image == r.Revision.Image && stable.DeployID == r.Revision.DeployID
}
