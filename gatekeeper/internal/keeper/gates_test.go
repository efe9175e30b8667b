package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func asks(h *house) { h.lab = func(r *policy.Rules) { r.Gates.Approval = policy.ApproveStart } }

// waits lets Flagger detect a revision and ask whether it may start.
func (h *house) waits() {
	h.release("a")
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Waiting })
	h.pass(2, 0, 0)
}

func (h *house) decide(kind rollout.DecisionKind) {
	h.t.Helper()
	h.now = h.now.Add(time.Millisecond) // after the last evaluation, and before the next
	if _, err := h.keeper.Decide(h.t.Context(), h.newest().ID, keeper.AnyVersion, rollout.Decision{Kind: kind, By: "ann", Why: "seen"}); err != nil {
		h.t.Fatal(err)
	}
}

func TestAnApprovalIsForOneRevision(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.want(rollout.ConfirmRollout, false)
	h.decide(rollout.Approve)
	h.want(rollout.ConfirmRollout, true)
	h.restart()
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, true) // it was remembered

	h.set(func(c *rollout.Canary) { c.Phase = rollout.Progressing })
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.release("b") // pushed meanwhile: Flagger restarts its analysis and never asks again whether it may start
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.pass(5, 0, 0)
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.decide(rollout.Approve)
	h.want(rollout.ConfirmTrafficIncrease, true)
}

func TestARejectedReleaseGetsNoTraffic(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.decide(rollout.Reject)
	h.want(rollout.ConfirmRollout, true) // or Flagger would ask for ever
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Progressing })
	h.pass(1, 0, 0)
	h.want(rollout.Rollback, true)
	h.want(rollout.ConfirmTrafficIncrease, false)
	r := h.ends(rollout.Failed)
	if r.Result != rollout.RolledBack || len(r.Steps) != 0 || !strings.Contains(r.Summary(), "rejected by ann: seen") {
		t.Errorf("got %s after %d steps: %s", r.Result, len(r.Steps), r.Summary())
	}
	if _, err := h.keeper.Decide(t.Context(), r.ID, keeper.AnyVersion, rollout.Decision{Kind: rollout.Approve, By: "bob"}); !errors.Is(err, rollout.ErrNotFound) {
		t.Errorf("an approval of what is over: %v", err)
	}
}

func TestWhySaysWhatHolds(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.want(rollout.ConfirmRollout, false)
	s, err := h.keeper.Why(key)
	if err != nil || s.Rollout == nil || len(s.Gates) != 1 || s.Gates[0].Open || s.Silent != 0 {
		t.Fatalf("got %+v %v", s, err)
	}
	h.decide(rollout.Approve)
	if s, err = h.keeper.Why(key); err != nil || !s.Gates[0].Open {
		t.Errorf("got %+v %v", s, err)
	}
	if _, err = h.keeper.Why(rollout.Key{Name: "nobody"}); !errors.Is(err, rollout.ErrUnknownCanary) {
		t.Errorf("got %v", err)
	}
}

func TestFiringAlertsHoldAlsoAfterARestart(t *testing.T) {
	h := newHouse(t, func(h *house) {
		h.lab = func(r *policy.Rules) { r.Gates.Alerts = map[string]string{"severity": "page"} }
	})
	h.waits()
	h.want(rollout.ConfirmRollout, true)
	alert := policy.Alert{Labels: map[string]string{"alertname": "DatabaseDown", "severity": "page"}, Since: h.now, Until: h.now.Add(time.Hour)}
	if err := h.keeper.Alerted(t.Context(), "alertmanager", map[string]policy.Alert{"1": alert}, nil); err != nil {
		t.Fatal(err)
	}
	h.want(rollout.ConfirmRollout, false)
	h.restart()
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, false)
	if err := h.keeper.Alerted(t.Context(), "alertmanager", nil, []string{"1"}); err != nil {
		t.Fatal(err)
	}
	h.want(rollout.ConfirmRollout, true)
	if err := h.keeper.Alerted(t.Context(), "alertmanager", map[string]policy.Alert{"1": alert}, nil); err != nil {
		t.Fatal(err)
	}
	alert.Until = alert.Until.Add(time.Minute) // told again: no change
	if err := h.keeper.Alerted(t.Context(), "alertmanager", map[string]policy.Alert{"1": alert}, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := h.store.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	told := &strings.Builder{}
	for _, e := range entries {
		if e.Kind == rollout.EntryAlerts {
			fmt.Fprintf(told, "%s\n", e.Body)
		}
	}
	if strings.Count(told.String(), `"by":"alertmanager","began":{"1":`) != 2 || strings.Count(told.String(), `"ended":["1"]`) != 1 || strings.Count(told.String(), "\n") != 3 {
		t.Errorf("the ledger says\n%s", told)
	}
	h.now = h.now.Add(62 * time.Minute) // nobody has told of it since
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, true)
}

