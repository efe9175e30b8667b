package keeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// rests lets Flagger bring the Canary to rest at that time by its clock, with what the primary and the target then run.
func (h *house) rests(phase rollout.Phase, settled time.Time, stable, target string) {
	h.set(func(c *rollout.Canary) {
		c.Phase, c.Settled, c.Weight, c.Pods = phase, settled, 0, nil
		c.Stable, c.Revision = rollout.Revision{Hash: "p-" + stable, Image: revision(stable).Image}, revision(target)
	})
}

// absence is a house that has seen v1 at rest, and then does not look.
func absence(t *testing.T) *house {
	h := newHouse(t)
	h.rests(rollout.Succeeded, h.now, "v1", "v1")
	h.pass(3, 0, 0)
	if n := len(h.all()); n != 0 {
		t.Fatalf("%d rollouts were invented at the first start", n)
	}
	return h
}

func (h *house) comesBack(after time.Duration) {
	h.now = h.now.Add(after)
	h.restart()
	h.pass(25, 0, 0)
}

// is the short form of what a list of rollouts must be, newest first.
func (h *house) is(want ...string) {
	h.t.Helper()
	var got []string
	for _, r := range h.all() {
		how := r.Revision.Hash + " " + string(r.Result)
		if r.Unseen {
			how += " unseen"
		}
		if r.Result != "" && !r.Reported {
			how += ", not reported"
		}
		got = append(got, how)
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		h.t.Errorf("the ledger has\n%s, want\n%s", strings.Join(got, "; "), strings.Join(want, "; "))
	}
}

func TestARolloutThatNobodySawIsFoundByTheCanarysStatus(t *testing.T) {
	for name, c := range map[string]struct {
		phase          rollout.Phase
		stable, target string
		leftAt         int
		want           string
		told           rollout.Result
	}{
		"promoted":                               {rollout.Succeeded, "v2", "v2", 0, "v2 promoted unseen", rollout.Promoted},
		"promoted, with the next pushed already": {rollout.Succeeded, "v2", "v3", 0, "p-v2 promoted unseen", rollout.Promoted},
		"failed":                                 {rollout.Failed, "v1", "v2", 0, "v2 rolled-back unseen", rollout.RolledBack},
		"failed, and the target set back":        {rollout.Failed, "v1", "v1", 0, "unknown rolled-back unseen", rollout.RolledBack},
		"a promotion that broke down":            {rollout.Failed, "v2", "v2", 100, "v2 stuck unseen", rollout.Stuck},
	} {
		t.Run(name, func(t *testing.T) {
			h := absence(t)
			h.rests(c.phase, h.now.Add(time.Hour), c.stable, c.target)
			h.set(func(canary *rollout.Canary) { canary.LeftAt = c.leftAt })
			h.comesBack(2 * time.Hour)
			h.is(c.want)
			h.wantNews(rollout.Happening(c.told))
			h.wantOneEntry()
			r := h.newest()
			if !strings.Contains(r.Summary(), "found afterwards") || !strings.Contains(timeline(r), "nothing was judged") || r.Verdict.Outcome != "" {
				t.Errorf("%s: %s", r.Summary(), timeline(r))
			}
			h.comesBack(time.Hour) // once found it is known
			h.is(c.want)
			h.wantNews(rollout.Happening(c.told))
		})
	}
}

func TestWhatIsNoRolloutIsNotFound(t *testing.T) {
	for name, change := range map[string]func(*house){
		"nothing happened":                     func(*house) {},
		"the primary's pods were started anew": func(h *house) { h.set(func(c *rollout.Canary) { c.Stable.Hash = "other" }) },
		"the Canary was made anew":             func(h *house) { h.rests(rollout.Initialized, h.now.Add(time.Hour), "v9", "v9") },
		"Flagger does not say when":            func(h *house) { h.rests(rollout.Succeeded, time.Time{}, "v2", "v2") },
	} {
		t.Run(name, func(t *testing.T) {
			h := absence(t)
			change(h)
			h.comesBack(2 * time.Hour)
			h.is()
			h.wantNews()
		})
	}
}

