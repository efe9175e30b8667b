package evidence

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// moment is what one poll says.
type moment struct {
	at     time.Duration
	totals Totals
}

func plan() Plan {
	return Plan{
		Block: 2 * time.Second, Pods: limits(), Ingress: Limits{SLO: .005, Ratio: 1, Alpha: .001, Stakes: documented()}, Hard: .02,
		Latency: LatencyPlan{Alpha: .005, Allowed: .01, Max: .5, WorseBy: 1.25},
	}
}

// moments draws polls, some of them with nothing new, whose totals only grow.
func moments(t *rapid.T) (all []moment) {
	m := moment{}
	grow := func(c Counts, name string) Counts {
		n := rapid.IntRange(0, 300).Draw(t, name)
		return Counts{c.Requests + float64(n), c.Bad + float64(rapid.IntRange(0, min(n, 20)).Draw(t, name+" bad"))}
	}
	times := func(h Histogram, name string) Histogram {
		next, sum := Histogram{Bounds: []float64{.1, .5, 1}, Counts: make([]float64, 4)}, 0.0
		for i := range next.Counts {
			sum += float64(rapid.IntRange(0, 400).Draw(t, name))
			if next.Counts[i] = sum; len(h.Counts) > 0 {
				next.Counts[i] += h.Counts[i]
			}
		}
		return next
	}
	for range rapid.IntRange(2, 30).Draw(t, "polls") {
		m.at += time.Duration(rapid.IntRange(1, 40_000).Draw(t, "milliseconds")) * time.Millisecond
		if rapid.IntRange(0, 3).Draw(t, "news") > 0 {
			m.totals = Totals{
				Canary: grow(m.totals.Canary, "canary"), Primary: grow(m.totals.Primary, "primary"),
				IngressCanary:  grow(m.totals.IngressCanary, "ingress canary"),
				IngressPrimary: grow(m.totals.IngressPrimary, "ingress primary"),
				CanaryTimes:    times(m.totals.CanaryTimes, "canary times"), PrimaryTimes: times(m.totals.PrimaryTimes, "primary times"),
			}
		}
		all = append(all, m)
	}
	return all
}

func (s State) after(moments []moment) State {
	for _, m := range moments {
		s = s.Observe(plan(), m.at, m.totals)
	}
	return s
}

// weighed is the evidence of a State, without where counting is.
func weighed(s State) any {
	return []any{s.Pods, s.Ingress, s.Hard, s.Latency, s.Slow}
}

func TestAStateGoesThroughJSONUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := moments(t)
		half := rapid.IntRange(0, len(all)).Draw(t, "half")
		text, err := json.Marshal(State{}.after(all[:half]))
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if got, want := back.after(all[half:]), (State{}).after(all); !reflect.DeepEqual(got, want) {
			t.Fatalf("kept in between, the state is %+v, want %+v", got, want)
		}
	})
}

func TestAPollTwiceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := moments(t)
		s := State{}.after(all)
		if again := s.after(all[len(all)-1:]); !reflect.DeepEqual(again, s) {
			t.Fatalf("the last poll again makes %+v of %+v", again, s)
		}
	})
}

func TestPollsWithoutNewsChangeNoEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := moments(t)
		last := all[len(all)-1]
		last.at += plan().Block // the block under way ends
		s := State{}.after(append(all, last))
		for range 3 {
			last.at += time.Minute
			if later := s.Observe(plan(), last.at, last.totals); !reflect.DeepEqual(weighed(later), weighed(s)) || later.Broken {
				t.Fatalf("nothing new makes %+v of %+v", later, s)
			} else {
				s = later
			}
		}
	})
}

// What is a quarter of a minute old counts half.
func TestCountsFade(t *testing.T) {
	s := State{}
	for _, m := range []moment{
		{5 * time.Second, Totals{}},
		{10 * time.Second, Totals{
			Canary: Counts{100, 8}, Primary: Counts{900, 80}, IngressCanary: Counts{50, 4}, IngressPrimary: Counts{400, 40},
		}},
		{25 * time.Second, Totals{
			Canary: Counts{120, 10}, Primary: Counts{1000, 82}, IngressCanary: Counts{60, 5}, IngressPrimary: Counts{500, 44},
		}},
	} {
		s = s.Observe(plan(), m.at, m.totals)
	}
	if want := (Lately{Counts{70, 6}, Counts{550, 42}}); s.Lately != want {
		t.Errorf("lately the pods had %+v, want %+v", s.Lately, want)
	}
	if want := (Lately{Counts{35, 3}, Counts{300, 24}}); s.IngressLately != want {
		t.Errorf("lately the ingress had %+v, want %+v", s.IngressLately, want)
	}
}

