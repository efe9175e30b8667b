package shape

import (
	"math"
	"strings"
	"testing"
	"time"
)

func mustNew(t *testing.T, s Spec) Shape {
	t.Helper()
	shape, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return shape
}

// many are shapes for the properties that all have.
var many = map[string]Spec{
	"constant":                       {Rate: 50, Duration: 10 * time.Second},
	"constant, one in three seconds": {Rate: 1.0 / 3, Duration: time.Minute},
	"constant, the highest rate":     {Rate: MaxRate, Duration: 30 * time.Millisecond},
	"ramp up":                        {Kind: "ramp", Rate: 10, To: 100, Duration: 10 * time.Second},
	"ramp down to nothing":           {Kind: "ramp", Rate: 100, Duration: 10 * time.Second},
	"ramp from nothing":              {Kind: "ramp", To: 100, Duration: 10 * time.Second},
	"a ramp that is hardly one":      {Kind: "ramp", Rate: 100, To: 100.000001, Duration: 10 * time.Second},
	"steps":                          {Kind: "steps", Steps: "10x3s, 50x2s,0x1s,20x4s"},
	"steps that start with a pause":  {Kind: "steps", Steps: "0x2s,30x3s"},
	"sine":                           {Kind: "sine", Rate: 50, Amplitude: 30, Period: 4 * time.Second, Duration: 10 * time.Second},
	"a sine that touches nothing":    {Kind: "sine", Rate: 50, Amplitude: 50, Period: time.Second, Duration: 10 * time.Second},
	"a sine without swing":           {Kind: "sine", Rate: 50, Period: time.Second, Duration: 10 * time.Second},
	"a sine faster than its rate":    {Kind: "sine", Rate: 5, Amplitude: 5, Period: 10 * time.Millisecond, Duration: 10 * time.Second},
	"top-up alone":                   {Kind: "top-up", Samples: 300, Duration: 10 * time.Second},
	"top-up at its cap":              {Kind: "top-up", Samples: 5000, Rate: 20, Duration: 10 * time.Second},
}

// integral adds up the rate by the midpoint rule, as a second opinion.
func integral(s Shape, from, to time.Duration) (sum float64) {
	const parts = 20_000
	step := float64(to-from) / parts
	for i := range parts {
		sum += s.Rate(from+time.Duration((float64(i)+0.5)*step)) * step / float64(time.Second)
	}
	return sum
}

