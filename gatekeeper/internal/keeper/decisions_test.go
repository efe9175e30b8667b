package keeper_test

import (
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestAHeldRolloutGoesOnWhenItIsResumed(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(40, 200, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.decide(rollout.Pause)
	for _, hook := range []rollout.Hook{rollout.ConfirmTrafficIncrease, rollout.ConfirmPromotion, rollout.Rollback} {
		h.want(hook, false)
	}
	h.restart()
	h.pass(1, 200, 0)
	h.want(rollout.ConfirmTrafficIncrease, false) // it was remembered
	h.decide(rollout.Resume)
	h.want(rollout.ConfirmTrafficIncrease, true)
}

func TestAnAbortedRolloutGoesBack(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.decide(rollout.Abort)
	h.pass(1, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.want(rollout.Rollback, true)
	r := h.ends(rollout.Failed)
	if r.Result != rollout.RolledBack || r.Verdict.Kind() != "aborted" || r.FailedAt.IsZero() {
		t.Errorf("%s for %s, failed at %v", r.Result, r.Verdict.Kind(), r.FailedAt)
	}
}

// TestOfTwoClicksOneWins lets people decide at once, each in sight of the same version.
func TestOfTwoClicksOneWins(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	seen := h.newest()
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for _, kind := range []rollout.DecisionKind{rollout.Approve, rollout.Reject, rollout.Abort, rollout.Pause} {
		wg.Go(func() {
			switch _, err := h.keeper.Decide(t.Context(), seen.ID, seen.Version, rollout.Decision{Kind: kind, By: string(kind)}); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, rollout.ErrChanged):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h.pass(1, 0, 0)
	r := h.newest()
	if won.Load() != 1 || lost.Load() != 3 || len(r.Decisions) != 1 || r.Version != seen.Version+1 {
		t.Fatalf("%d won, %d lost, decided %+v", won.Load(), lost.Load(), r.Decisions)
	}
	entries, err := h.store.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var d rollout.Decision
	if len(entries) != 1 || entries[0].Kind != rollout.EntryDecision || entries[0].Rollout != r.ID {
		t.Fatalf("the ledger has %+v", entries)
	}
	if err := json.Unmarshal(entries[0].Body, &d); err != nil || d.Kind != r.Decisions[0].Kind || d.By != r.Decisions[0].By {
		t.Errorf("the ledger says %+v, %v", d, err)
	}
}