func TestAnIncidentIsBothSides(t *testing.T) {
	for _, c := range []struct {
		name            string
		canary, primary Counts
		incident        bool
	}{
		{"both fail alike", Counts{100, 5}, Counts{900, 45}, true},
		{"the canary a little more", Counts{1000, 9}, Counts{1000, 6}, true},
		{"the canary twice as much", Counts{1000, 12}, Counts{1000, 6}, false},
		{"the canary not at all", Counts{100, 0}, Counts{900, 45}, true},
		{"the primary at its objective", Counts{1000, 9}, Counts{1000, 5}, false},
		{"nothing fails", Counts{1000, 0}, Counts{1000, 0}, false},
		{"no traffic", Counts{}, Counts{}, false},
	} {
		lately := Lately{c.canary, c.primary}
		if got := lately.Incident(limits()); got != c.incident {
			t.Errorf("%s: incident is %t", c.name, got)
		}
		against := Channels{SLO: Process{}.Observe(documented(), 0, 5, 10, .005), Compare: Process{}.Observe(documented(), 0, 5, 5, .1)}
		want := against
		if c.incident {
			want.SLO = want.SLO.Cap(1)
		}
		if got := lately.spare(limits(), Block{Canary: Counts{1, 0}}, against); got != want {
			t.Errorf("%s: the evidence is %v, want %v", c.name, got.SLO.LogE(), want.SLO.LogE())
		}
		if got := lately.spare(limits(), Block{Primary: Counts{1, 0}}, against); got != against {
			t.Errorf("%s: silence of the canary takes evidence", c.name)
		}
	}
}

// Once a block is over the bets are those of the channels on what was counted in it, each with its own limits.
func TestABlockIsBetOnOnceAndWhole(t *testing.T) {
	p := plan()
	s := State{}.Observe(p, time.Second, Totals{Canary: Counts{3, 1}, Primary: Counts{1000, 90}, IngressCanary: Counts{2, 0}, IngressPrimary: Counts{900, 80}})
	early := s.Observe(p, time.Second+p.Block-p.Block/10-1, Totals{Canary: Counts{9, 2}, Primary: Counts{1050, 90}, IngressCanary: Counts{8, 0}, IngressPrimary: Counts{950, 80}})
	if !reflect.DeepEqual(early, s) {
		t.Fatalf("before the block is over it is bet on: %+v", early)
	}
	s = early.Observe(p, time.Second+p.Block-p.Block/10, Totals{Canary: Counts{10, 2}, Primary: Counts{1100, 91}, IngressCanary: Counts{9, 1}, IngressPrimary: Counts{990, 82}})
	// What the canary served before the first poll belongs to it; what the others did does not belong to the rollout.
	pods := Channels{}.Observe(p.Pods, Block{At: time.Second, Canary: Counts{10, 2}, Primary: Counts{100, 1}})
	ingress := Channels{}.Observe(p.Ingress, Block{At: time.Second, Canary: Counts{7, 1}, Primary: Counts{90, 2}})
	hard := Process{}.Observe(documented(), time.Second, 2, 10, p.Hard)
	if s.Pods != pods || s.Ingress != ingress || s.Hard != hard {
		t.Errorf("got %+v, want pods %+v, ingress %+v, hard %+v", s, pods, ingress, hard)
	}
	p.Ingress.Alpha = 0
	if s := (State{}).Observe(p, 0, Totals{}).Observe(p, p.Block, Totals{IngressCanary: Counts{9, 9}}); s.Ingress != (Channels{}) {
		t.Errorf("an ingress that is no source is weighed: %+v", s.Ingress)
	}
}