func TestDueTimesFollowTheRate(t *testing.T) {
	t.Parallel()
	for name, spec := range many {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustNew(t, spec)
			if whole := integral(s, 0, s.Duration()); math.Abs(float64(s.Hits())-whole) > 1+whole*1e-4 {
				t.Errorf("%d hits, the integral of the rate is %v", s.Hits(), whole)
			}
			before, highest := time.Duration(-1), 0.0
			for n := range s.Hits() {
				at := s.At(n)
				if at < before || at < 0 || at >= s.Duration() {
					t.Fatalf("request %d is due at %s after %s, in %s", n, at, before, s.Duration())
				}
				// The number due by then holds this request, and none that comes later than the
				// rounding of a nanosecond.
				if due := s.Due(at + 1); due < n+1 || (due > n+1 && s.At(due-1) > at+2) {
					t.Fatalf("%d are due by %s, when request %d is", due, at, n)
				}
				before = at
			}
			for window := range 20 {
				from, to := s.Duration()*time.Duration(window)/20, s.Duration()*time.Duration(window+1)/20
				got, want := float64(s.Due(to)-s.Due(from)), integral(s, from, to)
				if math.Abs(got-want) > 1.01+want*1e-3 {
					t.Errorf("from %s to %s %v are due, the integral is %v", from, to, got, want)
				}
				highest = max(highest, s.Rate(from), s.Rate(to-1))
			}
			if highest > s.Highest()*(1+1e-9) {
				t.Errorf("the rate reaches %v, over the highest %v", highest, s.Highest())
			}
			if s.Rate(-1) != 0 || s.Rate(s.Duration()) != 0 || s.Due(-1) != 0 || s.Due(math.MaxInt64) != s.Hits() {
				t.Error("it is not zero before, or not whole after")
			}
		})
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves string
		spec   Spec
		n      uint64
		at     time.Duration
		hits   uint64
	}{
		{"constant: rate times duration", Spec{Rate: 50, Duration: 10 * time.Second}, 5, 100 * time.Millisecond, 500},
		{"a product that floating point makes too large", Spec{Rate: 0.1, Duration: 30 * time.Second}, 2, 20 * time.Second, 3},
		{"the highest rate for a day", Spec{Rate: MaxRate, Duration: 24 * time.Hour}, 3_600_000_000, time.Hour, 86_400_000_000},
		{"part of an interval has its first request", Spec{Rate: 1.0 / 3, Duration: 4 * time.Second}, 1, 3 * time.Second, 2},
		{"a duration under one interval sends one request", Spec{Rate: 1, Duration: 1}, 0, 0, 1},
		{"the lowest rate sends one request", Spec{Rate: math.SmallestNonzeroFloat64, Duration: time.Hour}, 0, 0, 1},
		// From 0 to 100 in 10 s are 5 t² requests.
		{"ramp: the square root of the time", Spec{Kind: "ramp", To: 100, Duration: 10 * time.Second}, 125, 5 * time.Second, 500},
		{"steps: the second begins where the first ends", Spec{Kind: "steps", Steps: "10x3s,50x2s"}, 30, 3 * time.Second, 130},
		{"steps: a pause is passed over", Spec{Kind: "steps", Steps: "10x3s,0x60s,50x2s"}, 30, 63 * time.Second, 130},
		// After half a period the swing has added amplitude·period/π.
		{"sine: after a period the mean", Spec{Kind: "sine", Rate: 50, Amplitude: 50, Period: 2 * time.Second, Duration: 10 * time.Second}, 100, 2 * time.Second, 500},
		{"top-up: even when nobody else sends", Spec{Kind: "top-up", Samples: 100, Duration: 50 * time.Second}, 50, 25 * time.Second, 100},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			s := mustNew(t, tc.spec)
			if s.Hits() != tc.hits {
				t.Errorf("%d hits, want %d", s.Hits(), tc.hits)
			}
			if at := s.At(tc.n); at < tc.at-time.Microsecond || at > tc.at+time.Microsecond {
				t.Errorf("request %d is due at %s, want %s", tc.n, at, tc.at)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves string
		spec   Spec
		names  string
	}{
		{"no rate", Spec{Duration: time.Second}, "rate"},
		{"a negative rate", Spec{Rate: -1, Duration: time.Second}, "rate"},
		{"a rate that is not a number", Spec{Rate: math.NaN(), Duration: time.Second}, "rate"},
		{"an endless rate", Spec{Rate: math.Inf(1), Duration: time.Second}, "rate"},
		{"a rate no timer can keep", Spec{Rate: MaxRate + 1, Duration: time.Second}, "rate"},
		{"no duration", Spec{Rate: 1}, "duration"},
		{"a negative duration", Spec{Rate: 1, Duration: -time.Second}, "duration"},
		{"a duration past the clock's end", Spec{Rate: 1, Duration: math.MaxInt64}, "duration"},
		{"an unknown shape", Spec{Kind: "square", Rate: 1, Duration: time.Second}, "shape"},
		{"a field of another shape", Spec{Rate: 1, To: 2, Duration: time.Second}, "to"},
		{"a period without sine", Spec{Rate: 1, Period: 2, Duration: time.Second}, "period"},
		{"samples without top-up", Spec{Rate: 1, Samples: 2, Duration: time.Second}, "samples"},
		{"steps without steps", Spec{Rate: 1, Steps: "1x1s", Duration: time.Second}, "steps"},
		{"a duration beside steps", Spec{Kind: "steps", Steps: "1x1s", Duration: time.Second}, "duration"},
		{"a ramp of nothing", Spec{Kind: "ramp", Duration: time.Second}, "rate"},
		{"a ramp to a rate under nothing", Spec{Kind: "ramp", Rate: 1, To: -1, Duration: time.Second}, "to"},
		{"no steps", Spec{Kind: "steps"}, "steps"},
		{"a step without duration", Spec{Kind: "steps", Steps: "10"}, "steps"},
		{"a step of no time", Spec{Kind: "steps", Steps: "10x0s"}, "steps"},
		{"a step that is not a number", Spec{Kind: "steps", Steps: "NaNx1s"}, "steps"},
		{"steps of nothing", Spec{Kind: "steps", Steps: "0x1s"}, "rate"},
		{"steps past the clock's end", Spec{Kind: "steps", Steps: "1x2000000h,1x2000000h"}, "duration"},
		{"too many steps", Spec{Kind: "steps", Steps: strings.Repeat("1x1s,", maxSteps) + "1x1s"}, "steps"},
		{"a sine under nothing", Spec{Kind: "sine", Rate: 1, Amplitude: 2, Period: time.Second, Duration: time.Second}, "amplitude"},
		{"an amplitude that is not a number", Spec{Kind: "sine", Rate: 1, Amplitude: math.NaN(), Period: time.Second, Duration: time.Second}, "amplitude"},
		{"a sine that no timer can keep", Spec{Kind: "sine", Rate: MaxRate, Amplitude: 1, Period: time.Second, Duration: time.Second}, "rate"},
		{"a sine without period", Spec{Kind: "sine", Rate: 1, Duration: time.Second}, "period"},
		{"a sine of no rate", Spec{Kind: "sine", Period: time.Second, Duration: time.Second}, "rate"},
		{"a top-up to nothing", Spec{Kind: "top-up", Duration: time.Second}, "samples"},
		{"a top-up to more than can be counted", Spec{Kind: "top-up", Samples: math.MaxUint64, Duration: time.Second}, "samples"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if s, err := New(tc.spec); err == nil || !strings.HasPrefix(err.Error(), tc.names) {
				t.Errorf("%+v, %v: want an error that names %s", s, err, tc.names)
			}
		})
	}
}

