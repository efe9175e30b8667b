package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// place makes a Misfit of what is looked at.
type place func(where, written, expected string) *Misfit

// judge judges r's ticks again and compares: each verdict with the recorded one, the last state with r's figures.
func (v *Verifier) judge(r rollout.Rollout, rules json.RawMessage, ticks []json.RawMessage, at place) error {
	by, err := policy.FromDocument(rules)
	if err != nil {
		return at("rules", "what can not be read: "+err.Error(), "the rules by which it was judged")
	}
	again, other, err := replay(r, by, ticks, at)
	if err != nil {
		return err
	}
	v.sum.Verdicts += len(ticks)
	whole := tapeFits(r, ticks, at)
	if other == nil && whole == nil {
		other = figuresFit(r, again, at)
	}
	switch {
	case whole != nil && other != nil:
		return other // it says which tick
	case whole != nil:
		return whole
	case other == nil:
		return nil
	case slices.Equal(r.JudgedBy, []string{v.self}):
		return other
	}
	v.note("rollout %s was judged by %s, this is %s and judges otherwise: %s", r.ID, strings.Join(r.JudgedBy, " and "), v.self, other.Error())
	return nil
}

// tapeFits compares the digest of the ticks with the one that r has.
func tapeFits(r rollout.Rollout, ticks []json.RawMessage, at place) error {
	digest := ""
	for _, t := range ticks {
		sum := sha256.Sum256(append([]byte(digest), t...))
		digest = hex.EncodeToString(sum[:])
	}
	if len(ticks) != r.Tape.Ticks {
		return at("ticks", fmt.Sprintf("%d ticks", len(ticks)), fmt.Sprintf("%d, as many as the rollout's tape has", r.Tape.Ticks))
	}
	if digest != r.Tape.Digest {
		return at("ticks", fmt.Sprintf("%d ticks with the digest %s", len(ticks), quote(digest)), quote(r.Tape.Digest)+", as the rollout's tape has")
	}
	return nil
}

// replay judges the ticks again. other is the first verdict that is not the recorded one, nil when all are.
func replay(r rollout.Rollout, by policy.Rules, ticks []json.RawMessage, at place) (again rollout.Rollout, other *Misfit, err error) {
	again = r.Begun()
	for i, text := range ticks {
		var t rollout.JudgedTick
		where := fmt.Sprintf("ticks[%d]", i)
		if err := json.Unmarshal(text, &t); err != nil {
			return again, nil, at(where, "what can not be read: "+err.Error(), "a tick")
		}
		policy.Advance(by, &again, t.Tick)
		want := rollout.Judge(t.Tick, again.Verdict)
		switch {
		case other != nil:
		case t.Outcome != want.Outcome:
			other = at(where+".outcome", quote(string(t.Outcome)), quote(string(want.Outcome))+", by the policy")
		case t.Reason != want.Reason:
			other = at(where+".reason", quote(t.Reason), quote(want.Reason)+", by the policy")
		case t.Digest != want.Digest:
			other = at(where+".digest", quote(t.Digest), quote(want.Digest)+", by the policy")
		}
	}
	return again, other, nil
}

// figures are what the recorded ticks lead to.
type figures struct {
	FirstTrafficAt any             `json:"firstTrafficAt"`
	Before         rollout.Counts  `json:"before"`
	Steps          []rollout.Step  `json:"steps"`
	Primary        rollout.Counts  `json:"latest.primary"`
	Verdict        rollout.Verdict `json:"verdict"`
	FailedAt       any             `json:"failedAt"`
	HeldSince      any             `json:"heldSince"`
	WindowOf       any             `json:"windowOf"`
	Evidence       evidence.State  `json:"evidence"`
}

func figuresOf(r rollout.Rollout) figures {
	return figures{r.FirstTrafficAt, r.Before, slices.Clone(r.Steps), r.Latest.Primary, r.Verdict, r.FailedAt, r.HeldSince, r.WindowOf, r.Evidence}
}

// figuresFit compares r's figures with those of again, which was judged from its ticks. What comes after the last tick, when
// the rollout has ended, is not on the tape: the canary's last responses, and the end of the last step.
func figuresFit(r, again rollout.Rollout, at place) *Misfit {
	written, expected := figuresOf(r), figuresOf(again)
	if r.Tape.Ticks == 0 || again.FirstTrafficAt.IsZero() {
		// Without traffic only some ticks are on the tape: there are no figures yet.
		written, expected = figures{FirstTrafficAt: r.FirstTrafficAt, Steps: r.Steps}, figures{FirstTrafficAt: again.FirstTrafficAt, Steps: again.Steps}
	}
	last := len(expected.Steps) - 1
	if last >= 0 && len(written.Steps) == len(expected.Steps) {
		counted, late := expected.Steps[last].Canary, written.Steps[last].Canary
		if late.Good < counted.Good || late.Bad < counted.Bad {
			return at(fmt.Sprintf("rollout.steps[%d].canary", last), fmt.Sprintf("%d good and %d bad responses", late.Good, late.Bad), fmt.Sprintf("at least %d good and %d bad", counted.Good, counted.Bad))
		}
		expected.Steps[last].Canary = late
		if expected.Steps[last].To.IsZero() {
			expected.Steps[last].To = written.Steps[last].To
		}
		var all rollout.Counts
		for _, s := range written.Steps {
			all = all.Add(s.Canary)
		}
		if all != r.Latest.Canary {
			return at("rollout.latest.canary", fmt.Sprintf("%d good and %d bad responses", r.Latest.Canary.Good, r.Latest.Canary.Bad), fmt.Sprintf("%d good and %d bad, the sum of its steps", all.Good, all.Bad))
		}
	}
	if d := differ("rollout", tree(written), tree(expected)); d != nil {
		return at(d.where, d.written, d.expected+", by its ticks")
	}
	return nil
}