func TestImpossibleTotalsAreNoBegin(t *testing.T) {
	for name, c := range map[string]Counts{
		"negative": {5, -1}, "more bad than there are": {5, 6}, "not a number": {math.NaN(), 0}, "infinite": {math.Inf(1), 0},
	} {
		for where, totals := range map[string]Totals{
			"canary": {Canary: c}, "primary": {Primary: c}, "ingress, canary": {IngressCanary: c}, "ingress, primary": {IngressPrimary: c},
		} {
			if got := (State{}).Observe(plan(), time.Second, totals); !reflect.DeepEqual(got, State{Broken: true}) {
				t.Errorf("%s, %s: the state is %+v", where, name, got)
			}
		}
	}
}

func TestImpossibleTotalsChangeNothingButBroken(t *testing.T) {
	good := Totals{
		Canary: Counts{100, 2}, Primary: Counts{900, 1}, IngressCanary: Counts{100, 2}, IngressPrimary: Counts{900, 1},
		CanaryTimes: Histogram{[]float64{1}, []float64{90, 100}},
	}
	before := State{}.Observe(plan(), 0, Totals{}).Observe(plan(), time.Minute, good)
	next := func(change func(*Totals)) Totals {
		t := good
		change(&t)
		return t
	}
	for name, c := range map[string]moment{
		"not a number":             {2 * time.Minute, next(func(t *Totals) { t.Canary.Bad = math.NaN() })},
		"requests not a number":    {2 * time.Minute, next(func(t *Totals) { t.Canary.Requests = math.NaN() })},
		"infinite":                 {2 * time.Minute, next(func(t *Totals) { t.Primary.Requests = math.Inf(1) })},
		"negative":                 {2 * time.Minute, next(func(t *Totals) { t.IngressCanary = Counts{-1, -1} })},
		"more bad than there are":  {2 * time.Minute, next(func(t *Totals) { t.IngressPrimary = Counts{900, 901} })},
		"the canary's go back":     {2 * time.Minute, next(func(t *Totals) { t.Canary = Counts{99, 2} })},
		"the primary's go back":    {2 * time.Minute, next(func(t *Totals) { t.Primary = Counts{900, 0} })},
		"an ingress's go back":     {2 * time.Minute, next(func(t *Totals) { t.IngressCanary = Counts{99, 2} })},
		"the other ingress's too":  {2 * time.Minute, next(func(t *Totals) { t.IngressPrimary = Counts{899, 1} })},
		"a good request turns bad": {2 * time.Minute, next(func(t *Totals) { t.Canary = Counts{100, 3} })},
		"half a request":           {2 * time.Minute, next(func(t *Totals) { t.Canary.Requests += .5 })},
	} {
		after := before.Observe(plan(), c.at, c.totals)
		want := before
		want.Broken = true
		if !reflect.DeepEqual(after, want) {
			t.Errorf("%s: the state is %+v, want it unchanged and broken", name, after)
		}
		if mended := after.Observe(plan(), 2*time.Minute, good); mended.Broken {
			t.Errorf("%s: possible totals afterwards do not mend it", name)
		}
	}
}

// Response times that can not be say nothing of errors: those go on being weighed.
func TestImpossibleTimesLeaveTheErrorsAlone(t *testing.T) {
	good := Totals{Canary: Counts{100, 2}, Primary: Counts{900, 1}, CanaryTimes: Histogram{[]float64{1}, []float64{90, 100}}}
	before := State{}.Observe(plan(), 0, Totals{}).Observe(plan(), time.Minute, good)
	next := func(change func(*Totals)) Totals {
		t := good
		t.Canary = Counts{110, 5}
		change(&t)
		return t
	}
	for name, c := range map[string]moment{
		"times of fewer":            {2 * time.Minute, next(func(t *Totals) { t.CanaryTimes = Histogram{[]float64{1}, []float64{90, 99}} })},
		"a slow one turns fast":     {2 * time.Minute, next(func(t *Totals) { t.CanaryTimes = Histogram{[]float64{1}, []float64{100, 101}} })},
		"times by other bounds":     {2 * time.Minute, next(func(t *Totals) { t.CanaryTimes = Histogram{[]float64{2}, []float64{90, 101}} })},
		"times out of order":        {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{[]float64{2, 1}, []float64{1, 2, 3}} })},
		"more within a shorter one": {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{[]float64{1, 2}, []float64{3, 2, 3}} })},
		"a negative time":           {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{[]float64{1}, []float64{-1, 3}} })},
		"infinite times":            {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{[]float64{1}, []float64{1, math.Inf(1)}} })},
		"bounds without counts":     {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{Bounds: []float64{1}} })},
		"counts without bounds":     {2 * time.Minute, next(func(t *Totals) { t.PrimaryTimes = Histogram{Counts: []float64{1, 2, 3}} })},
	} {
		after := before.Observe(plan(), c.at, c.totals)
		if after.Broken || after.Latency != before.Latency || after.Slow != before.Slow || after.Pods.SLO.LogE() <= before.Pods.SLO.LogE() {
			t.Errorf("%s: the state is %+v", name, after)
		}
	}
}