func TestTheErrorBudgetIsAGate(t *testing.T) {
	bad := atomic.Int64{}
	h := newHouse(t, func(h *house) {
		h.lab = func(r *policy.Rules) { r.Budget = &policy.Budget{Window: 30 * 24 * time.Hour, MinRemaining: 10} }
		h.change = func(c *keeper.Config) {
			c.Budget = func(context.Context, rollout.Canary, time.Duration, func(string) bool) (float64, float64, error) {
				if bad.Load() < 0 {
					return 0, 0, errors.New("connection refused")
				}
				return 1e6, float64(bad.Load()), nil
			}
		}
	})
	h.waits()
	h.want(rollout.ConfirmRollout, false) // nobody has asked yet: not known is not enough
	for value, open := range map[int64]bool{100: true, 4501: false, -1: false} {
		bad.Store(value)
		h.now = h.now.Add(2 * time.Minute)
		h.keeper.AskBudget(t.Context())
		h.pass(1, 0, 0)
		h.want(rollout.ConfirmRollout, open)
	}
	bad.Store(200)
	h.now = h.now.Add(2 * time.Minute)
	h.keeper.AskBudget(t.Context())
	if b := h.ends(rollout.Failed).Budget; b == nil || b.Requests != 1e6 || b.Bad != 200 {
		t.Errorf("the closed rollout has the budget %+v", b)
	}
}

// brakes counts how often the brake was pulled, and takes the weight back as Flagger's ingress would have it.
func brakes(pulled *atomic.Int64, of policy.Brake) func(*house) {
	return func(h *house) {
		h.lab = func(r *policy.Rules) { r.Brake = of }
		h.change = func(c *keeper.Config) {
			c.Brake = func(context.Context, rollout.Key) (int, error) {
				pulled.Add(1)
				h.weight(0)
				return 10, nil
			}
		}
	}
}

func TestTheBrakeIsPulledWithTheVerdict(t *testing.T) {
	for of, want := range map[policy.Brake]int64{policy.BrakeOn: 1, policy.BrakeAlways: 1, policy.BrakeOff: 0} {
		var pulled atomic.Int64
		h := newHouse(t, brakes(&pulled, of))
		h.release("a")
		h.pass(2, 0, 0)
		h.weight(10)
		h.pass(4, 0, 10)
		if pulled.Load() != 0 {
			t.Errorf("brake %s: pulled before there was a verdict", of)
		}
		h.pass(1, 0, 10)
		h.want(rollout.Rollback, true)
		h.pass(10, 0, 0)
		if pulled.Load() != want {
			t.Errorf("brake %s: pulled %d times, want %d", of, pulled.Load(), want)
		}
		h.want(rollout.ConfirmTrafficIncrease, false) // at weight 0 Flagger asks again, and must not send traffic
		r := h.ends(rollout.Failed)
		if noted := strings.Contains(timeline(r), "brake: canary weight set from 10 % to 0"); noted != (want > 0) {
			t.Errorf("brake %s: timeline %s", of, timeline(r))
		}
	}
}

func timeline(r rollout.Rollout) string {
	var lines []string
	for _, e := range r.Timeline {
		lines = append(lines, e.Text)
	}
	return strings.Join(lines, "\n")
}