func TestOverLeavesASecondForWhatIsOwed(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Spec{Rate: 1, Duration: time.Second})
	if Over(s, 2*time.Second) || !Over(s, 2*time.Second+1) || Over(s, 0) {
		t.Error("an attack of a second must end two seconds after its start, not before")
	}
}

// topUp simulates others that have sent seen(t) and returns when each of our own
// requests was due.
func topUp(t *testing.T, spec Spec, seen func(time.Duration) uint64) (due []time.Duration) {
	t.Helper()
	spec.Kind = "top-up"
	s := mustNew(t, spec).(TopUp)
	last := time.Duration(0)
	for now := time.Duration(0); now <= spec.Duration; now += time.Millisecond {
		for {
			next, enough := s.Next(last, uint64(len(due)), seen(now))
			if enough || next > now {
				break
			}
			last = max(next, now-time.Millisecond)
			due = append(due, last)
		}
	}
	return due
}

func TestTopUpSendsWhatLacks(t *testing.T) {
	t.Parallel()
	perSecond := func(rate float64) func(time.Duration) uint64 {
		return func(t time.Duration) uint64 { return uint64(rate * t.Seconds()) }
	}
	for _, tc := range []struct {
		proves   string
		spec     Spec
		seen     func(time.Duration) uint64
		min, max int
	}{
		{"all, when nobody else sends", Spec{Samples: 300, Duration: 30 * time.Second}, perSecond(0), 300, 300},
		{"nothing, when others send it at once", Spec{Samples: 300, Duration: 30 * time.Second}, func(time.Duration) uint64 { return 300 }, 0, 0},
		// The rule does not foresee others: 300 are reached after 30·(1 − e⁻²) = 25.9 s.
		{"some more than half, when others send half", Spec{Samples: 300, Duration: 30 * time.Second}, perSecond(5), 169, 172},
		{"hardly any, when others send more than enough", Spec{Samples: 300, Duration: 30 * time.Second}, perSecond(1000), 0, 3},
		{
			"all, when others come only to stop at once",
			Spec{Samples: 300, Duration: 30 * time.Second},
			func(t time.Duration) uint64 { return uint64(min(t.Seconds(), 10) * 10) }, 195, 205,
		},
		{"no more than the cap, also when that is not enough", Spec{Samples: 3000, Rate: 20, Duration: 30 * time.Second}, perSecond(0), 599, 601},
		{
			"no more than the cap, when others' count falls back",
			Spec{Samples: 600, Rate: 25, Duration: 30 * time.Second},
			func(t time.Duration) uint64 {
				if t < 20*time.Second {
					return 590
				}
				return 0
			}, 240, 262,
		},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			due := topUp(t, tc.spec, tc.seen)
			if len(due) < tc.min || len(due) > tc.max {
				t.Errorf("%d were sent, want %d to %d", len(due), tc.min, tc.max)
			}
			limit := tc.spec.Rate
			if limit == 0 {
				limit = defaultCap
			}
			for i := 1; i < len(due); i++ {
				if gap := due[i] - due[i-1]; gap < time.Duration(float64(time.Second)/limit) {
					t.Fatalf("a gap of %s is over %v per second", gap, limit)
				}
			}
		})
	}
}

func TestTopUpGapIsRemainingTimeByShortfall(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Spec{Kind: "top-up", Samples: 100, Rate: 20, Duration: 100 * time.Second}).(TopUp)
	for _, tc := range []struct {
		proves     string
		last       time.Duration
		sent, seen uint64
		due        time.Duration
		enough     bool
	}{
		{"the first is due at once", 0, 0, 0, 0, false},
		{"then evenly", 0, 1, 0, time.Second, false},
		{"others make the gap longer", 0, 1, 50, 2 * time.Second, false},
		{"lost time makes it shorter", 50 * time.Second, 1, 0, 50*time.Second + 500*time.Millisecond, false},
		{"down to the cap", 99 * time.Second, 1, 0, 99*time.Second + 50*time.Millisecond, false},
		{"the last one is within the duration", 98 * time.Second, 99, 0, 99 * time.Second, false},
		{"own requests are enough", 99 * time.Second, 100, 0, 0, true},
		{"others' are enough", 0, 0, 100, 0, true},
		{"others' are more than enough", 0, 5, math.MaxUint64, 0, true},
		{"both together are enough", 0, 40, 60, 0, true},
		{"nothing is due after the end", 99990 * time.Millisecond, 10, 0, 100*time.Second + 40*time.Millisecond, true},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if due, enough := s.Next(tc.last, tc.sent, tc.seen); due != tc.due || enough != tc.enough {
				t.Errorf("due at %s, enough %t; want %s, %t", due, enough, tc.due, tc.enough)
			}
		})
	}
	if rate := s.RateNow(50*time.Second, 10, 40); rate != 1 {
		t.Errorf("50 that lack in 50 s are %v per second", rate)
	}
	if s.RateNow(0, 0, 100) != 0 || s.RateNow(100*time.Second, 0, 0) != 0 || s.RateNow(99*time.Second, 0, 0) != 20 {
		t.Error("the rate is not 0 when nothing lacks or at the end, or over its cap")
	}
}
