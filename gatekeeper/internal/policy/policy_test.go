package policy

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// state builds a rollout by its ticks, the way the keeper does.
func state(ticks ...rollout.Tick) rollout.Rollout {
	r := rollout.New(rollout.Canary{Revision: rollout.Revision{Hash: "abc"}}, start)
	for _, t := range ticks {
		r.Observe(t)
	}
	return r
}

func tick(second, weight int, good, bad uint64) rollout.Tick {
	return rollout.Tick{At: start.Add(time.Duration(second) * time.Second), Weight: weight, Canary: rollout.Counts{Good: good, Bad: bad}, Answering: 1}
}

func blind(t rollout.Tick) rollout.Tick {
	t.Age = 6 * time.Second
	return t
}

func TestDecide(t *testing.T) {
	rules := Default() // 2 % within 5m, 300 requests, 99.5 %, bake 5m and 1m, hold 30m
	for name, c := range map[string]struct {
		ticks   []rollout.Tick
		outcome rollout.Outcome
		kind    string // of the strongest reason
		says    string
	}{
		"before the first scrape nothing is known": {
			[]rollout.Tick{{At: start}}, rollout.Hold, KindBlind, "no canary pod",
		},
		"canary pods answer and there is no traffic: the first weight may come": {
			[]rollout.Tick{tick(1, 0, 0, 0)}, rollout.Pass, KindReady, "no traffic yet",
		},
		"over 2 % with enough requests in the window fails at once": {
			[]rollout.Tick{tick(1, 10, 0, 0), tick(20, 10, 293, 7)}, rollout.Fail, KindErrorRate, "7 of 300 canary requests failed",
		},
		"exactly 2 % does not exceed 2 %": {
			[]rollout.Tick{tick(1, 10, 0, 0), tick(20, 10, 294, 6)}, rollout.Hold, KindObjective, "6 of 300",
		},
		"one request under the least number is too little to fail, however bad": {
			[]rollout.Tick{tick(1, 10, 0, 0), tick(20, 10, 0, 299)}, rollout.Hold, KindTooFew, "299 of at least 300",
		},
		"at the last moment of the window the rule still holds": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 900, 100)}, rollout.Fail, KindErrorRate, "the first 5m0s",
		},
		"after the window the step's own requests are held to the limit": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(301, 10, 900, 100)}, rollout.Fail, KindStepRate, "100 of 1000",
		},
		"a later weight is held to the limit by its own requests": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 20000, 0), tick(301, 25, 20000, 0), tick(330, 25, 20290, 10)},
			rollout.Fail, KindStepRate, "10 of 300 canary requests failed at 25 %",
		},
		"good and long enough at the first weight passes": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 1000, 0)}, rollout.Pass, KindStepDone, "100 % of 1000",
		},
		"good but not long enough is held": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(299, 10, 1000, 0)}, rollout.Hold, KindBaking, "1s of 5m0s",
		},
		"a later weight bakes its own, shorter time": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 25, 1000, 0), tick(359, 25, 1100, 0)}, rollout.Hold, KindBaking, "1s of 1m0s at 25 %",
		},
		"a later weight passes when its time is over": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 25, 1000, 0), tick(360, 25, 1100, 0)}, rollout.Pass, KindStepDone, "up to 25 %",
		},
		"under the objective but within the limit is held, not failed": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 990, 10)}, rollout.Hold, KindObjective, "99 % good, the objective is 99.5 %",
		},
		"held for longer than maxHold under the objective fails": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300+1801, 10, 9900, 100)}, rollout.Fail, KindHeldTooLong, "holding for 30m1s",
		},
		"too few requests are never a failure, however long": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(36000, 10, 10, 0)}, rollout.Hold, KindTooFew, "10 of at least 300",
		},
		"old counts say nothing, whatever they said": {
			[]rollout.Tick{tick(0, 10, 0, 0), blind(tick(400, 10, 1000, 0))}, rollout.Hold, KindBlind, "6s old",
		},
		"errors that were counted fail even if the pods have gone silent since": {
			[]rollout.Tick{tick(0, 10, 0, 0), blind(tick(30, 10, 100, 300))}, rollout.Fail, KindErrorRate, "300 of 400",
		},
		"back at 0 without a fail the climb may begin anew": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 1000, 0), tick(301, 0, 1000, 0)}, rollout.Pass, KindReady, "no traffic",
		},
		"a climb that begins anew bakes its first weight in full": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 10, 1000, 0), tick(301, 0, 1000, 0), tick(310, 10, 1000, 0), tick(310+299, 10, 2000, 0)},
			rollout.Hold, KindBaking, "1s of 5m0s",
		},
		"a climb that begins anew has its own window": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(400, 0, 0, 0), tick(410, 10, 0, 0), tick(420, 10, 200, 100)},
			rollout.Fail, KindErrorRate, "100 of 300",
		},
		"late errors at the first weight fail too": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(310, 10, 50, 0), tick(400, 10, 50, 600)}, rollout.Fail, KindStepRate, "600 of 650",
		},
		"a weight without a single request proves nothing": {
			[]rollout.Tick{tick(0, 10, 0, 0), tick(300, 25, 1000, 0), tick(400, 25, 1000, 0)}, rollout.Hold, KindTooFew, "no canary request counted at 25 %",
		},
		"a request by hand before the first weight is no traffic": {
			[]rollout.Tick{tick(0, 0, 1, 0), tick(100, 0, 1, 0)}, rollout.Pass, KindReady, "no traffic yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := state(c.ticks...)
			got := Decide(rules, r, r.Latest.At)
			if got.Outcome != c.outcome || got.Reasons[0].Kind != c.kind || !strings.Contains(got.Text(), c.says) {
				t.Errorf("got %s %+v\nwant %s %s …%s…", got.Outcome, got.Reasons, c.outcome, c.kind, c.says)
			}
		})
	}
}