func TestASilentFlaggerIsToldAndBraked(t *testing.T) {
	for of, want := range map[policy.Brake]int64{policy.BrakeAlways: 1, policy.BrakeOn: 0} {
		var pulled atomic.Int64
		h := newHouse(t, brakes(&pulled, of))
		h.release("a")
		h.pass(2, 0, 0)
		h.weight(10)
		for range 6 { // Flagger looks every ten seconds
			h.pass(10, 10, 0)
			h.want(rollout.Rollback, false)
		}
		h.pass(30, 10, 0)
		h.wantNews(rollout.HasStarted)
		h.pass(2, 10, 0)
		h.wantNews(rollout.HasStarted, rollout.IsUnattended)
		if pulled.Load() != want {
			t.Errorf("brake %s: pulled %d times, want %d", of, pulled.Load(), want)
		}
		h.want(rollout.Rollback, want > 0) // when Flagger comes back, what was taken back stays so
	}
}

func TestFlaggerThatWaitsForAPodIsNoDeadOne(t *testing.T) {
	var pulled atomic.Int64
	h := newHouse(t, brakes(&pulled, policy.BrakeAlways))
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 10, 0)
	h.want(rollout.Rollback, false)
	h.set(func(c *rollout.Canary) {
		c.Pods = append(c.Pods, rollout.Pod{UID: "slow", Track: rollout.TrackPrimary, Hash: "p1"})
	})
	h.pass(40, 10, 0)
	if pulled.Load() != 0 {
		t.Error("the brake was pulled while a pod of the primary starts")
	}
	h.wantNews(rollout.HasStarted, rollout.IsUnattended)
	h.set(func(c *rollout.Canary) { c.Suspended = true })
	h.set(func(c *rollout.Canary) { c.Pods = c.Pods[:1] })
	h.pass(40, 10, 0)
	if pulled.Load() != 0 {
		t.Error("the brake was pulled while Flagger is suspended")
	}
}

func TestWhatIsSaidTwiceIsRefused(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	h.decide(rollout.Reject)
	if _, err := h.keeper.Decide(t.Context(), h.newest().ID, keeper.AnyVersion, rollout.Decision{Kind: rollout.Approve, By: "bob"}); !errors.Is(err, rollout.ErrOver) {
		t.Errorf("an approval after a rejection: %v", err)
	}
}

func TestAnApprovalThatCanNotBeKeptLetsNobodyThrough(t *testing.T) {
	h := newHouse(t, asks)
	h.waits()
	id := h.newest().ID
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.keeper.Decide(t.Context(), id, keeper.AnyVersion, rollout.Decision{Kind: rollout.Approve, By: "ann"}); err == nil {
		t.Fatal("an approval was taken that nobody could write down")
	}
	h.want(rollout.ConfirmRollout, false)
	if s, err := h.keeper.Why(key); err != nil || strings.Contains(timeline(*s.Rollout), "approved") {
		t.Errorf("%v: %+v", err, s.Rollout.Timeline)
	}
}

func TestABoardThatIsOldOpensNoGate(t *testing.T) {
	h := newHouse(t)
	h.pass(1, 0, 0)
	h.want(rollout.ConfirmRollout, true)
	h.now = h.now.Add(11 * time.Second)
	h.want(rollout.ConfirmRollout, false)
}

func TestABrakeThatFailsIsTriedAgainAndNoted(t *testing.T) {
	tries := 0
	h := newHouse(t, func(h *house) {
		h.lab = func(r *policy.Rules) { r.Brake = policy.BrakeOn }
		h.change = func(c *keeper.Config) {
			c.Brake = func(context.Context, rollout.Key) (int, error) { tries++; return 0, errors.New("forbidden") }
		}
	})
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(8, 0, 10)
	if r := h.newest(); tries != 4 || !strings.Contains(timeline(r), "the brake failed: forbidden") {
		t.Errorf("%d tries: %s", tries, timeline(r))
	}
}

