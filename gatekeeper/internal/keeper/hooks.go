package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// board is what hooks are answered from: how things stood at the end of the last evaluation. It is never written to once it
// hangs.
type board struct {
	canaries map[rollout.Key]rollout.Canary
	open     map[rollout.Key]*rollout.Rollout
	rules    map[rollout.Key]policy.Rules  // of the open ones
	others   []rollout.Rollout             // all open ones, in the order of their ids
	ahead    map[rollout.Key]time.Duration // of the open ones
	seen     map[rollout.Key]time.Time     // of when the counts of the open ones' canaries are
	all      []rollout.Canary
	clocks   clocks
	alerts   []policy.Alert
	budgets  map[rollout.Key]budget
	trouble  error
	at       time.Time
}

// boardAge is how old the board may be for a gate to open by it.
const boardAge = 10 * time.Second

// publish hangs up a new board. The caller holds mu.
func (k *Keeper) publish() {
	b := &board{
		canaries: k.canaries, open: map[rollout.Key]*rollout.Rollout{}, rules: map[rollout.Key]policy.Rules{}, budgets: maps.Clone(k.budgets), trouble: k.trouble,
		ahead: map[rollout.Key]time.Duration{}, seen: map[rollout.Key]time.Time{}, clocks: k.clocks,
	}
	for _, id := range slices.Sorted(maps.Keys(k.runs)) {
		if r := k.runs[id]; r.rollout.Result == "" {
			open := r.rollout.Copy()
			b.open[open.Canary], b.rules[open.Canary], b.ahead[open.Canary] = &open, r.rules, r.ahead
			b.seen[open.Canary] = r.lastSeen()
			b.others = append(b.others, open)
		}
	}
	for _, c := range k.canaries {
		b.all = append(b.all, c)
	}
	now := k.cfg.Now()
	b.at = now
	for _, id := range slices.Sorted(maps.Keys(k.alerts)) {
		// A clock that was set forward ends no alert.
		if a := k.alerts[id]; a.Until.IsZero() || now.Before(a.Until) || k.cfg.Wall().Before(a.Until) {
			b.alerts = append(b.alerts, a)
		}
	}
	k.board.Store(b)
}

// around is what surrounds the rollout of one Canary at now, by Config.Now, as far as its rules ask for it.
func (b *board) around(key rollout.Key, rules policy.Rules, policies policy.Set, now time.Time) policy.Surroundings {
	s := policy.Surroundings{Canaries: b.all, Policies: policies, Alerts: b.alerts, Clocks: b.clocks.shown(now), Clock: b.clocks.trouble(now)}
	if rules.Gates.Others() {
		for _, r := range b.others {
			if r.Canary != key {
				s.Others = append(s.Others, r)
			}
		}
	}
	got, ok := b.budgets[key]
	switch {
	case !ok:
		s.BudgetTrouble = "it was not asked for yet"
	case got.trouble != "":
		s.BudgetTrouble = got.trouble
	default:
		got.left.At = got.left.At.Add(b.ahead[key])
		s.Budget = &got.left
	}
	return s
}

// calls remembers when Flagger last asked about each Canary.
type calls struct {
	mu sync.Mutex
	at map[rollout.Key]time.Time
}

func (c *calls) note(key rollout.Key, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = map[rollout.Key]time.Time{}
	}
	c.at[key] = now
}

func (c *calls) last(key rollout.Key) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[key]
}

func (c *calls) forget(gone func(rollout.Key) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.at, func(key rollout.Key, _ time.Time) bool { return gone(key) })
}

// Ask answers one of Flagger's questions from memory. The error is rollout.ErrUnknownCanary or nil.
func (k *Keeper) Ask(hook rollout.Hook, key rollout.Key) (yes bool, why string, err error) {
	now, b := k.cfg.Now(), k.board.Load()
	canary, known := b.canaries[key]
	if !known {
		return false, "", fmt.Errorf("canary %s: %w", key, rollout.ErrUnknownCanary)
	}
	k.calls.note(key, now)
	// A no to pre-rollout or rollout burns one of the Canary's failed checks, for trouble that is ours: they are not asked
	// to be confirmed by anything.
	confirms := hook == rollout.ConfirmRollout || hook == rollout.ConfirmTrafficIncrease || hook == rollout.ConfirmPromotion
	switch {
	case confirms && b.trouble != nil:
		return false, "the gatekeeper can not record what it decides, nothing may go on: see its log", nil
	case confirms && now.Sub(b.at) > boardAge:
		return false, fmt.Sprintf("the gatekeeper's last evaluation is %s old, nothing may go on: see its log", now.Sub(b.at).Round(time.Second)), nil
	}
	rules, r := k.rulesOf(b, canary)
	asked, at := policy.Case{Rollout: r, Canary: canary, Around: b.around(key, rules, k.cfg.Policies, now)}, now.Add(b.ahead[key])
	if p, ok := policy.Pass(hook, rules, asked, at); ok && (len(p.Gates) > 0 || r.IsHeld()) {
		k.passages.note(r.ID, p)
	}
	yes, why = policy.Answer(hook, rules, asked, at)
	return yes, why, nil
}

// rulesOf are the rules of a Canary's rollout under way, or of its next one.
func (k *Keeper) rulesOf(b *board, c rollout.Canary) (policy.Rules, *rollout.Rollout) {
	if open := b.open[c.Key]; open != nil {
		return b.rules[c.Key], open
	}
	return k.cfg.Policies.For(c.Policy), nil
}