func TestTheTrafficOfTheRevisionBeforeLetsNothingGrow(t *testing.T) {
	r := rollout.New(rollout.Canary{Revision: rollout.Revision{Hash: "abc"}}, start)
	r.AwaitsReset = true
	r.Observe(tick(1, 50, 500, 0))
	if v := Decide(Default(), r, r.Latest.At); v.Outcome != rollout.Hold || v.Reasons[0].Kind != KindSuperseding {
		t.Errorf("got %+v", v)
	}
}

func TestAFailIsFinal(t *testing.T) {
	rules := Default()
	r := state(tick(0, 10, 0, 0), tick(10, 10, 0, 300))
	r.Judge(Decide(rules, r, r.Latest.At))
	first := r.Verdict
	r.Observe(tick(20, 10, 1_000_000, 300))
	r.Judge(Decide(rules, r, r.Latest.At))
	if r.Verdict.Outcome != rollout.Fail || !r.Verdict.At.Equal(first.At) {
		t.Errorf("a fail became %+v", r.Verdict)
	}
}

// Every state has an outcome with a reason, and one more bad response never makes things better.
func TestDecideIsTotalAndMonotone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rules := Default()
	rank := map[rollout.Outcome]int{rollout.Pass: 0, rollout.Hold: 1, rollout.Fail: 2}
	for range 20_000 {
		second, weight := rng.IntN(2500), []int{0, 10, 25, 50, 100}[rng.IntN(5)]
		good, bad := rng.Uint64N(2000), rng.Uint64N(60)
		before := state(tick(0, 10, 0, 0), tick(second, weight, good, bad))
		after := state(tick(0, 10, 0, 0), tick(second, weight, good, bad+1))
		v, w := Decide(rules, before, before.Latest.At), Decide(rules, after, after.Latest.At)
		if len(v.Reasons) == 0 || v.Text() == "" {
			t.Fatalf("no reason for %+v", before)
		}
		// More responses may end "too few"; that alone may turn hold into pass.
		if rank[w.Outcome] < rank[v.Outcome] && good+bad+1 != rules.Evidence.MinRequests {
			t.Fatalf("%d good: %d bad gave %s, %d bad gave %s", good, bad, v.Outcome, bad+1, w.Outcome)
		}
	}
}

