package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// rest is how a Canary was when it last rested, as far as the ledger's rollouts account for it.
type rest struct {
	Settled time.Time        `json:"settled,omitzero"` // by Flagger's clock
	Stable  rollout.Revision `json:"stable"`
	// Last is the latest moment of its rollouts. The next begins after it whatever the clock says, so that the newest one
	// is the newest one.
	Last time.Time `json:"last,omitzero"`
	// Ends and Drills are when its last rollouts and rehearsals ended, by their results and the wall's clock.
	Ends   map[rollout.Result]time.Time `json:"ends,omitempty"`
	Drills map[rollout.Result]time.Time `json:"drills,omitempty"`
}

// restsMemo is where the ledger keeps them.
const restsMemo = "canaries"

// doubt is a rest that no known rollout led to.
type doubt struct{ settled, since time.Time }

// restLooks is for how many of Flagger's looks a doubtful Canary must stay at rest. A revision that was pushed a moment ago
// looks like one that failed until Flagger has looked at it.
const restLooks = 2

// rests compares a Canary's rest with the one that is known. ended is how its open rollout just ended, "" when none did.
// A Canary that was never seen before is only remembered: what was before the first start is nobody's business.
func (k *Keeper) rests(c rollout.Canary, ended rollout.Result, now time.Time) {
	before, known := k.known[c.Key.String()]
	switch {
	case c.Phase.UnderWay() || c.Settled.IsZero() || c.Stable.Hash == "":
		delete(k.doubts, c.Key)
	case before.Settled.Equal(c.Settled):
		delete(k.doubts, c.Key)
		if before.Stable.Hash != c.Stable.Hash { // its pods were started anew, or the Deployment was read after the Canary
			k.learn(c)
		}
	case !known || before.Settled.IsZero() || c.Phase == rollout.Initialized || ended != "" && ended != rollout.Superseded:
		k.learn(c)
	case !k.doubts[c.Key].settled.Equal(c.Settled):
		k.doubts[c.Key] = doubt{settled: c.Settled, since: now}
	}
}

// learn takes a Canary's rest for accounted for.
func (k *Keeper) learn(c rollout.Canary) {
	name := c.Key.String()
	r := k.known[name]
	r.Settled, r.Stable = c.Settled, c.Stable
	k.known[name], k.learnt = r, true
	delete(k.doubts, c.Key)
}

// lasted takes in a moment of a Canary's rollout.
func (k *Keeper) lasted(key rollout.Key, at time.Time) {
	r := k.known[key.String()]
	if at.After(r.Last) {
		r.Last = at
		k.known[key.String()], k.learnt = r, true
	}
}

// remember takes in the end of a rollout. It is remembered, because a counter that is born with it would not rise.
func (k *Keeper) remember(key rollout.Key, result rollout.Result, drill bool) {
	r, at := k.known[key.String()], k.cfg.Wall()
	note := func(ends map[rollout.Result]time.Time) map[rollout.Result]time.Time {
		if ends == nil {
			ends = map[rollout.Result]time.Time{}
		}
		ends[result] = at
		return ends
	}
	r.Ends = note(r.Ends)
	if drill {
		r.Drills = note(r.Drills)
	}
	k.known[key.String()], k.learnt = r, true
	k.cfg.Metrics.remember(key, r)
}

// forget drops Canaries that are gone. The caller holds mu.
func (k *Keeper) forget() {
	names := map[string]bool{}
	for key := range k.canaries {
		names[key.String()] = true
	}
	before := len(k.known)
	maps.DeleteFunc(k.known, func(name string, _ rest) bool { return !names[name] })
	k.learnt = k.learnt || len(k.known) < before
	maps.DeleteFunc(k.doubts, func(key rollout.Key, _ doubt) bool { return !names[key.String()] })
	for _, r := range k.runs { // one whose Canary was deleted is not closed yet
		names[r.rollout.Canary.String()] = true
	}
	gone := func(key rollout.Key) bool { return !names[key.String()] }
	maps.DeleteFunc(k.candidates, func(key rollout.Key, _ string) bool { return gone(key) })
	maps.DeleteFunc(k.budgets, func(key rollout.Key, _ budget) bool { return gone(key) })
	k.calls.forget(gone)
	k.passages.forget(func(id string) bool { return k.runs[id] == nil })
}

