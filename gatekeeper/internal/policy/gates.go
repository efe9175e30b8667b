package policy

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Stage is what a rollout wants to do next.
type Stage string

// The three stages. Traffic that grows from 0 % is a start too: a revision that is pushed during an analysis never
// passes confirm-rollout (flagger-facts §0.7).
const (
	StageStart     Stage = "start"     // confirm-rollout
	StageIncrease  Stage = "increase"  // confirm-traffic-increase
	StagePromotion Stage = "promotion" // confirm-promotion
)

// GateKind is what a gate looks at.
type GateKind string

// The closed list of gates, in the order in which they are listed.
const (
	GateClock     GateKind = "clock"
	GateHold      GateKind = "hold"
	GateApproval  GateKind = "approval"
	GateFreeze    GateKind = "freeze"
	GateBudget    GateKind = "budget"
	GateInFlight  GateKind = "in-flight"
	GateDependsOn GateKind = "depends-on"
	GateAlerts    GateKind = "alerts"
)

// Gate is whether people and surroundings let a rollout go on, and why. Stages are those that it holds while it is closed.
type Gate struct {
	Kind    GateKind  `json:"kind"`
	Stages  []Stage   `json:"stages"`
	Open    bool      `json:"open"`
	Why     string    `json:"why"`
	Value   string    `json:"value,omitempty"`
	OpensAt time.Time `json:"opensAt"` // zero: not known
}

// Holds reports whether the gate is closed and holds at one of the stages.
func (g Gate) Holds(stages []Stage) bool {
	return !g.Open && slices.ContainsFunc(g.Stages, func(s Stage) bool { return slices.Contains(stages, s) })
}

// Next are the stages of what r wants to do next; none once Flagger asks for no more verdicts.
func Next(r rollout.Rollout) []Stage {
	switch {
	case !r.Phase.Analysed():
		return nil
	case r.Phase == rollout.WaitingPromotion || r.Latest.Weight >= 100:
		return []Stage{StagePromotion}
	case r.Latest.Weight == 0:
		return []Stage{StageStart, StageIncrease}
	default:
		return []Stage{StageIncrease}
	}
}

// Surroundings are what the gates look at beside the rollout itself.
type Surroundings struct {
	Others        []rollout.Rollout   // all open ones of other Canaries
	Canaries      []rollout.Canary    // all
	Policies      Set                 // of the others: what they wait for
	Alerts        []Alert             // that fire now
	Budget        *rollout.BudgetLeft // nil: not known
	BudgetTrouble string              // why it is not
	// Clocks are what the wall's clock may show: more than one for a while after it was set, and a freeze must be over by
	// each. Empty: now.
	Clocks []time.Time
	Clock  *ClockTrouble // nil: none
}

// ClockTrouble holds everything: by the clock it is earlier than what was recorded last.
type ClockTrouble struct {
	Recorded time.Time // last
	Behind   time.Duration
	Until    time.Time // when it holds no longer, at the latest
}

// Alert is one that fires, until it is told again at the latest.
type Alert struct {
	Labels  map[string]string
	Summary string
	Since   time.Time
	Until   time.Time
}

// Others reports whether the gates look at other rollouts.
func (g GateRules) Others() bool {
	return g.InFlight == OnePerSpace || g.InFlight == OnePerPolicy || len(g.DependsOn) > 0
}

const (
	// maxBudgetAge is how old the figures of the budget may be: a window of an hour, the shortest, moves by a quarter in it.
	maxBudgetAge = 15 * time.Minute
	// passTime is how long a frozen rollout must still be held for others to pass it: until it is free they are seen to
	// have begun.
	passTime = 2 * time.Minute
)

// GatesAt are the gates of Gates that hold r at this stage, closed ones first. Which gate holds what:
//
//	gate                     start, and growing from 0 %   growing   promotion
//	clock                    x                             x         x
//	hold                     x                             x         x
//	approval start           x
//	approval promotion                                               x
//	approval both            x                                       x, by an approval given since the first traffic
//	freeze                   x                                       x
//	budget.minRemaining      x
//	budget.perRollout                                      x         x
//	inFlight                 x
//	dependsOn                x
//	alerts                   x                             x         x
//
// A freeze and a dependency do not stop traffic that already flows from growing: half a release is no better to leave
// over a weekend than most of one, and its promotion waits.
func GatesAt(stage Stage, rules Rules, r rollout.Rollout, s Surroundings, now time.Time) []Gate {
	_, underWay := r.Step()
	starts := stage == StageStart || stage == StageIncrease && !underWay
	holds := func(g Gate) bool {
		return slices.Contains(g.Stages, stage) || starts && slices.Contains(g.Stages, StageStart)
	}
	return slices.DeleteFunc(Gates(rules, r, s, now), func(g Gate) bool { return !holds(g) })
}

