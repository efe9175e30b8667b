package keeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// clockGate is the gate that says that the clock was set back, if there is one.
func (h *house) clockGate() (policy.Gate, bool) {
	h.t.Helper()
	s, err := h.keeper.Why(key)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, g := range s.Gates {
		if g.Kind == policy.GateClock {
			return g, true
		}
	}
	return policy.Gate{}, false
}

// replays checks that the recorded ticks, in their order, give the recorded verdicts.
func (h *house) replays(r rollout.Rollout) {
	h.t.Helper()
	ticks, err := h.store.Ticks(h.t.Context(), r.ID)
	if err != nil || len(ticks) == 0 || len(ticks) != r.Tape.Ticks {
		h.t.Fatalf("%d ticks, the tape has %d: %v", len(ticks), r.Tape.Ticks, err)
	}
	document, err := h.store.Policy(h.t.Context(), r.PolicyDigest)
	if err != nil {
		h.t.Fatal(err)
	}
	rules, err := policy.FromDocument(document)
	if err != nil {
		h.t.Fatal(err)
	}
	for i, v := range policy.Replay(rules, r, ticks) {
		if again := rollout.Judge(ticks[i].Tick, v); again.Digest != ticks[i].Digest {
			h.t.Fatalf("tick %d at %s: %s, recorded %s", i, ticks[i].Tick.At, again.Outcome, ticks[i].Outcome)
		}
		if i > 0 && !ticks[i].Tick.At.After(ticks[i-1].Tick.At) {
			h.t.Fatalf("tick %d is not after the one before", i)
		}
	}
}

// baked is a house with a release that may grow, or be promoted.
func baked(t *testing.T, furnish ...func(*house)) *house {
	h := newHouse(t, furnish...)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(22, 20, 0)
	return h
}

func TestAClockSetBackAcrossARestartOpensNoGateAndStopsNoRollback(t *testing.T) {
	h := baked(t)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.now = h.now.Add(-time.Hour)
	h.restart()
	h.pass(3, 20, 0)
	for _, hook := range []rollout.Hook{rollout.ConfirmTrafficIncrease, rollout.ConfirmPromotion} {
		h.want(hook, false)
	}
	gate, closed := h.clockGate()
	if !closed || !strings.Contains(gate.Why, "the clock was set back") || gate.OpensAt.IsZero() {
		t.Errorf("Why says %+v", gate)
	}
	if r := h.newest(); !strings.Contains(timeline(r), "it was set back") || r.Latest.Canary.Good != 20*25 {
		t.Errorf("%+v: %s", r.Latest, timeline(r))
	}
	h.pass(8, 0, 20) // evidence goes on, and so does the way back
	h.want(rollout.Rollback, true)
	r := h.ends(rollout.Failed)
	if r.Result != rollout.RolledBack || !r.EndedAt.After(r.StartedAt) {
		t.Errorf("%s, from %s to %s", r.Result, r.StartedAt, r.EndedAt)
	}
	h.replays(r)
	h.wantOneEntry()
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack)) // by the wall's clock, not in an hour

	h.release("v3") // the next one is the newest all the same
	h.pass(2, 0, 0)
	if h.newest().Revision.Hash != "v3" {
		t.Errorf("the newest rollout is of %s", h.newest().Revision.Hash)
	}
}

func TestAClockSetBackIsTrustedInTheEnd(t *testing.T) {
	for name, until := range map[string]func(*house){
		"when it has caught up at the next start": func(h *house) { h.now = h.now.Add(time.Hour); h.restart(); h.pass(1, 20, 0) },
		"when the wall's is set right":            func(h *house) { h.wall = time.Hour; h.pass(1, 20, 0) },
		"when it stays as it is":                  func(h *house) { h.pass(600, 20, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			h := baked(t)
			h.now = h.now.Add(-time.Hour)
			h.restart()
			h.pass(5, 20, 0)
			h.want(rollout.ConfirmTrafficIncrease, false)
			until(h)
			if gate, closed := h.clockGate(); closed {
				t.Errorf("Why still says %+v", gate)
			}
			h.want(rollout.ConfirmTrafficIncrease, true)
			h.replays(h.newest())
		})
	}
}

func TestARejectionStaysInForceWhenTheClockIsSetBack(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.decide(rollout.Reject)
	h.now = h.now.Add(-time.Hour)
	h.restart()
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Progressing })
	h.pass(2, 0, 0)
	h.want(rollout.Rollback, true)
}

func TestAClockSetForwardAcrossARestartIsAnAbsence(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(3, 20, 0)
	h.now = h.now.Add(time.Hour)
	h.restart()
	h.pass(1, 0, 0)
	h.want(rollout.Rollback, false)
	h.want(rollout.ConfirmTrafficIncrease, false) // 60 requests are not enough, however long ago
	h.pass(25, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.weight(100)
	h.pass(12, 20, 0)
	h.want(rollout.ConfirmPromotion, true)
	r := h.ends(rollout.Succeeded)
	h.replays(r)
	if r.Result != rollout.Promoted || r.Latest.Canary.Good != 20*40 {
		t.Errorf("%s with %d good requests, want %d", r.Result, r.Latest.Canary.Good, 20*40)
	}
}

// frozen from 03:05 to 03:30; the house begins at 03:04:05.
func frozen(h *house) {
	h.lab = func(r *policy.Rules) {
		r.Gates.Freeze = []policy.Freeze{{From: "2026-01-02 03:05", To: "2026-01-02 03:30", Zone: "UTC"}}
	}
}

func TestAClockThatIsSetMeanwhileOpensNoFreeze(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, frozen)
			h.pass(60, 0, 0) // the freeze has begun
			h.release("v2")
			h.set(func(c *rollout.Canary) { c.Phase = rollout.Waiting })
			h.pass(3, 0, 0)
			h.want(rollout.ConfirmRollout, false)
			h.wall = by
			h.pass(590, 0, 0)
			h.want(rollout.ConfirmRollout, false) // by the time before it is not over
			if r := h.newest(); !strings.Contains(timeline(r), "the clock was set "+name+" by 1h0m0s") {
				t.Error(timeline(r))
			}
			h.pass(20, 0, 0)
			h.want(rollout.ConfirmRollout, true) // the new time has not been corrected: it is the right one
		})
	}
}

func TestAFreezeBeginsByTheClockThatWasSetRight(t *testing.T) {
	h := newHouse(t, frozen)
	h.release("v2")
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Waiting })
	h.pass(3, 0, 0)
	h.want(rollout.ConfirmRollout, true)
	h.wall = 5 * time.Minute
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, false)
	h.wall = 0 // a mistake that is mended leaves nothing behind but a careful while
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, false)
}

func TestVerdictsDoNotSeeAClockThatIsSetMeanwhile(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		h := newHouse(t)
		h.release("v2")
		h.pass(2, 0, 0)
		h.weight(10)
		h.pass(10, 20, 0)
		h.wall = by
		h.pass(10, 20, 0)
		h.want(rollout.ConfirmTrafficIncrease, false) // 20 s are 20 s
		h.pass(2, 20, 0)
		h.want(rollout.ConfirmTrafficIncrease, true)
		h.pass(6, 0, 20)
		h.want(rollout.Rollback, true)
		r := h.ends(rollout.Failed)
		h.replays(r)
		if by > 0 {
			h.now = h.now.Add(by) // as the courier's clock shows
		}
		h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack))
	}
}
