package policy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// after is a rollout five minutes after its first traffic, with these counts.
func after(good, bad uint64) rollout.Rollout {
	return rollout.Rollout{Steps: []rollout.Step{{Weight: 10, From: start}}, Latest: rollout.Tick{Canary: rollout.Counts{Good: good, Bad: bad}}}
}

// verdict.md §2.5 and the decisions at its top, at their edges.
func TestTheWindowRule(t *testing.T) {
	end := start.Add(5 * time.Minute)
	little, enough := math.Log(thinEvidence)-.01, math.Log(thinEvidence)
	for name, c := range map[string]struct {
		mode      Mode
		good, bad uint64
		logE      float64
		now       time.Time
		fails     bool
	}{
		"literal, from exactly so many requests on":      {Literal, 293, 7, little, end, true},
		"literal, exactly the limit":                     {Literal, 294, 6, enough, end, false},
		"literal, a request short of the number":         {Literal, 292, 7, little, end, false},
		"the same with evidence":                         {Literal, 292, 7, enough, end, true},
		"evidence, but two errors":                       {Literal, 28, 2, enough, end, false},
		"evidence, and three":                            {Literal, 28, 3, enough, end, true},
		"guarded asks for it also where there are many":  {Guarded, 9000, 1000, little, end, false},
		"and takes it":                                   {Guarded, 9000, 1000, enough, end, true},
		"strict asks for nothing":                        {Strict, 1, 1, 0, end, true},
		"a moment before the window's end":               {Strict, 1, 1, 0, end.Add(-1), false},
		"a while after it, where nobody looked till now": {Strict, 1, 1, 0, end.Add(time.Hour), true},
	} {
		rules := podsOnly()
		rules.FailFast.Mode = c.mode
		if _, fails := window(rules, after(c.good, c.bad), &rollout.Assessment{LogSLO: c.logE}, c.now); fails != c.fails {
			t.Errorf("%s: fails %v, want %v", name, fails, c.fails)
		}
	}
	r := after(1, 1)
	r.WindowOf = start
	if _, fails := window(changed(podsOnly(), func(r *Rules) { r.FailFast.Mode = Strict }), r, &rollout.Assessment{}, end); fails {
		t.Error("it is looked at twice")
	}
}

func TestWhoIsToBlameForALongHold(t *testing.T) {
	under, kept := after(900, 100), after(1000, 1)
	proof := math.Log(thinEvidence)
	for name, c := range map[string]struct {
		rules Rules
		r     rollout.Rollout
		logE  float64
		why   []string
		blame bool
	}{
		"the objective is not kept, and that is no chance": {podsOnly(), under, proof, nil, true},
		"it may be chance":                              {podsOnly(), under, proof - .01, nil, false},
		"the objective is kept":                         {podsOnly(), kept, proof, nil, false},
		"too little, where the policy says fail":        {changed(podsOnly(), func(r *Rules) { r.Evidence.OnTooLittle = RollBack }), kept, 0, []string{KindNeedEvidence}, true},
		"an incident that both share":                   {podsOnly(), under, proof, []string{KindObjective, KindSharedIncident}, false},
		"nobody can see":                                {changed(podsOnly(), func(r *Rules) { r.Evidence.OnTooLittle = RollBack }), under, proof, []string{KindBlind}, false},
		"two counts that differ":                        {podsOnly(), under, proof, []string{KindContradiction}, false},
		"counts that can not be":                        {podsOnly(), under, proof, []string{KindData}, false},
		"one request short of what the objective takes": {podsOnly(), after(290, 9), proof, nil, false},
	} {
		var reasons []rollout.Reason
		for _, kind := range c.why {
			reasons = append(reasons, rollout.Reason{Kind: kind})
		}
		if blame := canaryToBlame(c.rules, c.r, &rollout.Assessment{LogSLO: c.logE}, reasons); blame != c.blame {
			t.Errorf("%s: to blame %v, want %v", name, blame, c.blame)
		}
	}
}