func TestACanaryThatIsDeletedWhileItIsDoubtedLeavesNothing(t *testing.T) {
	h := absence(t)
	h.rests(rollout.Succeeded, h.now.Add(time.Hour), "v2", "v2")
	h.now = h.now.Add(2 * time.Hour)
	h.restart()
	h.pass(2, 0, 0)
	h.cluster.mu.Lock()
	h.cluster.gone = true
	h.cluster.mu.Unlock()
	h.pass(30, 0, 0)
	h.is()
	if all, err := h.store.List(t.Context(), "", 10); err != nil || len(all) != 0 {
		t.Errorf("the ledger has %v %v", all, err)
	}
}

// Canaries come and go for as long as a gatekeeper runs: nothing of one that was deleted stays in its memory.
func TestADeletedCanaryIsForgotten(t *testing.T) {
	h := newHouse(t, func(h *house) {
		h.lab = func(r *policy.Rules) { r.Budget = &policy.Budget{Window: 30 * 24 * time.Hour} }
	})
	for i := range 3 {
		h.set(func(c *rollout.Canary) { c.Key.Name = fmt.Sprint("app", i) })
		h.pass(1, 0, 0)
		h.keeper.AskBudget(t.Context())
		if _, _, err := h.keeper.Ask(rollout.ConfirmRollout, h.cluster.canary.Key); err != nil {
			t.Fatal(err)
		}
		h.pass(1, 0, 0)
		if n := h.keeper.Remembered(); n != 1 {
			t.Errorf("after %d Canaries, of which one is there, %d are in memory", i+1, n)
		}
	}
}

// What rests writes nothing: a memo a second would be a write a second for each gatekeeper that has nothing to do.
func TestAtRestNothingIsWritten(t *testing.T) {
	h := absence(t)
	zone := func() { // each look parses the time of the commit anew
		h.set(func(c *rollout.Canary) {
			c.Stable.CommittedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 5*3600+1800))
		})
	}
	zone()
	h.comesBack(time.Minute)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		zone()
		h.pass(1, 0, 0)
	}
}

// One that was pushed a moment ago looks as if it had failed, until Flagger has looked at it.
func TestARevisionThatFlaggerHasNotLookedAtYetHasNotFailed(t *testing.T) {
	h := absence(t)
	h.release("v2")
	h.pass(3, 0, 0)
	h.rests(rollout.Failed, h.now, "v1", "v3")
	h.now = h.now.Add(time.Hour)
	h.restart()
	h.pass(9, 0, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Settled = rollout.Progressing, time.Time{} })
	h.pass(30, 0, 0)
	h.is("v3 ", "v2 superseded")
}

func TestSupersededAndDecidedWhileNobodyLooked(t *testing.T) {
	h := absence(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.rests(rollout.Succeeded, h.now.Add(time.Hour), "v3", "v3")
	h.comesBack(2 * time.Hour)
	h.is("v3 promoted unseen", "v2 superseded")
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.Superseded), rollout.Happening(rollout.Promoted))
}

func TestTheEndThatNobodySawIsTheOpenRollouts(t *testing.T) {
	for _, c := range []struct {
		phase  rollout.Phase
		during rollout.Phase
		stable string
		want   string
	}{
		{rollout.Succeeded, rollout.Promoting, "v2", "v2 promoted"},
		{rollout.Succeeded, rollout.Progressing, "v2", "v2 promoted"},
		{rollout.Failed, rollout.Progressing, "v1", "v2 rolled-back"},
	} {
		h := absence(t)
		h.release("v2")
		h.pass(2, 0, 0)
		h.weight(10)
		h.pass(5, 20, 0)
		h.set(func(canary *rollout.Canary) { canary.Phase = c.during })
		h.pass(1, 20, 0)
		h.rests(c.phase, h.now.Add(time.Minute), c.stable, "v2")
		h.comesBack(time.Hour)
		h.is(c.want)
		h.wantOneEntry()
		h.comesBack(time.Hour)
		h.is(c.want)
	}
}

