package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// noon is when the gates of these tests are asked.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// waiting is a rollout of Canary prod/name that waits for its start since minutes before noon.
func waiting(name string, minutes int) rollout.Rollout {
	return rollout.Rollout{
		ID: name, Canary: rollout.Key{Namespace: "prod", Name: name}, Policy: "default", Phase: rollout.Waiting,
		Revision: rollout.Revision{Hash: name + "1"}, StartedAt: noon.Add(-time.Duration(minutes) * time.Minute),
	}
}

// flowing is one that has traffic since it was started.
func flowing(name string, minutes int) rollout.Rollout {
	r := waiting(name, minutes)
	r.Phase, r.FirstTrafficAt = rollout.Progressing, r.StartedAt
	r.Steps = []rollout.Step{{Weight: 10, From: r.StartedAt}}
	r.Latest.Weight = 10
	return r
}

func edited(r rollout.Rollout, edit func(*rollout.Rollout)) rollout.Rollout {
	edit(&r)
	return r
}

func decided(r rollout.Rollout, decisions ...rollout.Decision) rollout.Rollout {
	r.Decisions = decisions
	return r
}

func approval(ago, ttl time.Duration) rollout.Decision {
	d := rollout.Decision{Kind: rollout.Approve, By: "ann", At: noon.Add(-ago)}
	if ttl != 0 {
		d.ExpiresAt = d.At.Add(ttl)
	}
	return d
}