// Where the clock was set back, blocks go on by the clock as it is.
func TestAClockThatGoesBackLosesNoEvidence(t *testing.T) {
	s := State{}.Observe(plan(), 0, Totals{}).Observe(plan(), time.Hour, Totals{Canary: Counts{100, 0}, Primary: Counts{900, 0}})
	back := s.Observe(plan(), time.Minute, Totals{Canary: Counts{110, 10}, Primary: Counts{990, 0}})
	found := back.Observe(plan(), time.Minute+plan().Block, Totals{Canary: Counts{120, 20}, Primary: Counts{1080, 0}})
	if back.Broken || found.Broken || found.Pods.SLO.LogE() <= s.Pods.SLO.LogE() || found.At.Canary.Bad != 20 {
		t.Errorf("got %+v", found)
	}
}

// Slow responses are hits of their own channel: over the shorter of the policy's limit and what the primary's are.
func TestSlowResponsesAreWeighed(t *testing.T) {
	bounds := []float64{.1, .2, .5, 1}
	fast := func(n float64) Histogram { return Histogram{bounds, []float64{n, n, n, n, n}} }
	canary := Histogram{bounds, []float64{10, 40, 70, 90, 100}}
	for name, c := range map[string]struct {
		plan    LatencyPlan
		primary Histogram // before the block
		slow    float64
	}{
		"no latency is judged":               {LatencyPlan{Allowed: .01, Max: .5}, fast(5000), 0},
		"over the limit":                     {LatencyPlan{Alpha: .005, Allowed: .01, Max: .5}, fast(5000), 30},
		"a limit between bounds":             {LatencyPlan{Alpha: .005, Allowed: .01, Max: .3}, fast(5000), 30},
		"a limit beyond all bounds":          {LatencyPlan{Alpha: .005, Allowed: .01, Max: 3}, fast(5000), 0},
		"twice the primary's":                {LatencyPlan{Alpha: .005, Allowed: .01, WorseBy: 2}, fast(1000), 60},
		"the limit is shorter":               {LatencyPlan{Alpha: .005, Allowed: .01, Max: .1, WorseBy: 2}, fast(1000), 90},
		"the primary's is shorter":           {LatencyPlan{Alpha: .005, Allowed: .01, Max: .5, WorseBy: 2}, fast(1000), 60},
		"too few of the primary's":           {LatencyPlan{Alpha: .005, Allowed: .01, WorseBy: 2}, fast(999), 0},
		"the primary's 99 % are the second":  {LatencyPlan{Alpha: .005, Allowed: .01, WorseBy: 1}, Histogram{bounds, []float64{980, 990, 1000, 1000, 1000}}, 60},
		"the primary's 99 % are the third":   {LatencyPlan{Alpha: .005, Allowed: .01, WorseBy: 1}, Histogram{bounds, []float64{980, 989, 1000, 1000, 1000}}, 30},
		"the primary's are over all bounds":  {LatencyPlan{Alpha: .005, Allowed: .01, WorseBy: 1}, Histogram{bounds, []float64{0, 0, 0, 0, 1000}}, 0},
		"nothing to compare and no limit":    {LatencyPlan{Alpha: .005, Allowed: .01}, fast(5000), 0},
		"the limit is left where there's no": {LatencyPlan{Alpha: .005, Allowed: .01, Max: .5, WorseBy: 1}, Histogram{}, 30},
	} {
		p := plan()
		p.Latency = c.plan
		start := Totals{PrimaryTimes: c.primary, CanaryTimes: Histogram{bounds, make([]float64, 5)}}
		end := Totals{PrimaryTimes: c.primary, CanaryTimes: canary}
		s := State{}.Observe(p, 0, start).Observe(p, time.Minute, end)
		want := Process{}
		if c.plan.limit(c.primary) > 0 {
			want = want.Observe(documented(), 0, c.slow, 100, .01)
		}
		if s.Slow != c.slow || s.Latency != want {
			t.Errorf("%s: %v were slow, evidence %v; want %v, %v", name, s.Slow, s.Latency.LogE(), c.slow, want.LogE())
		}
		if again := s.Observe(p, 2*time.Minute, end); again.Slow != c.slow {
			t.Errorf("%s: in the next block %v are slow, want %v", name, again.Slow, c.slow)
		}
	}
}