// Why says how a Canary stands, from memory. The error is rollout.ErrUnknownCanary or nil.
func (k *Keeper) Why(key rollout.Key) (policy.Standing, error) {
	now, b := k.cfg.Now(), k.board.Load()
	canary, known := b.canaries[key]
	if !known {
		return policy.Standing{}, fmt.Errorf("canary %s: %w", key, rollout.ErrUnknownCanary)
	}
	rules, r := k.rulesOf(b, canary)
	about := rollout.New(canary, now)
	if r != nil {
		about = *r
	}
	s := policy.Standing{Canary: key, Phase: canary.Phase, Weight: canary.Weight, Revision: canary.Revision, Stable: canary.Stable, Rollout: r, Gates: policy.Gates(rules, about, b.around(key, rules, k.cfg.Policies, now), now.Add(b.ahead[key])), Silent: -1}
	if last := k.calls.last(key); !last.IsZero() {
		s.Silent = now.Sub(last).Seconds()
	}
	return s, nil
}

// AnyVersion in place of a rollout's version decides whatever was said meanwhile.
const AnyVersion = -1

// Standings are how all Canaries stand, in the order of their names.
func (k *Keeper) Standings() []policy.Standing {
	var all []policy.Standing
	for _, c := range k.board.Load().all {
		if s, err := k.Why(c.Key); err == nil { // an error: it went away meanwhile
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b policy.Standing) int { return strings.Compare(a.Canary.String(), b.Canary.String()) })
	return all
}

// Canaries are all that the cluster has, from memory. The slice is the caller's, what it points to is not.
func (k *Keeper) Canaries() []rollout.Canary { return slices.Clone(k.board.Load().all) }

// Decide records what a person said about an open rollout in sight of its version, durably and in the ledger; gates see it
// at once, the verdict with the next evaluation. The error is of kind rollout.ErrNotFound, rollout.ErrOver or
// rollout.ErrChanged, or says what could not be recorded.
func (k *Keeper) Decide(ctx context.Context, id string, inSightOf int, d rollout.Decision) (rollout.Rollout, error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	r, known := k.runs[id]
	if !known || r.rollout.Result != "" {
		k.mu.Unlock()
		if known {
			return rollout.Rollout{}, fmt.Errorf("%s rollout %s: it has ended as %s: %w", d.Kind, id, r.rollout.Result, rollout.ErrOver)
		}
		return rollout.Rollout{}, fmt.Errorf("%s rollout %q: no such rollout is under way: %w", d.Kind, id, rollout.ErrNotFound)
	}
	if inSightOf != AnyVersion && inSightOf != r.rollout.Version {
		version := r.rollout.Version
		k.mu.Unlock()
		return rollout.Rollout{}, fmt.Errorf("%s rollout %s: it has version %d now, you looked at %d; look again: %w", d.Kind, id, version, inSightOf, rollout.ErrChanged)
	}
	d.At = k.cfg.Now().Add(r.ahead)
	if refused, ok := r.rollout.Refused(d.At); ok || r.rollout.Verdict.Outcome == rollout.Fail {
		k.mu.Unlock()
		why := r.rollout.Verdict.Text()
		if ok {
			why = refused.Text()
		}
		return rollout.Rollout{}, fmt.Errorf("%s rollout %s: it is being rolled back already, %s: %w", d.Kind, id, why, rollout.ErrOver)
	}
	before := r.rollout.Copy()
	if ttl := r.rules.Gates.ApprovalTTL; d.Kind == rollout.Approve && ttl > 0 {
		d.ExpiresAt = d.At.Add(ttl)
	}
	body, err := json.Marshal(d)
	if err != nil {
		k.mu.Unlock()
		return rollout.Rollout{}, fmt.Errorf("encode decision: %w", err)
	}
	r.rollout.Decisions = append(slices.Clip(r.rollout.Decisions), d)
	r.rollout.Version++
	r.rollout.Note(d.At, "gatekeeper", d.Text())
	r.entries = append(r.entries, rollout.Entry{At: d.At, Kind: rollout.EntryDecision, Rollout: id, Body: body})
	k.mu.Unlock()
	err = k.save(context.WithoutCancel(ctx), r) // who decided may go away: that must not leave it open what was recorded
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil { // nobody was let through, and nothing says so
		r.rollout.Decisions, r.rollout.Timeline, r.rollout.Version = before.Decisions, before.Timeline, before.Version
		r.entries = r.entries[:len(r.entries)-1]
		return rollout.Rollout{}, err
	}
	k.publish()
	return r.rollout.Copy(), nil
}

// noise are Flagger's messages that repeat at every tick and tell a reader of the timeline nothing.
func noise(text string) bool {
	for _, part := range []string{"not signaling a rollback", "check ", "Starting canary analysis"} {
		if strings.Contains(text, part) && !strings.Contains(text, "Halt ") {
			return true
		}
	}
	return false
}

// Heard writes one of Flagger's events into the timeline of the rollout under way, durably. Events of Canaries without
// one are dropped: Flagger reports its first installation too.
func (k *Keeper) Heard(ctx context.Context, key rollout.Key, text string) error {
	if noise(text) {
		return nil
	}
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	open := k.open(key)
	if open != nil {
		open.rollout.Note(k.cfg.Now().Add(open.ahead), "flagger", text)
	}
	k.mu.Unlock()
	if open == nil {
		return nil
	}
	return k.save(ctx, open)
}

// Finished notes Flagger's post-rollout message, durably. It does not end the rollout: the Canary's status, which
// Flagger writes before, does so at the next tick.
func (k *Keeper) Finished(ctx context.Context, key rollout.Key, phase rollout.Phase) error {
	return k.Heard(ctx, key, "post-rollout: "+string(phase))
}
