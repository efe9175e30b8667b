package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// queue answers for one rollout whether others go before it.
type queue struct {
	r     rollout.Rollout
	s     Surroundings
	rules Rules // of r
}

// rank puts rollouts with traffic or past their analysis first: no gate of a start holds them any more. Then come those
// that Flagger has let start, then those that wait.
func rank(r rollout.Rollout) int {
	_, flows := r.Step()
	switch {
	case flows || r.Phase.UnderWay() && !r.Phase.Analysed():
		return 0
	case r.Phase.UnderWay() && r.Phase != rollout.Waiting:
		return 1
	default:
		return 2
	}
}

// first are the open rollouts that go before r. All waiting follows this one order, so that of several exactly one is
// first and none wait for each other: by rank, then by time, but one without traffic after those that it depends on. Of
// Canaries that depend on each other the earlier one goes first.
func (q queue) first() []rollout.Rollout {
	left := append(slices.DeleteFunc(slices.Clone(q.s.Others), func(o rollout.Rollout) bool {
		return o.Result != "" || o.Canary == q.r.Canary
	}), q.r)
	slices.SortFunc(left, func(a, b rollout.Rollout) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	var gone []rollout.Rollout
	for {
		i := max(0, slices.IndexFunc(left, func(o rollout.Rollout) bool {
			needs := q.waitsFor(o.Canary)
			return rank(o) == 0 || !slices.ContainsFunc(left, func(l rollout.Rollout) bool {
				return slices.Contains(needs, l.Canary) && !slices.Contains(q.waitsFor(l.Canary), o.Canary)
			})
		}))
		if left[i].Canary == q.r.Canary {
			return gone
		}
		gone, left = append(gone, left[i]), slices.Delete(left, i, i+1)
	}
}

// inFlight lets the first of the rollouts in the same scope go. A frozen one is passed, so that a hotfix need not wait for
// the end of the others' freeze.
func (q queue) inFlight() Gate {
	gate := Gate{Kind: GateInFlight, Stages: []Stage{StageStart}, Open: true, Why: "no other rollout goes before this one"}
	for _, o := range q.first() {
		inScope := o.Policy == q.r.Policy
		if q.rules.Gates.InFlight == OnePerSpace {
			inScope = o.Canary.Namespace == q.r.Canary.Namespace
		}
		if !inScope || rank(o) > 0 && q.frozen(o) {
			continue
		}
		how := "waits since %s and goes first"
		if rank(o) < 2 {
			how = "is under way since %s"
		}
		gate.Open, gate.Value = false, o.ID
		gate.Why = fmt.Sprintf("one rollout at a time in this %s: %s of %s "+how, q.rules.Gates.InFlight, o.Revision.Label(), o.Canary, minute(o.StartedAt))
		return gate
	}
	return gate
}

// frozen reports whether a rollout is held by its freeze for long enough to pass it.
func (q queue) frozen(o rollout.Rollout) bool {
	return slices.ContainsFunc(q.s.Clocks, func(now time.Time) bool {
		at, _, frozen, err := thaw(q.s.Policies.For(o.Policy).Gates.Freeze, o.Revision, now)
		return frozen && err == nil && (at.IsZero() || at.Sub(now) > passTime)
	})
}

// dependsOn holds while a Canary that r depends on is released, broken or not there, and while one is released on which
// such a release waits in turn. A Canary does not depend on itself, so that one policy can serve it and its dependents.
func (q queue) dependsOn() Gate {
	gate := Gate{Kind: GateDependsOn, Stages: []Stage{StageStart}, Value: strings.Join(q.rules.Gates.DependsOn, ", ")}
	first := q.first()
	for _, key := range q.waitsFor(q.r.Canary) {
		if i := slices.IndexFunc(first, func(o rollout.Rollout) bool { return o.Canary == key }); i >= 0 {
			gate.Why = fmt.Sprintf("depends on %s, whose %s is being released", key, first[i].Revision.Label())
			return gate
		}
	}
	for _, key := range q.dependencies(q.r.Canary) {
		if why := q.broken(key); why != "" {
			gate.Why = why
			return gate
		}
	}
	gate.Open, gate.Why = true, "all that it depends on is released"
	return gate
}

// broken says what is wrong with a Canary that has no open rollout, "" when nothing is.
func (q queue) broken(key rollout.Key) string {
	if _, ok := q.open(key); ok {
		return ""
	}
	i := slices.IndexFunc(q.s.Canaries, func(c rollout.Canary) bool { return c.Key == key })
	switch {
	case i < 0:
		return fmt.Sprintf("depends on %s, which is not a Canary of this cluster; correct gates.dependsOn or create it", key)
	case q.s.Canaries[i].Phase == rollout.Failed:
		return fmt.Sprintf("depends on %s, whose last release failed; release a version that holds, or take it out of gates.dependsOn", key)
	case q.s.Canaries[i].Phase.UnderWay():
		return fmt.Sprintf("depends on %s, which is being released", key)
	default:
		return ""
	}
}

// waitsFor are the Canaries that one depends on, directly or by way of other open rollouts. It is among them itself when
// they depend on each other.
func (q queue) waitsFor(from rollout.Key) []rollout.Key {
	found := q.dependencies(from)
	for i := 0; i < len(found); i++ {
		for _, key := range q.dependencies(found[i]) {
			if !slices.Contains(found, key) {
				found = append(found, key)
			}
		}
	}
	return found
}

// dependencies are the Canaries that the open rollout of one depends on, none when it has no open one.
func (q queue) dependencies(key rollout.Key) []rollout.Key {
	names := q.rules.Gates.DependsOn
	if key != q.r.Canary {
		o, ok := q.open(key)
		if !ok {
			return nil
		}
		names = q.s.Policies.For(o.Policy).Gates.DependsOn
	}
	var keys []rollout.Key
	for _, name := range names {
		dependency := rollout.Key{Namespace: key.Namespace, Name: name}
		if space, canary, both := strings.Cut(name, "/"); both {
			dependency = rollout.Key{Namespace: space, Name: canary}
		}
		if dependency != key {
			keys = append(keys, dependency)
		}
	}
	return keys
}

// open is the open rollout of another Canary.
func (q queue) open(key rollout.Key) (rollout.Rollout, bool) {
	i := slices.IndexFunc(q.s.Others, func(o rollout.Rollout) bool { return o.Result == "" && o.Canary == key })
	if i < 0 || key == q.r.Canary {
		return rollout.Rollout{}, false
	}
	return q.s.Others[i], true
}