func TestTheTapeGivesTheVerdictsAgain(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(15, 20, 0)
	h.restart() // the evidence so far comes back from the disk
	h.decide(rollout.Approve)
	h.pass(10, 19, 1)
	h.weight(25)
	h.pass(12, 15, 5)
	r := h.ends(rollout.Failed)
	ticks, err := h.store.Ticks(t.Context(), r.ID)
	if err != nil || len(ticks) < 30 {
		t.Fatalf("%d ticks: %v", len(ticks), err)
	}
	document, err := h.store.Policy(t.Context(), r.PolicyDigest)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.FromDocument(document)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[rollout.Outcome]int{}
	for i, v := range policy.Replay(rules, r, ticks) {
		if again := rollout.Judge(ticks[i].Tick, v); !reflect.DeepEqual(again, ticks[i]) {
			t.Fatalf("tick %d: got %+v, recorded %+v", i, again, ticks[i])
		}
		outcomes[v.Outcome]++
	}
	if outcomes[rollout.Pass] == 0 || outcomes[rollout.Hold] == 0 || outcomes[rollout.Fail] == 0 {
		t.Errorf("outcomes %v, want some of each", outcomes)
	}
}

func TestAPolicyThatChangesMeanwhileIsForTheNextRollout(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(3, 20, 0)
	h.lab = func(r *policy.Rules) { r.Bake.First = time.Hour }
	h.restart()
	h.pass(18, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, true) // by the 20 s that it began with
}

// slowLedger takes its time for each save.
type slowLedger struct {
	keeper.Ledger
	enter, leave chan struct{}
}

func (l slowLedger) Save(ctx context.Context, changes ...rollout.Change) error {
	l.enter <- struct{}{}
	<-l.leave
	return l.Ledger.Save(ctx, changes...)
}

func TestHooksDoNotWaitForTheDisk(t *testing.T) {
	slow := slowLedger{enter: make(chan struct{}), leave: make(chan struct{})}
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.change = func(c *keeper.Config) { slow.Ledger = c.Ledger; c.Ledger = slow }
	h.restart()
	tick := func() chan error {
		h.now = h.now.Add(time.Second)
		h.bad.Add(10)
		done := make(chan error)
		go func() { done <- h.keeper.Tick(context.WithoutCancel(t.Context())) }()
		<-slow.enter
		return done
	}
	for range 7 {
		done := tick()
		slow.leave <- struct{}{}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	h.want(rollout.Rollback, false) // there was no traffic yet
	h.weight(10)
	for range 4 {
		done := tick()
		slow.leave <- struct{}{}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	done := tick() // the verdict is fail, and the disk takes its time
	h.want(rollout.Rollback, true)
	// Flagger's message comes while the save is under way: the news of the end must not get lost.
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight = rollout.Failed, 0 })
	slow.leave <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNewsThatComeDuringASaveAreTold(t *testing.T) {
	slow := slowLedger{enter: make(chan struct{}), leave: make(chan struct{})}
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.change = func(c *keeper.Config) { slow.Ledger = c.Ledger; c.Ledger = slow }
	h.restart()
	step := func(do func() error) chan error {
		done := make(chan error)
		go func() { done <- do() }()
		<-slow.enter
		return done
	}
	finish := func(done chan error) {
		t.Helper()
		slow.leave <- struct{}{}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	finish(step(func() error { return h.keeper.Tick(ctx) }))
	heard := step(func() error { return h.keeper.Heard(ctx, key, "Canary failed! Scaling down podinfo.demo") })
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = rollout.Failed, 0, nil })
	h.now = h.now.Add(time.Second)
	ticked := make(chan error)
	go func() { ticked <- h.keeper.Tick(ctx) }() // ends the rollout while Heard is being saved
	for h.keeper.UnderWay() > 0 {                // it is ended before the tick waits for its turn to save
		time.Sleep(time.Millisecond)
	}
	finish(heard)
	<-slow.enter
	finish(ticked)
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack))
}

func TestTheEvidenceIsToBeSeen(t *testing.T) {
	h := newHouse(t)
	h.release("a")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(15, 20, 0)
	want := `# HELP gatekeeper_requests_needed Canary requests without an error that the next weight still needs.
# TYPE gatekeeper_requests_needed gauge
gatekeeper_requests_needed{canary="podinfo",namespace="demo"} 79
`
	if err := testutil.CollectAndCompare(h.keeper, strings.NewReader(want), "gatekeeper_requests_needed"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(h.keeper, "gatekeeper_evidence_log", "gatekeeper_canary_error_rate"); n != 10 {
		t.Errorf("%d series of evidence and error rates, want 10", n)
	}
}