func TestGates(t *testing.T) {
	approves := func(a Approval) Rules { return Rules{Gates: GateRules{Approval: a}} }
	oneOf := func(scope InFlight) Rules { return Rules{Name: "default", Gates: GateRules{InFlight: scope}} }
	needs := func(names ...string) Rules { return Rules{Name: "default", Gates: GateRules{DependsOn: names}} }
	quiet := Rules{Gates: GateRules{Alerts: map[string]string{"severity": "critical", "team": "shop"}}}
	spends := func(least, most float64) Rules {
		return Rules{SLO: SLO{Objective: 99}, Budget: &Budget{Window: 30 * day, MinRemaining: least, PerRollout: most}}
	}
	budget := func(requests, bad float64, ago time.Duration) Surroundings {
		return Surroundings{Budget: &rollout.BudgetLeft{Requests: requests, Bad: bad, At: noon.Add(-ago)}}
	}
	canary := func(name string, phase rollout.Phase) rollout.Canary {
		return rollout.Canary{Key: rollout.Key{Namespace: "prod", Name: name}, Phase: phase}
	}
	me := waiting("me", 10)

	for name, c := range map[string]struct {
		rules Rules
		r     rollout.Rollout
		s     Surroundings
		want  []string // of each gate: "open" or "closed", and part of why
	}{
		"nothing configured":                             {Default(), me, Surroundings{}, nil},
		"a start without approval":                       {approves(ApproveStart), me, Surroundings{}, []string{"closed a person must approve the start"}},
		"an approved start":                              {approves(ApproveStart), decided(me, approval(time.Hour, 0)), Surroundings{}, []string{"open approved by ann"}},
		"an approval in its last hour":                   {approves(ApproveStart), decided(me, approval(3*time.Hour, 4*time.Hour)), Surroundings{}, []string{"open approved by ann until Thu 2026-11-26 13:00 UTC"}},
		"an approval that is over":                       {approves(ApproveStart), decided(me, approval(4*time.Hour, 4*time.Hour)), Surroundings{}, []string{"closed a person must"}},
		"an approval yet to come":                        {approves(ApproveStart), decided(me, approval(-time.Second, 0)), Surroundings{}, []string{"closed a person must"}},
		"a rejection is no approval":                     {approves(ApproveStart), decided(me, rollout.Decision{Kind: rollout.Reject, At: noon}), Surroundings{}, []string{"closed a person must"}},
		"a promotion may be approved before the traffic": {approves(ApprovePromotion), decided(me, approval(time.Hour, 0)), Surroundings{}, []string{"open approved"}},
		"both: one approval serves for the start": {
			approves(ApproveBoth), decided(flowing("me", 10), approval(time.Hour, 0)),
			Surroundings{},
			[]string{"closed a person must approve the promotion", "open approved"},
		},
		"both: the second is given in sight of the traffic": {approves(ApproveBoth), decided(flowing("me", 10), approval(time.Hour, 0), approval(time.Minute, 0)), Surroundings{}, []string{"open approved", "open approved"}},
		"both: without traffic there is nothing to promote": {
			approves(ApproveBoth), decided(me, approval(time.Hour, 0)),
			Surroundings{},
			[]string{"closed a person must approve the promotion, once there is traffic", "open approved"},
		},

		"enough budget":                     {spends(10, 0), me, budget(1e6, 1700, 0), []string{"open 83 % of the error budget of 30d is left, a rollout needs 10 %"}},
		"just enough budget":                {spends(10, 0), me, budget(1e6, 9000, 0), []string{"open 10 % of"}},
		"less than enough does not read so": {spends(10, 0), me, budget(1e6, 9001, 0), []string{"closed 9 % of the error budget of 30d is left, a rollout needs 10 %"}},
		"more than the budget":              {spends(10, 0), me, budget(1e6, 15000, 0), []string{"closed the error budget of 30d is overspent by 50 %"}},
		"no requests, nothing spent":        {spends(10, 0), me, budget(0, 0, 0), []string{"open 100 %"}},
		"no figures":                        {spends(10, 0), me, Surroundings{BudgetTrouble: "Prometheus does not answer"}, []string{"closed how much of the error budget of 30d is left is not known: Prometheus does not answer"}},
		"old figures":                       {spends(10, 0), me, budget(1e6, 0, 16*time.Minute), []string{"closed how much of the error budget of 30d is left is not known: no figures of the last 15m"}},
		"figures that are none":             {spends(10, 0), me, budget(math.NaN(), 0, 0), []string{"closed how much"}},
		"a rollout that spent too much": {
			spends(0, 1), edited(flowing("me", 10), func(r *rollout.Rollout) { r.Latest.Canary = rollout.Counts{Good: 900, Bad: 101} }), budget(1e6, 101, 0),
			[]string{"closed this rollout spent 1.01 % of the error budget of 30d, it may spend 1 %"},
		},
		"a rollout that spent its share": {
			spends(0, 1), edited(flowing("me", 10), func(r *rollout.Rollout) { r.Latest.Canary = rollout.Counts{Good: 900, Bad: 100} }), budget(1e6, 100, 0),
			[]string{"open this rollout spent 1 %"},
		},
		"a budget older than the service's first requests": {
			spends(10, 1), edited(flowing("me", 10), func(r *rollout.Rollout) { r.Latest.Canary = rollout.Counts{Good: 90, Bad: 10} }), budget(0, 0, 0),
			[]string{"closed this rollout spent 1000 %", "open 100 %"},
		},

		"alone in flight":                      {oneOf(OnePerSpace), me, Surroundings{}, []string{"open no other"}},
		"another is under way":                 {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{flowing("a", 1)}}, []string{"closed one rollout at a time in this namespace: a1 of prod/a is under way since"}},
		"another has ended":                    {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{edited(flowing("a", 20), func(r *rollout.Rollout) { r.Result = rollout.Promoted })}}, []string{"open"}},
		"another in another namespace":         {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{edited(flowing("a", 20), func(r *rollout.Rollout) { r.Canary.Namespace = "test" })}}, []string{"open"}},
		"another of another policy":            {oneOf(OnePerPolicy), me, Surroundings{Others: []rollout.Rollout{edited(flowing("a", 20), func(r *rollout.Rollout) { r.Policy = "lax" })}}, []string{"open"}},
		"another of this policy anywhere":      {oneOf(OnePerPolicy), me, Surroundings{Others: []rollout.Rollout{edited(flowing("a", 20), func(r *rollout.Rollout) { r.Canary.Namespace = "test" })}}, []string{"closed one rollout at a time in this policy"}},
		"an earlier one waits too":             {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{waiting("a", 11)}}, []string{"closed one rollout at a time in this namespace: a1 of prod/a waits since"}},
		"a later one waits too":                {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{waiting("a", 9)}}, []string{"open"}},
		"of two at once the first by id goes":  {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{waiting("a", 10)}}, []string{"closed"}},
		"the second by id waits":               {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{waiting("z", 10)}}, []string{"open"}},
		"its own superseded revision":          {oneOf(OnePerSpace), me, Surroundings{Others: []rollout.Rollout{flowing("me", 30)}}, []string{"open"}},
		"one that has begun goes before those": {oneOf(OnePerSpace), flowing("me", 5), Surroundings{Others: []rollout.Rollout{waiting("a", 60)}}, []string{"open"}},
		"a frozen one is passed": {oneOf(OnePerSpace), me, Surroundings{
			Others:   []rollout.Rollout{waiting("a", 60)},
			Policies: Set{"default": {Gates: GateRules{Freeze: []Freeze{{From: "Thu 11:00", To: "Thu 12:03", Zone: "UTC"}}}}},
		}, []string{"open"}},
		"but not in its last minutes": {oneOf(OnePerSpace), me, Surroundings{
			Others:   []rollout.Rollout{waiting("a", 60)},
			Policies: Set{"default": {Gates: GateRules{Freeze: []Freeze{{From: "Thu 11:00", To: "Thu 12:02", Zone: "UTC"}}}}},
		}, []string{"closed"}},
		"one with traffic is not passed, frozen or not": {oneOf(OnePerSpace), me, Surroundings{
			Others:   []rollout.Rollout{flowing("a", 60)},
			Policies: Set{"default": {Gates: GateRules{Freeze: []Freeze{{From: "Thu 11:00", To: "Fri 12:00", Zone: "UTC"}}}}},
		}, []string{"closed"}},
		"one that is being promoted is not passed": {oneOf(OnePerSpace), me, Surroundings{
			Others:   []rollout.Rollout{edited(waiting("a", 60), func(r *rollout.Rollout) { r.Phase = rollout.Promoting })},
			Policies: Set{"default": {Gates: GateRules{Freeze: []Freeze{{From: "Thu 11:00", To: "Fri 12:00", Zone: "UTC"}}}}},
		}, []string{"closed"}},
		"one that depends on this is passed": {oneOf(OnePerSpace), me, Surroundings{
			Others: []rollout.Rollout{waiting("a", 60)}, Policies: Set{"default": {Gates: GateRules{DependsOn: []string{"me"}}}},
		}, []string{"open"}},

		"a dependency that is released":   {needs("db"), me, Surroundings{Canaries: []rollout.Canary{canary("db", rollout.Succeeded)}}, []string{"open all"}},
		"a dependency under way":          {needs("db"), me, Surroundings{Others: []rollout.Rollout{waiting("db", 1)}, Canaries: []rollout.Canary{canary("db", rollout.Succeeded)}}, []string{"closed depends on prod/db, whose db1 is being released"}},
		"a dependency seen only there":    {needs("db"), me, Surroundings{Canaries: []rollout.Canary{canary("db", rollout.Progressing)}}, []string{"closed depends on prod/db, which is being released"}},
		"a dependency that failed":        {needs("db"), me, Surroundings{Canaries: []rollout.Canary{canary("db", rollout.Failed)}}, []string{"closed depends on prod/db, whose last release failed"}},
		"a dependency that is not there":  {needs("test/db"), me, Surroundings{Canaries: []rollout.Canary{canary("db", rollout.Succeeded)}}, []string{"closed depends on test/db, which is not a Canary"}},
		"itself among the dependencies":   {needs("me", "prod/me"), me, Surroundings{}, []string{"open"}},
		"a dependency's dependency waits": {needs("a"), me, Surroundings{Others: []rollout.Rollout{waiting("a", 1), waiting("b", 1)}, Policies: Set{"default": needs("b")}}, []string{"closed depends on prod/a"}},
		"of two that need each other the first goes": {needs("a", "me"), me, Surroundings{
			Others: []rollout.Rollout{waiting("a", 9)}, Policies: Set{"default": needs("a", "me")},
		}, []string{"open"}},
		"and the second waits": {needs("a", "me"), me, Surroundings{
			Others: []rollout.Rollout{waiting("a", 11)}, Policies: Set{"default": needs("a", "me")},
		}, []string{"closed depends on prod/a"}},

		"no alerts":                 {quiet, me, Surroundings{}, []string{"open no alert with severity=critical, team=shop fires"}},
		"an alert of another team":  {quiet, me, Surroundings{Alerts: []Alert{{Labels: map[string]string{"severity": "critical", "team": "pay"}}}}, []string{"open"}},
		"an alert without the team": {quiet, me, Surroundings{Alerts: []Alert{{Labels: map[string]string{"severity": "critical"}}}}, []string{"open"}},
		"two alerts, the older is named": {quiet, me, Surroundings{Alerts: []Alert{
			{Labels: map[string]string{"severity": "critical", "team": "shop", "alertname": "Young"}, Since: noon},
			{Labels: map[string]string{"severity": "critical", "team": "shop", "alertname": "Old"}, Since: noon.Add(-time.Hour), Summary: "slow checkout"},
		}}, []string{"closed alert Old fires since Thu 2026-11-26 11:00 UTC: slow checkout (and 1 more)"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Gates(c.rules, c.r, c.s, noon)
			var said []string
			for _, g := range got {
				said = append(said, map[bool]string{true: "open ", false: "closed "}[g.Open]+g.Why)
			}
			if !slices.EqualFunc(said, c.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", said, c.want)
			}
		})
	}
}