// Whatever floats a source gives: impossible ones are said to be broken and leave the evidence alone, and evidence is always
// a number.
func FuzzState(f *testing.F) {
	inf, nan := math.Inf(1), math.NaN()
	f.Add(int64(2e9), 100.0, 2.0, 900.0, 1.0, 90.0, 100.0, int64(4e9), 200.0, 3.0, 1800.0, 2.0, 180.0, 200.0)
	f.Add(int64(0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, int64(0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
	f.Add(int64(2e9), nan, 2.0, 900.0, nan, 90.0, nan, int64(4e9), inf, 3.0, inf, inf, nan, inf)
	f.Add(int64(2e9), 5.0, 6.0, -900.0, -1.0, 90.0, 80.0, int64(-4e9), -inf, -inf, 1800.0, 2.0, -1.0, 200.0)
	f.Add(int64(math.MaxInt64), 1e15, 1e15, 1e15, 0.0, 0.0, 1e15, int64(math.MinInt64), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
	f.Add(int64(2e9), 5e-324, 5e-324, 5e-324, 0.0, 5e-324, 5e-324, int64(4e9), 1e-300, 1e-300, 1.0, .5, .5, 1.0)
	f.Add(int64(2e9), 100.0, 2.0, 900.0, 1.0, 90.0, 116.0, int64(4e9), 200.0, 3.0, 1800.0, 2.0, 180.0, 200.0)
	f.Add(int64(2e9), math.MaxFloat64, 2.0, 900.0, 1.0, 90.0, 116.0, int64(4e9), math.MaxFloat64, 2.0, 1800.0, 2.0, 180.0, 206.0)
	f.Fuzz(func(t *testing.T, at1 int64, n1, k1, m1, f1, fast1, all1 float64, at2 int64, n2, k2, m2, f2, fast2, all2 float64) {
		s := State{}.Observe(plan(), 0, Totals{})
		for _, c := range []struct {
			at                    int64
			n, k, m, f, fast, all float64
		}{{at1, n1, k1, m1, f1, fast1, all1}, {at2, n2, k2, m2, f2, fast2, all2}} {
			times := Histogram{[]float64{.5}, []float64{c.fast, c.all}}
			before, at := s, time.Duration(c.at)
			s = s.Observe(plan(), at, Totals{
				Canary: Counts{c.n, c.k}, Primary: Counts{c.m, c.f}, IngressCanary: Counts{c.m, c.f}, IngressPrimary: Counts{c.n, c.k},
				CanaryTimes: times, PrimaryTimes: times,
			})
			possible := at >= before.From
			for _, part := range [][2]float64{{c.k, c.n}, {c.f, c.m}, {c.fast, c.all}} {
				possible = possible && part[0] >= 0 && part[0] <= part[1] && !math.IsInf(part[1], 0)
			}
			if !possible && !s.Broken {
				t.Fatalf("%+v is not said to be broken", c)
			}
			if s.Broken && !reflect.DeepEqual(weighed(s), weighed(before)) {
				t.Fatalf("broken %+v made %+v of %+v", c, s, before)
			}
			// JSON holds numbers only. Evidence that is none would never cross and never come back.
			if _, err := json.Marshal(s); err != nil || s.Slow < 0 {
				t.Fatalf("after %+v %v were slow (%v)", c, s.Slow, err)
			}
		}
	})
}
