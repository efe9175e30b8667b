package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestAnswer(t *testing.T) {
	now := start.Add(time.Minute)
	with := func(o rollout.Outcome, age time.Duration, steps ...rollout.Step) *rollout.Rollout {
		return &rollout.Rollout{
			Revision: rollout.Revision{Hash: "b"}, Steps: steps,
			Verdict: rollout.Verdict{Outcome: o, Reasons: []rollout.Reason{{Kind: "k", Text: "because " + string(o)}}},
			Latest:  rollout.Tick{At: now.Add(-age), Answering: 1},
		}
	}
	decided := func(r *rollout.Rollout, kind rollout.DecisionKind) *rollout.Rollout {
		r.Decisions = []rollout.Decision{{Kind: kind, By: "ann", At: now}}
		return r
	}
	full := rollout.Step{Weight: 100}
	silent := with(rollout.Hold, 0)
	silent.Latest.Answering = 0
	pass, hold, fail, ready := with(rollout.Pass, 0, full), with(rollout.Hold, 0, full), with(rollout.Fail, 0, full), with(rollout.Pass, 0)
	stalePass, staleFail := with(rollout.Pass, time.Minute, full), with(rollout.Fail, time.Minute, full)
	free := podsOnly()
	asked := changed(free, func(r *Rules) { r.Gates.Approval = ApproveStart })
	last := changed(free, func(r *Rules) { r.Gates.Approval = ApprovePromotion })

	for _, c := range []struct {
		name  string
		rules Rules
		hook  rollout.Hook
		r     *rollout.Rollout
		hash  string // of the target now
		yes   bool
	}{
		{"a release may start before anything is known of it", free, rollout.ConfirmRollout, nil, "b", true},
		{"but not where a gate must be asked", asked, rollout.ConfirmRollout, nil, "b", false},
		{"nor without a person's word", asked, rollout.ConfirmRollout, ready, "b", false},
		{"with it, it may", asked, rollout.ConfirmRollout, decided(with(rollout.Pass, 0), rollout.Approve), "b", true},
		{"an approval of one revision is none of the next", asked, rollout.ConfirmRollout, decided(with(rollout.Pass, 0), rollout.Approve), "c", false},
		{"nor lets it have traffic", asked, rollout.ConfirmTrafficIncrease, decided(with(rollout.Pass, 0), rollout.Approve), "c", false},
		{"a revision pushed during an analysis never asks to start: its first weight needs the word", asked, rollout.ConfirmTrafficIncrease, ready, "b", false},
		{"a rejected release is let in, to be sent back", asked, rollout.ConfirmRollout, decided(with(rollout.Hold, 0), rollout.Reject), "b", true},
		{"the start needs no word where the promotion does", last, rollout.ConfirmTrafficIncrease, pass, "b", true},
		{"the promotion does", last, rollout.ConfirmPromotion, pass, "b", false},
		{"the first weight waits until the rollout is known", free, rollout.PreRollout, nil, "b", false},
		{"the first weight waits for a pod that answers", free, rollout.PreRollout, silent, "b", false},
		{"the first weight may come when pods answer", free, rollout.PreRollout, pass, "b", true},
		{"traffic grows on pass", free, rollout.ConfirmTrafficIncrease, pass, "b", true},
		{"traffic stays on hold", free, rollout.ConfirmTrafficIncrease, hold, "b", false},
		{"traffic never grows after a fail", free, rollout.ConfirmTrafficIncrease, fail, "b", false},
		{"traffic stays when the verdict is old", free, rollout.ConfirmTrafficIncrease, stalePass, "b", false},
		{"traffic stays when the rollout is unknown", free, rollout.ConfirmTrafficIncrease, nil, "b", false},
		{"no promotion of pods that only answer", free, rollout.ConfirmPromotion, ready, "b", false},
		{"traffic may come to pods that only answer", free, rollout.ConfirmTrafficIncrease, ready, "b", true},
		{"promotion on pass", free, rollout.ConfirmPromotion, pass, "b", true},
		{"no promotion on hold", free, rollout.ConfirmPromotion, hold, "b", false},
		{"no promotion after a fail", free, rollout.ConfirmPromotion, fail, "b", false},
		{"no promotion on an old verdict", free, rollout.ConfirmPromotion, stalePass, "b", false},
		{"no promotion of the unknown", free, rollout.ConfirmPromotion, nil, "b", false},
		{"rollback on fail", free, rollout.Rollback, fail, "b", true},
		{"rollback on fail, also when our evaluator stands still", free, rollout.Rollback, staleFail, "b", true},
		{"no rollback on hold", free, rollout.Rollback, hold, "b", false},
		{"no rollback on pass", free, rollout.Rollback, pass, "b", false},
		{"no rollback of the unknown", free, rollout.Rollback, nil, "b", false},
		{"the check that burns failed checks always says yes", free, rollout.RolloutCheck, fail, "b", true},
		{"an unknown hook never says yes", free, rollout.Hook("new"), pass, "b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := Case{Rollout: c.r, Canary: rollout.Canary{Revision: rollout.Revision{Hash: c.hash}}}
			yes, why := Answer(c.hook, c.rules, asked, now)
			if yes != c.yes || why == "" {
				t.Errorf("got %v %q, want %v", yes, why, c.yes)
			}
			// Where the question comes as far as the gates, they alone decide.
			p, ok := Pass(c.hook, c.rules, asked, now)
			closed := slices.ContainsFunc(p.Gates, func(g Gate) bool { return !g.Open })
			if ok && (yes == closed || !p.At.Equal(now)) {
				t.Errorf("got %v, and the gates are %+v", yes, p)
			}
			confirms := c.hook == rollout.ConfirmRollout || c.hook == rollout.ConfirmTrafficIncrease || c.hook == rollout.ConfirmPromotion
			if !ok && (yes && confirms && c.r != nil || len(p.Gates) > 0) || ok && !confirms {
				t.Errorf("got %v, and the gates were not asked: %+v", yes, p)
			}
		})
	}
}