// Passage is one question of Flagger's that came as far as the gates.
type Passage struct {
	Stage Stage
	Gates []Gate // that hold or let through at this stage
	At    time.Time
}

// Pass is the passage that a question comes to; ok is false where it has none: nothing is to be confirmed, or what is judged
// stands against it already.
func Pass(hook rollout.Hook, rules Rules, c Case, now time.Time) (p Passage, ok bool) {
	p.Stage, ok = map[rollout.Hook]Stage{
		rollout.ConfirmRollout: StageStart, rollout.ConfirmTrafficIncrease: StageIncrease, rollout.ConfirmPromotion: StagePromotion,
	}[hook]
	r := c.Rollout
	if !ok || r == nil || !sameRevision(c) {
		return Passage{}, false
	}
	if p.At = now; hook == rollout.ConfirmRollout {
		if _, refused := r.Refused(now); refused {
			return p, true // it is let through, to be sent back
		}
	} else if _, underWay := r.Step(); r.Verdict.Outcome != rollout.Pass || stale(r, now) || hook == rollout.ConfirmPromotion && !underWay {
		return Passage{}, false
	}
	p.Gates = GatesAt(p.Stage, rules, *r, c.Around, now)
	return p, true
}

// Gates are all gates that the rules configure, closed ones first, otherwise in the order of the constants. It is pure and
// total: what can not be known closes its gate and says so. A rejected rollout is the caller's to let through, so that
// Flagger can send it back.
func Gates(rules Rules, r rollout.Rollout, s Surroundings, now time.Time) []Gate {
	if len(s.Clocks) == 0 {
		s.Clocks = []time.Time{now}
	}
	gates := slices.Concat(s.Clock.gate(), pause(r, now), approvals(rules.Gates, r, now))
	if len(rules.Gates.Freeze) > 0 {
		gates = append(gates, freeze(rules.Gates.Freeze, r.Revision, s.Clocks...))
	}
	if rules.Budget != nil {
		gates = append(gates, budget(rules, r, s, now)...)
	}
	q := queue{r, s, rules}
	if scope := rules.Gates.InFlight; scope == OnePerSpace || scope == OnePerPolicy {
		gates = append(gates, q.inFlight())
	}
	if len(rules.Gates.DependsOn) > 0 {
		gates = append(gates, q.dependsOn())
	}
	if len(rules.Gates.Alerts) > 0 {
		gates = append(gates, alerts(rules.Gates.Alerts, s.Alerts))
	}
	slices.SortStableFunc(gates, func(a, b Gate) int {
		switch {
		case a.Open == b.Open:
			return 0
		case a.Open:
			return 1
		default:
			return -1
		}
	})
	return gates
}

// gate is there while there is trouble, without a rule.
func (c *ClockTrouble) gate() []Gate {
	if c == nil {
		return nil
	}
	return []Gate{{
		Kind: GateClock, Stages: []Stage{StageStart, StageIncrease, StagePromotion}, OpensAt: c.Until,
		Why: fmt.Sprintf("the clock was set back: it is %s before what was recorded last, at %s; see that the node's time is right", span(c.Behind.Round(time.Second)), minute(c.Recorded)),
	}}
}

// pause is there while a person holds the rollout where it is, without a rule: anybody who may decide may say stop.
func pause(r rollout.Rollout, now time.Time) []Gate {
	d, ok := r.Paused(now)
	if !ok {
		return nil
	}
	return []Gate{{Kind: GateHold, Stages: []Stage{StageStart, StageIncrease, StagePromotion}, Why: d.Text() + "; it goes on when a person resumes it", Value: d.By}}
}

// approvals holds for a person. Where both the start and the promotion need one, the first approval does not serve for
// the second: that is given in sight of the canary's traffic.
func approvals(g GateRules, r rollout.Rollout, now time.Time) []Gate {
	gate := func(stage Stage, since time.Time) Gate {
		for _, d := range r.Decisions {
			inForce := !d.At.After(now) && (d.ExpiresAt.IsZero() || now.Before(d.ExpiresAt))
			if d.Kind == rollout.Approve && inForce && !d.At.Before(since) {
				why := "approved by " + d.By
				if !d.ExpiresAt.IsZero() {
					why += " until " + minute(d.ExpiresAt)
				}
				return Gate{Kind: GateApproval, Stages: []Stage{stage}, Open: true, Why: why, Value: d.By}
			}
		}
		return Gate{Kind: GateApproval, Stages: []Stage{stage}, Why: "a person must approve the " + string(stage)}
	}
	var gates []Gate
	if g.Approval == ApproveStart || g.Approval == ApproveBoth {
		gates = append(gates, gate(StageStart, time.Time{}))
	}
	switch {
	case g.Approval == ApprovePromotion:
		gates = append(gates, gate(StagePromotion, time.Time{}))
	case g.Approval == ApproveBoth && r.FirstTrafficAt.IsZero():
		gates = append(gates, Gate{Kind: GateApproval, Stages: []Stage{StagePromotion}, Why: "a person must approve the promotion, once there is traffic"})
	case g.Approval == ApproveBoth:
		gates = append(gates, gate(StagePromotion, r.FirstTrafficAt))
	}
	return gates
}