// missed gives the rollouts that began and ended while nobody looked, closed and ready to be saved. The ledger is asked
// whether it has them: the rest that they explain is remembered only when it does.
func (k *Keeper) missed(ctx context.Context) ([]*run, error) {
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	var found []*run
	for _, c := range k.doubtful() {
		r := k.unseen(c)
		all, _, err := k.cfg.Ledger.Find(ctx, rollout.Query{Canary: c.Key.String(), Text: r.rollout.ID, Limit: 1})
		if err != nil {
			return found, fmt.Errorf("look for a rollout of %s that nobody saw: %w", c.Key, err)
		}
		k.mu.Lock()
		_, waits := k.runs[r.rollout.ID]
		switch {
		case slices.ContainsFunc(all, func(b rollout.Brief) bool { return b.ID == r.rollout.ID }):
			k.learn(c)
			k.lasted(c.Key, r.rollout.EndedAt)
		case !waits: // else it waits for the disk
			err = k.account(r)
			found = append(found, r)
		}
		k.mu.Unlock()
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// doubtful are the Canaries whose rest is doubted for long enough.
func (k *Keeper) doubtful() []rollout.Canary {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	var all []rollout.Canary
	for key, d := range k.doubts {
		if c := k.canaries[key]; now.Sub(d.since) > restLooks*c.Interval {
			all = append(all, c)
		}
	}
	return all
}

// unseen is the rollout that brought c to rest. Its id is of that moment, so that it is the same each time.
func (k *Keeper) unseen(c rollout.Canary) *run {
	k.mu.Lock()
	before := k.known[c.Key.String()]
	k.mu.Unlock()
	result, revision, stable := ran(c, before.Stable)
	at := c.Settled.Add(ahead(c.Settled, before.Last)) // Flagger's clock is another
	r := &run{rules: k.cfg.Policies.For(c.Policy), book: rollout.Book{}, interval: c.Interval}
	r.rollout = rollout.Rollout{
		ID: rollout.ID(c.Key, revision, c.Settled), Canary: c.Key, Revision: revision, Stable: stable, Policy: c.Policy,
		StartedAt: at, Unseen: true,
	}
	_, r.rollout.PolicyDigest, _ = r.rules.Document() // it was kept when the keeper began
	r.rollout.End(result, c.Phase, at)
	return r
}

// ran says what must have been under way for c to rest as it does, and what served before.
func ran(c rollout.Canary, before rollout.Revision) (result rollout.Result, revision, stable rollout.Revision) {
	served := c.Revision.Hash != "" && c.Revision.Image == c.Stable.Image && c.Revision.DeployID == c.Stable.DeployID
	switch {
	case c.Phase == rollout.Succeeded && served:
		return rollout.Promoted, c.Revision, before
	case c.Phase == rollout.Succeeded: // a newer one was pushed since; what was promoted is known by the primary
		return rollout.Promoted, c.Stable, before
	case c.LeftAt > 0:
		return rollout.Stuck, c.Revision, c.Stable
	case served: // the target was set back since, and what failed is gone
		return rollout.RolledBack, rollout.Revision{Hash: "unknown"}, c.Stable
	default:
		return rollout.RolledBack, c.Revision, c.Stable
	}
}

// account closes a rollout that was found, and tells of it once.
func (k *Keeper) account(r *run) error {
	now := k.cfg.Now()
	r.rollout.Note(now, "gatekeeper", "found afterwards: it began and ended while no gatekeeper looked, so nothing was judged")
	k.tellOf(r, r.rollout.News(rollout.Happening(r.rollout.Result), now))
	k.remember(r.rollout.Canary, r.rollout.Result, r.rollout.Revision.Drill)
	k.cfg.Metrics.ended(r.rollout, now)
	k.cfg.Log.Warn("a rollout began and ended while no gatekeeper looked", "rollout", r.rollout.ID, "result", r.rollout.Result)
	k.runs[r.rollout.ID] = r
	return r.close(now)
}

// closed are the runs whose story is closed and whose last save failed.
func (k *Keeper) closed() []*run {
	var all []*run
	for _, id := range slices.Sorted(maps.Keys(k.runs)) {
		if r := k.runs[id]; r.rollout.Reported {
			all = append(all, r)
		}
	}
	return all
}

// record makes an evaluation durable. What was learnt about rests comes first: a rollout that is still open when it should
// have ended is ended again, but a rest that belongs to no rollout would make a new one.
func (k *Keeper) record(ctx context.Context, changed []*run) error {
	bounded, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	k.mu.Lock()
	learnt := k.learnt
	text, err := json.Marshal(k.known)
	k.learnt = false
	k.mu.Unlock()
	if learnt && err == nil {
		err = k.cfg.Ledger.SaveMemo(bounded, restsMemo, text)
	}
	if err != nil {
		k.mu.Lock()
		k.learnt = true
		k.mu.Unlock()
		return fmt.Errorf("remember how Canaries rest: %w", err)
	}
	return k.save(ctx, changed...)
}