func TestTwoCountsOfTheSameRequests(t *testing.T) {
	for name, c := range map[string]struct {
		pods, ingress uint64
		age           time.Duration
		says          string
	}{
		"the same":                              {1000, 1000, 0, ""},
		"a fifth, and five seconds' worth less": {1000, 751, 0, ""},
		"more than that":                        {1000, 749, 0, "the canary's pods counted 1000 requests and the ingress 749"},
		"more than that at the ingress":         {749, 1000, 0, "the canary's pods counted 749"},
		"the ingress is ten seconds late":       {1000, 651, 10 * time.Second, ""},
		"later than it says":                    {1000, 649, 10 * time.Second, "the ingress 649"},
		"too few to say":                        {299, 0, 0, ""},
		"as old as it may be":                   {1000, 1000, maxIngressAge, ""},
		"too old":                               {1000, 1000, maxIngressAge + time.Second, "1m1s old"},
	} {
		step := rollout.Step{Weight: 10, From: start, Canary: rollout.Counts{Good: c.pods}}
		r := rollout.Rollout{Steps: []rollout.Step{step}, Latest: rollout.Tick{
			At: start.Add(time.Duration(c.pods/10) * time.Second), Canary: step.Canary, // 10 requests a second
			Ingress: &rollout.Opinion{Canary: rollout.Counts{Good: c.ingress}, Age: c.age},
		}}
		got := ""
		if reasons := opinion(r, step); len(reasons) > 0 {
			got = reasons[0].Text
		}
		if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

func TestTheShareOfTheTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		weight          int
		canary, primary uint64
		says            string
	}{
		"as told":                    {10, 100, 900, ""},
		"half of what was told":      {10, 50, 950, "5 % of the requests go to the canary, its weight is 10 %"},
		"nothing":                    {10, 0, 1000, "0 % of the requests"},
		"a fifth off, of a million":  {10, 80_000, 920_000, "8 % of the requests"},
		"a little less than a fifth": {10, 81_000, 919_000, ""},
		"far off, by chance of few":  {10, 5, 95, ""},
		"too few to look at":         {50, 0, 99, ""},
		"just enough":                {50, 0, 100, "0 % of the requests"},
		"all of it":                  {100, 500, 500, ""},
		"none of it":                 {0, 500, 500, ""},
		"more than what was told":    {10, 200, 800, "20 % of the requests"},
	} {
		step := rollout.Step{Weight: c.weight, Canary: rollout.Counts{Good: c.canary}, Primary: rollout.Counts{Good: c.primary}}
		got := ""
		if reasons := told(step); len(reasons) > 0 {
			got = reasons[0].Text
		}
		if (c.says == "") != (got == "") || !strings.HasPrefix(got, c.says) {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

func TestAnIncidentIsSeenBeforeItIsProven(t *testing.T) {
	w := along(podsOnly(), leg{seconds: 20, weight: 10, good: 10, pgood: 90}, leg{seconds: 3, weight: 10, good: 95, bad: 5, pgood: 855, pbad: 45})
	v := w.r.Verdict
	if v.Kind() != KindSharedIncident || v.Evidence.LogPrimary >= v.Evidence.LogLine || v.Reasons[0].Values["primaryErrorRate"] < 1 || v.Reasons[0].Values["primaryErrorRate"] > 5 {
		t.Errorf("got %+v, the primary's evidence is %v", v.Reasons, v.Evidence.LogPrimary)
	}
}

func TestTheRestOfTheHoldIsToldRight(t *testing.T) {
	w := along(quick(podsOnly()), leg{seconds: 610, weight: 10, good: 1, pgood: 9, every: 60, at: nextIs(25)})
	r := w.r.Verdict.Reasons[0]
	// Ten requests in ten minutes; held since the bake time of 10 s, 20 minutes are left.
	if r.Kind != KindNeedEvidence || !strings.Contains(r.Text, "but only 19 are to be expected in the 20m1s that are left") && !strings.Contains(r.Text, "but only 19 are to be expected in the 20m0s that are left") {
		t.Errorf("got %+v", r)
	}
}

func TestANextWeightThatIsNotToldIsEverything(t *testing.T) {
	for _, next := range []int{0, -3, 101} {
		w := along(quick(podsOnly()), leg{seconds: 20, weight: 10, good: 10, pgood: 90, at: nextIs(next)})
		if v := w.r.Verdict; v.Outcome != rollout.Hold || v.Kind() != KindNeedEvidence || !strings.Contains(v.Text(), "allow 100 %") {
			t.Errorf("next %d: got %s %+v", next, v.Outcome, v.Reasons)
		}
	}
}
