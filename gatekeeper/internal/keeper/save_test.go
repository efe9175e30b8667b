package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// counting is a ledger that says how much it was given at once.
type counting struct {
	Ledger

	saves []int // ticks of each
	full  bool
}

func (c *counting) Save(_ context.Context, changes ...rollout.Change) error {
	if c.full {
		return errors.New("no room")
	}
	ticks := 0
	for _, change := range changes {
		ticks += len(change.Ticks)
	}
	c.saves = append(c.saves, ticks)
	return nil
}

// TestABacklogIsSavedInPieces has rollouts whose ticks nobody took for hours.
func TestABacklogIsSavedInPieces(t *testing.T) {
	memory := &counting{full: true}
	k := &Keeper{cfg: Config{Ledger: memory}, runs: map[string]*run{}}
	var runs []*run
	for i, ticks := range []int{0, 12_000, 8_000, 1, 50_000, 19_999} {
		runs = append(runs, &run{rollout: rollout.Rollout{ID: fmt.Sprint(i)}, ticks: make([]rollout.JudgedTick, ticks)})
	}
	if err := k.save(t.Context(), runs...); err == nil || len(runs[4].ticks) != 50_000 {
		t.Fatalf("without room: %v, %d ticks left", err, len(runs[4].ticks))
	}
	memory.full = false
	if err := k.save(t.Context(), runs...); err != nil {
		t.Fatal(err)
	}
	if want := []int{20_000, 1, 50_000, 19_999}; !slices.Equal(memory.saves, want) {
		t.Errorf("saved %v ticks, want %v", memory.saves, want)
	}
	for i, r := range runs {
		if len(r.ticks) != 0 {
			t.Errorf("rollout %d has %d ticks that are not saved", i, len(r.ticks))
		}
	}
}