func freeze(windows []Freeze, revision rollout.Revision, clocks ...time.Time) Gate {
	gate := Gate{Kind: GateFreeze, Stages: []Stage{StageStart, StagePromotion}, Open: true, Why: "no freeze holds now"}
	for _, now := range clocks {
		at, by, frozen, err := thaw(windows, revision, now)
		switch {
		case err != nil:
			gate.Open, gate.Why = false, "no calendar: "+err.Error()
		case frozen:
			gate.Open, gate.OpensAt = false, at
			gate.Why = fmt.Sprintf("frozen from %s to %s (%s)", by.From, by.To, by.Zone)
		}
	}
	return gate
}

// budget has one gate for the budget that is left to the service and one for what this rollout alone took of it.
func budget(rules Rules, r rollout.Rollout, s Surroundings, now time.Time) []Gate {
	left := Gate{Kind: GateBudget, Stages: []Stage{StageStart}}
	own := Gate{Kind: GateBudget, Stages: []Stage{StageIncrease, StagePromotion}}
	window := span(rules.Budget.Window)
	switch {
	case s.Budget == nil || now.Sub(s.Budget.At) > maxBudgetAge || !isCount(s.Budget.Requests) || !isCount(s.Budget.Bad):
		why := cmp.Or(s.BudgetTrouble, "no figures of the last "+span(maxBudgetAge))
		left.Why = "how much of the error budget of " + window + " is left is not known: " + why
		own.Why = left.Why
	default:
		// The figures are some minutes old: what this rollout served and failed since may be more.
		requests := max(s.Budget.Requests, s.Budget.Bad, float64(r.Latest.Canary.Total()), 1)
		spent := func(bad float64) float64 { return 100 * bad / (requests * rules.Allowed()) }
		remaining := 100 - spent(s.Budget.Bad)
		left.Open = remaining >= rules.Budget.MinRemaining || rules.Budget.MinRemaining == 0
		left.Value = fmt.Sprintf("%s of the error budget of %s is left", whole(remaining), window)
		if remaining < 0 {
			left.Value = fmt.Sprintf("the error budget of %s is overspent by %s", window, whole(-remaining))
		}
		left.Why = left.Value + ", a rollout needs " + percent(rules.Budget.MinRemaining)
		took := spent(float64(r.Latest.Canary.Bad))
		own.Open = took <= rules.Budget.PerRollout
		own.Value = fmt.Sprintf("this rollout spent %s of the error budget of %s", percent(took), window)
		own.Why = own.Value + ", it may spend " + percent(rules.Budget.PerRollout)
	}
	var gates []Gate
	if rules.Budget.MinRemaining != 0 {
		gates = append(gates, left)
	}
	if rules.Budget.PerRollout != 0 {
		gates = append(gates, own)
	}
	return gates
}

// isCount rules out what a query may answer that is no count: NaN, an infinity, less than nothing.
func isCount(v float64) bool { return v >= 0 && v <= math.MaxFloat64 }

// whole rounds down, so that what is short of a limit never reads as the limit.
func whole(p float64) string { return fmt.Sprintf("%.0f %%", math.Floor(p)) }

func alerts(want map[string]string, firing []Alert) Gate {
	gate := Gate{Kind: GateAlerts, Stages: []Stage{StageStart, StageIncrease, StagePromotion}, Open: true}
	gate.Why = "no alert with " + labelList(want) + " fires"
	matching := slices.DeleteFunc(slices.Clone(firing), func(a Alert) bool {
		for label, value := range want {
			if a.Labels[label] != value {
				return true
			}
		}
		return false
	})
	if len(matching) == 0 {
		return gate
	}
	slices.SortStableFunc(matching, func(a, b Alert) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Labels["alertname"], b.Labels["alertname"]))
	})
	first := matching[0]
	gate.Open = false
	gate.Why = fmt.Sprintf("alert %s fires since %s", cmp.Or(first.Labels["alertname"], "without a name"), minute(first.Since))
	if first.Summary != "" {
		gate.Why += ": " + first.Summary
	}
	if more := len(matching) - 1; more > 0 {
		gate.Why += fmt.Sprintf(" (and %d more)", more)
	}
	return gate
}

func labelList(labels map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, name+"="+labels[name])
	}
	return strings.Join(all, ", ")
}

// minute writes a time for people.
func minute(t time.Time) string { return t.Format("Mon 2006-01-02 15:04 MST") }