func TestIsGood(t *testing.T) {
	slo := SLO{Good: []string{"2xx", "404"}}
	for status, want := range map[string]bool{"200": true, "299": true, "404": true, "403": false, "500": false, "301": false, "": false, "20": false, "2000": false} {
		if slo.IsGood(status) != want {
			t.Errorf("%q: good is %v, want %v", status, !want, want)
		}
	}
}

func TestAnswer(t *testing.T) {
	now := start.Add(time.Minute)
	with := func(o rollout.Outcome, age time.Duration) *rollout.Rollout {
		return &rollout.Rollout{
			Verdict: rollout.Verdict{Outcome: o, Reasons: []rollout.Reason{{Kind: "k", Text: "because " + string(o)}}},
			Latest:  rollout.Tick{At: now.Add(-age), Answering: 1},
		}
	}
	silent := with(rollout.Hold, 0)
	silent.Latest.Answering = 0
	pass, hold, fail := with(rollout.Pass, 0), with(rollout.Hold, 0), with(rollout.Fail, 0)
	for _, r := range []*rollout.Rollout{pass, hold, fail} {
		r.Steps = []rollout.Step{{Weight: 100}}
	}
	ready := with(rollout.Pass, 0)
	stalePass, staleFail := with(rollout.Pass, time.Minute), with(rollout.Fail, time.Minute)

	for _, c := range []struct {
		name string
		hook rollout.Hook
		r    *rollout.Rollout
		yes  bool
	}{
		{"a release may start before anything is known of it", rollout.ConfirmRollout, nil, true},
		{"the first weight waits until the rollout is known", rollout.PreRollout, nil, false},
		{"the first weight waits for a pod that answers", rollout.PreRollout, silent, false},
		{"the first weight may come when pods answer", rollout.PreRollout, pass, true},
		{"traffic grows on pass", rollout.ConfirmTrafficIncrease, pass, true},
		{"traffic stays on hold", rollout.ConfirmTrafficIncrease, hold, false},
		{"traffic never grows after a fail", rollout.ConfirmTrafficIncrease, fail, false},
		{"traffic stays when the verdict is old", rollout.ConfirmTrafficIncrease, stalePass, false},
		{"traffic stays when the rollout is unknown", rollout.ConfirmTrafficIncrease, nil, false},
		{"no promotion of pods that only answer", rollout.ConfirmPromotion, ready, false},
		{"traffic may come to pods that only answer", rollout.ConfirmTrafficIncrease, ready, true},
		{"promotion on pass", rollout.ConfirmPromotion, pass, true},
		{"no promotion on hold", rollout.ConfirmPromotion, hold, false},
		{"no promotion after a fail", rollout.ConfirmPromotion, fail, false},
		{"no promotion on an old verdict", rollout.ConfirmPromotion, stalePass, false},
		{"no promotion of the unknown", rollout.ConfirmPromotion, nil, false},
		{"rollback on fail", rollout.Rollback, fail, true},
		{"rollback on fail, also when our evaluator stands still", rollout.Rollback, staleFail, true},
		{"no rollback on hold", rollout.Rollback, hold, false},
		{"no rollback on pass", rollout.Rollback, pass, false},
		{"no rollback of the unknown", rollout.Rollback, nil, false},
		{"the check that burns failed checks always says yes", rollout.RolloutCheck, fail, true},
		{"an unknown hook never says yes", rollout.Hook("new"), pass, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			yes, why := Answer(c.hook, c.r, now)
			if yes != c.yes || why == "" {
				t.Errorf("got %v %q, want %v", yes, why, c.yes)
			}
		})
	}
}
