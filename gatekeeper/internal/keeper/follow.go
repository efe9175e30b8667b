package keeper

import "github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"

// sighting is what the last look at a Canary left behind.
type sighting struct {
	candidate string // revision that was under way at the last look
	closed    string // revision whose rollout has ended while the Canary still looked under way
}

// move is what a look at a Canary asks for: to end its open rollout, to open a new one, or both.
type move struct {
	end  rollout.Result
	open bool
}

// next compares the open rollout (nil: none) with how the Canary stands. A revision must be seen under way twice in a
// row before it opens a rollout: Canary, Deployment and ReplicaSet are watched separately, and the phase of the new
// revision may arrive before the revision itself. A rollout that a hook has ended is not opened again by a phase that
// lags behind.
func next(open *run, c rollout.Canary, last sighting) (move, sighting) {
	seen := sighting{closed: last.closed}
	if !c.Phase.UnderWay() {
		seen.closed = ""
		return move{end: ending(open, c)}, seen
	}
	hash := c.Revision.Hash
	if hash == "" || hash == seen.closed || open != nil && open.rollout.Revision.Hash == hash {
		return move{}, seen
	}
	seen.candidate = hash
	if last.candidate != hash {
		return move{}, seen
	}
	m := move{open: true}
	if open != nil {
		m.end = rollout.Superseded
	}
	return m, seen
}

// ending is the result that a Canary at rest gives its open rollout. Another revision at rest than the one that was
// being rolled out means that the end was missed and something newer came.
func ending(open *run, c rollout.Canary) rollout.Result {
	switch {
	case open == nil:
		return ""
	case open.rollout.Revision.Hash != c.Revision.Hash && c.Revision.Hash != "":
		return rollout.Superseded
	case c.Phase == rollout.Succeeded:
		return rollout.Promoted
	case c.Phase == rollout.Failed:
		return rollout.RolledBack
	default:
		return ""
	}
}