// A canary whose pods never get ready is rolled back without an alert, and without a question (flagger-facts §0.18).
func TestARollbackWithoutAWordFromFlaggerIsSeen(t *testing.T) {
	h := absence(t)
	h.release("v2")
	h.set(func(c *rollout.Canary) { c.Pods[0].Ready = false })
	h.pass(60, 0, 0)
	h.rests(rollout.Failed, h.now, "v1", "v2")
	h.pass(2, 0, 0)
	h.is("v2 rolled-back")
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack))
}

func TestAMendedPromotionIsARolloutOfItsOwn(t *testing.T) {
	h := absence(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(100)
	h.pass(31, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Promoting })
	h.pass(2, 20, 0)
	h.rests(rollout.Failed, h.now, "v1", "v2")
	h.set(func(c *rollout.Canary) { c.Weight, c.LeftAt = 100, 100 })
	h.pass(25, 0, 0)
	h.is("v2 stuck")
	h.restart()
	h.set(func(c *rollout.Canary) { c.Weight, c.LeftAt = 0, 0 }) // a person gave the traffic back to the primary
	h.pass(25, 0, 0)
	h.release("v3")
	h.set(func(c *rollout.Canary) { c.Settled = time.Time{} })
	h.pass(3, 0, 0)
	h.rests(rollout.Succeeded, h.now, "v3", "v3")
	h.pass(25, 0, 0)
	h.is("v3 promoted", "v2 stuck")
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.Stuck), rollout.HasStarted, rollout.Happening(rollout.Promoted))
}

func TestAPromotionThatDoesNotEndIsToldOnce(t *testing.T) {
	h := absence(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(100)
	h.pass(31, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Promoting })
	h.pass(300, 0, 0)
	h.wantNews(rollout.HasStarted)
	h.pass(60, 0, 0)
	h.wantNews(rollout.HasStarted, rollout.IsStalled)
	if r := h.newest(); !strings.Contains(timeline(r), "see whether the pods of its primary become ready") {
		t.Error(timeline(r))
	}
}

// faulty is a ledger that can not write at will.
type faulty struct {
	keeper.Ledger
	memo, save error
}

func (f *faulty) SaveMemo(ctx context.Context, name string, document []byte, entries ...rollout.Entry) error {
	if f.memo != nil {
		return f.memo
	}
	return f.Ledger.SaveMemo(ctx, name, document, entries...)
}

func (f *faulty) Save(ctx context.Context, changes ...rollout.Change) error {
	if f.save != nil {
		return f.save
	}
	return f.Ledger.Save(ctx, changes...)
}

// However a disk fails and whenever the process dies, a rollout has one closing entry.
func TestOneEntryWhateverTheDiskDoes(t *testing.T) {
	full := errors.New("disk full")
	for _, unseen := range []bool{false, true} {
		for _, broken := range []faulty{{memo: full}, {save: full}, {memo: full, save: full}} {
			for _, dies := range []bool{false, true} {
				disk := broken
				h := absence(t)
				if !unseen {
					h.release("v2")
					h.pass(3, 0, 0)
				}
				h.change = func(c *keeper.Config) { disk.Ledger = c.Ledger; c.Ledger = &disk }
				h.rests(rollout.Failed, h.now, "v1", "v2")
				h.now = h.now.Add(time.Hour)
				h.restart()
				for range 60 {
					h.now = h.now.Add(time.Second)
					_ = h.keeper.Tick(t.Context()) // fails as long as the disk does
				}
				if !errors.Is(h.keeper.Tick(t.Context()), full) {
					t.Errorf("unseen %v, %+v: an evaluation that can not be recorded is complete", unseen, broken)
				}
				disk.memo, disk.save = nil, nil
				if dies {
					h.change = nil
					h.restart()
				}
				h.pass(60, 0, 0)
				h.comesBack(time.Hour)
				h.wantOneEntry()
				if all := h.all(); len(all) != 1 || all[0].Result != rollout.RolledBack || all[0].Unseen != unseen {
					text, _ := json.Marshal(all)
					t.Errorf("unseen %v, %+v, dies %v: %s", unseen, broken, dies, text)
				}
				if ended := h.series("rollout_ended_timestamp_seconds"); ended["rolled-back"] == 0 {
					t.Errorf("unseen %v, %+v, dies %v: its end is not shown: %v", unseen, broken, dies, ended)
				}
			}
		}
	}
}
