package keeper_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func repeats(every time.Duration) func(*house) {
	return func(h *house) { h.change = func(c *keeper.Config) { c.Repeat = every } }
}

// hears are the messages since the last look: happening, how often before, whether quietly, and what people can do.
func (h *house) hears(want ...string) {
	h.t.Helper()
	var got []string
	for {
		due, err := h.store.Due(h.t.Context(), h.now)
		if err != nil {
			h.t.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		n := due[0].News
		if err := h.store.Delivered(h.t.Context(), n.Key(), due[0].Sink, ""); err != nil {
			h.t.Fatal(err)
		}
		words := []string{string(n.Event)}
		if n.Repeat > 0 {
			words = append(words, fmt.Sprint(n.Repeat))
		}
		if n.Quiet {
			words = append(words, "quietly")
		}
		for _, a := range n.Asks {
			words = append(words, string(a))
		}
		got = append(got, strings.Join(words, " "))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("people heard %q, want %q", got, want)
	}
}

// minutes lets time go by in big steps, as nothing happens.
func (h *house) minutes(n int) {
	h.t.Helper()
	for range n {
		h.now = h.now.Add(59 * time.Second)
		h.pass(1, 0, 0)
	}
}

func TestAPersonIsToldThatItIsHerTurn(t *testing.T) {
	h := newHouse(t, asks, repeats(time.Hour))
	h.waits()
	h.hears("started approve reject", "waiting approve reject")
	h.minutes(59)
	h.hears()
	h.restart() // what was told is remembered
	h.minutes(2)
	h.hears("waiting 1 quietly approve reject")
	h.restart()
	h.minutes(50)
	h.hears()
	h.minutes(12)
	h.hears("waiting 2 quietly approve reject")
	h.decide(rollout.Approve)
	h.minutes(70)
	h.hears()
}

func TestNothingIsRepeatedWhereNobodyWantsIt(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.minutes(600)
	h.hears("started approve reject", "waiting approve reject")
}

// An approval that runs out asks anew: loudly, but no sooner than after Repeat.
func TestWhatComesBackIsNoRepetition(t *testing.T) {
	h := newHouse(t, repeats(time.Hour))
	h.lab = func(r *policy.Rules) { r.Gates.Approval, r.Gates.ApprovalTTL = policy.ApproveStart, 10*time.Minute }
	h.restart()
	h.waits()
	h.hears("started approve reject", "waiting approve reject")
	h.decide(rollout.Approve)
	h.minutes(20)
	h.hears()
	h.minutes(45)
	h.hears("waiting 1 approve reject")
}

// Flagger is dead for a while, comes back, and dies again.
func TestSilenceIsToldAgainWhileItLasts(t *testing.T) {
	h := newHouse(t, repeats(time.Hour))
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(40, 10, 0)
	h.hears("started abort", "unattended abort")
	h.minutes(61)
	h.hears("unattended 1 quietly abort")
	h.want(rollout.Rollback, false)
	h.pass(5, 10, 0)
	h.minutes(62)
	h.hears("unattended 2 abort")
}
