package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestWhoIsWaitedFor(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	waiting := rollout.Rollout{Phase: rollout.Waiting, Verdict: rollout.Verdict{Outcome: rollout.Pass}}
	last := rollout.Rollout{
		Phase: rollout.Progressing, FirstTrafficAt: at(-30), Steps: []rollout.Step{{Weight: 50, From: at(-30)}},
		Latest: rollout.Tick{Weight: 50, Next: 100}, Verdict: rollout.Verdict{Outcome: rollout.Pass},
	}
	with := func(r rollout.Rollout, change func(*rollout.Rollout)) rollout.Rollout {
		change(&r)
		return r
	}
	approved := func(minutes int) func(*rollout.Rollout) {
		return func(r *rollout.Rollout) {
			r.Decisions = []rollout.Decision{{Kind: rollout.Approve, By: "alice", At: at(minutes)}}
		}
	}
	const approve, abort = "approve reject", "abort"
	for name, c := range map[string]struct {
		approval Approval
		r        rollout.Rollout
		waits    bool
		asks     string
	}{
		"nobody, without a rule":                   {ApproveNothing, waiting, false, abort},
		"the start":                                {ApproveStart, waiting, true, approve},
		"the start was approved":                   {ApproveStart, with(waiting, approved(-1)), false, abort},
		"the promotion is far":                     {ApprovePromotion, waiting, false, approve},
		"the promotion":                            {ApprovePromotion, last, true, approve},
		"the promotion was approved early":         {ApprovePromotion, with(last, approved(-40)), false, abort},
		"the evidence is waited for, not a person": {ApprovePromotion, with(last, func(r *rollout.Rollout) { r.Verdict.Outcome = rollout.Hold }), false, approve},
		"there are steps to go":                    {ApprovePromotion, with(last, func(r *rollout.Rollout) { r.Latest.Next = 60 }), false, approve},
		"both, the start":                          {ApproveBoth, waiting, true, approve},
		"both, the start was approved":             {ApproveBoth, with(waiting, approved(-1)), false, abort},
		"both, the promotion again":                {ApproveBoth, with(last, approved(-40)), true, approve},
		"both were approved":                       {ApproveBoth, with(last, approved(-5)), false, abort},
		"it fails":                                 {ApproveBoth, with(last, func(r *rollout.Rollout) { r.Verdict.Outcome = rollout.Fail }), false, ""},
		"it was rejected": {ApproveBoth, with(waiting, func(r *rollout.Rollout) {
			r.Decisions = []rollout.Decision{{Kind: rollout.Reject, At: at(-1)}}
		}), true, ""},
		"it is being promoted": {ApproveBoth, with(last, func(r *rollout.Rollout) { r.Phase = rollout.Promoting }), false, ""},
		"it has ended":         {ApproveNothing, with(last, func(r *rollout.Rollout) { r.Result = rollout.Promoted }), false, ""},
	} {
		rules := Default()
		rules.Gates.Approval = c.approval
		why, waits := AwaitsApproval(rules, c.r, now)
		var asks []string
		for _, kind := range Asks(rules, c.r, now) {
			asks = append(asks, string(kind))
		}
		var want []string
		if c.asks != "" {
			want = map[string][]string{approve: {"approve", "reject"}, abort: {"abort"}}[c.asks]
		}
		if waits != c.waits || waits != (why != "") || !slices.Equal(asks, want) {
			t.Errorf("%s: waits %v (%q), asks %v; want %v and %v", name, waits, why, asks, c.waits, want)
		}
	}
}