// all are rules with every gate, and surroundings that close each.
func all() (Rules, Surroundings) {
	rules := Default()
	rules.Budget = &Budget{Window: 30 * day, MinRemaining: 10, PerRollout: 1}
	rules.Gates = GateRules{
		Approval: ApproveBoth, Freeze: []Freeze{{From: "Thu 11:00", To: "Thu 13:00", Zone: "UTC"}},
		InFlight: OnePerSpace, DependsOn: []string{"a"}, Alerts: map[string]string{"severity": "critical"},
	}
	return rules, Surroundings{
		Others: []rollout.Rollout{flowing("a", 30)}, Alerts: []Alert{{Labels: map[string]string{"severity": "critical"}}},
	}
}

func TestWhichGateHoldsWhat(t *testing.T) {
	rules, s := all()
	start := []GateKind{GateApproval, GateFreeze, GateBudget, GateInFlight, GateDependsOn, GateAlerts}
	for name, c := range map[string]struct {
		stage Stage
		r     rollout.Rollout
		want  []GateKind
	}{
		"the start":                         {StageStart, waiting("me", 10), start},
		"growing":                           {StageIncrease, flowing("me", 10), []GateKind{GateBudget, GateAlerts}},
		"growing from 0 is a start too":     {StageIncrease, waiting("me", 10), []GateKind{GateApproval, GateFreeze, GateBudget, GateBudget, GateInFlight, GateDependsOn, GateAlerts}},
		"so it is when the traffic is back": {StageIncrease, edited(flowing("me", 10), func(r *rollout.Rollout) { r.Steps[0].To = noon }), []GateKind{GateApproval, GateFreeze, GateBudget, GateBudget, GateInFlight, GateDependsOn, GateAlerts}},
		"the promotion":                     {StagePromotion, flowing("me", 10), []GateKind{GateApproval, GateFreeze, GateBudget, GateAlerts}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []GateKind
			for _, g := range GatesAt(c.stage, rules, c.r, s, noon) {
				if g.Open || g.Why == "" {
					t.Errorf("%+v is not closed with a reason", g)
				}
				got = append(got, g.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestClosedGatesComeFirst(t *testing.T) {
	rules, s := all()
	s.Alerts, s.Others = nil, nil
	s.Canaries = []rollout.Canary{{Key: rollout.Key{Namespace: "prod", Name: "a"}}}
	s.Budget = &rollout.BudgetLeft{Requests: 1000, At: noon}
	var got []string
	for _, g := range Gates(rules, waiting("me", 10), s, noon) {
		got = append(got, fmt.Sprintf("%s %v", g.Kind, g.Open))
	}
	want := []string{"approval false", "approval false", "freeze false", "budget true", "budget true", "in-flight true", "depends-on true", "alerts true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// crowd draws open rollouts of few Canaries with few policies, so that they get in each other's way.
func crowd(t *rapid.T) ([]rollout.Rollout, Set) {
	names := []string{"a", "b", "c", "d"}
	set := Set{"default": {Name: "default"}}
	for _, policy := range []string{"p", "q", "r"} {
		set[policy] = Rules{Name: policy, Gates: GateRules{
			InFlight:  rapid.SampledFrom([]InFlight{Unlimited, OnePerSpace, OnePerPolicy}).Draw(t, "inFlight"),
			DependsOn: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID[string]).Draw(t, "dependsOn"),
		}}
	}
	var crowd []rollout.Rollout
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID[string]).Draw(t, "names") {
		r := waiting(name, rapid.IntRange(0, 2).Draw(t, "minutes"))
		r.Policy = rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "policy")
		r.Phase = rapid.SampledFrom([]rollout.Phase{rollout.Waiting, rollout.Progressing, rollout.Promoting, rollout.Succeeded}).Draw(t, "phase")
		crowd = append(crowd, r)
	}
	return crowd, set
}

// free are those of a crowd without traffic that may start.
func free(crowd []rollout.Rollout, set Set) (ids []string) {
	canaries := make([]rollout.Canary, 0, 4)
	for _, name := range []string{"a", "b", "c", "d"} {
		canaries = append(canaries, rollout.Canary{Key: rollout.Key{Namespace: "prod", Name: name}, Phase: rollout.Succeeded})
	}
	for _, r := range crowd {
		gates := GatesAt(StageStart, set.For(r.Policy), r, Surroundings{Others: crowd, Canaries: canaries, Policies: set}, noon)
		if !slices.ContainsFunc(gates, func(g Gate) bool { return !g.Open }) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func scene(crowd []rollout.Rollout, set Set) (text string) {
	for _, r := range crowd {
		text += fmt.Sprintf("%s %s since %s, %+v\n", r.ID, r.Phase, r.StartedAt, set.For(r.Policy).Gates)
	}
	return text
}

func TestOneAtATimeAndNeverNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		crowd, set := crowd(t)
		ids := free(crowd, set)
		if len(ids) == 0 {
			t.Fatalf("all wait for each other: %s", scene(crowd, set))
		}
		for policy, rules := range set {
			var scope []string
			for _, r := range crowd {
				if slices.Contains(ids, r.ID) && r.Policy == policy {
					scope = append(scope, r.ID)
				}
			}
			if rules.Gates.InFlight != Unlimited && len(scope) > 1 {
				t.Fatalf("policy %s lets one go at a time, but %v may: %s", policy, scope, scene(crowd, set))
			}
		}
	})
}

func TestGatesAreTotal(t *testing.T) {
	word := rapid.SampledFrom([]string{"", "a", "prod/a", "/", "Fri 16:00", "Mon 08:00", "2026-11-26 12:00", "Europe/Berlin", "UTC", "hotfix"})
	rapid.Check(t, func(t *rapid.T) {
		rules := Rules{
			SLO:    SLO{Objective: rapid.Float64().Draw(t, "objective")},
			Budget: &Budget{Window: time.Duration(rapid.Int64().Draw(t, "window")), MinRemaining: rapid.Float64().Draw(t, "least"), PerRollout: rapid.Float64().Draw(t, "most")},
			Gates: GateRules{
				Approval: Approval(rapid.SampledFrom([]string{"", "none", "start", "promotion", "both", "x"}).Draw(t, "approval")),
				InFlight: InFlight(rapid.SampledFrom([]string{"", "unlimited", "namespace", "policy"}).Draw(t, "inFlight")),
				Freeze:   []Freeze{{word.Draw(t, "from"), word.Draw(t, "to"), word.Draw(t, "zone"), []string{word.Draw(t, "except")}}},
				Alerts:   map[string]string{word.Draw(t, "label"): word.Draw(t, "value")}, DependsOn: []string{word.Draw(t, "on")},
			},
		}
		others, set := crowd(t)
		s := Surroundings{Others: others, Policies: set, Alerts: []Alert{{}}}
		if rapid.Bool().Draw(t, "known") {
			s.Budget = &rollout.BudgetLeft{Requests: rapid.Float64().Draw(t, "requests"), Bad: rapid.Float64().Draw(t, "bad"), At: noon}
		}
		r := rollout.Rollout{Revision: rollout.Revision{Change: word.Draw(t, "change")}, Decisions: []rollout.Decision{{}}}
		for _, stage := range []Stage{StageStart, StageIncrease, StagePromotion, "x"} {
			for _, g := range GatesAt(stage, rules, r, s, noon) {
				if g.Why == "" || len(g.Stages) == 0 || g.Open && !g.OpensAt.IsZero() {
					t.Fatalf("%+v says too little or too much", g)
				}
			}
		}
	})
}
