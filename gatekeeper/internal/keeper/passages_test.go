package keeper_test

import (
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// What held a rollout, from the first no that Flagger got to the first yes, is in its record, across a restart too.
func TestTheRecordSaysWhatHeldIt(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	if held := h.newest().Held; held != nil {
		t.Errorf("nobody asked, and it was held: %+v", held)
	}
	asked := h.now
	h.want(rollout.ConfirmRollout, false)
	h.pass(5, 0, 0)
	h.want(rollout.ConfirmRollout, false)
	h.pass(1, 0, 0)
	h.restart()
	h.pass(1, 0, 0)
	h.decide(rollout.Approve)
	opened := h.now
	h.want(rollout.ConfirmRollout, true)
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Progressing })
	h.pass(2, 0, 0)
	held := h.newest().Held
	if len(held) != 1 || held[0].Gate != string(policy.GateApproval) || held[0].Stage != string(policy.StageStart) || held[0].Opened != "approved by ann" || held[0].Why == "" {
		t.Fatalf("held by %+v", held)
	}
	if !held[0].From.Equal(asked) || !held[0].To.Equal(opened) {
		t.Errorf("held from %s to %s, want from %s to %s", held[0].From, held[0].To, asked, opened)
	}
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.decide(rollout.Pause)
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.pass(2, 0, 0)
	if held = h.newest().Held; len(held) != 2 || held[1].Gate != string(policy.GateHold) || !held[1].To.IsZero() {
		t.Errorf("held by %+v", held)
	}
	if r := h.ends(rollout.Failed); len(r.Held) != 2 || r.Held[1].To.IsZero() || r.Held[1].To.After(h.now.Add(time.Second)) || r.Held[1].Opened != "" {
		t.Errorf("after its end: %+v", r.Held)
	}
}

// Without gates hooks note nothing.
func TestWithoutGatesNothingHolds(t *testing.T) {
	h := newHouse(t)
	h.waits()
	h.want(rollout.ConfirmRollout, true)
	h.pass(2, 0, 0)
	if r := h.newest(); r.Held != nil {
		t.Errorf("held by %+v", r.Held)
	}
}
