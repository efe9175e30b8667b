package shape

import (
	"math"
	"testing"
	"time"
)

func TestConstantPace(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves   string
		rate     float64
		duration time.Duration
		elapsed  time.Duration
		hits     uint64
		wait     time.Duration
		stop     bool
	}{
		{"the first request is due at once", 50, time.Second, 0, 0, 0, false},
		{"the second waits one interval", 50, time.Second, 0, 1, 20 * time.Millisecond, false},
		{"time that passed is taken off the wait", 50, time.Second, 15 * time.Millisecond, 1, 5 * time.Millisecond, false},
		{"one that is late is sent at once", 50, time.Second, 90 * time.Millisecond, 1, 0, false},
		{"a rate under one per second waits for seconds", 1.0 / 3, time.Minute, 0, 2, 6 * time.Second, false},
		{"a rate that is not whole keeps its mean", 2.5, time.Minute, 0, 5, 2 * time.Second, false},
		{"it stops when all are sent", 50, time.Second, time.Second, 50, 0, true},
		{"the last one is still sent when it is a little late", 50, time.Second, 1100 * time.Millisecond, 49, 0, false},
		{"a generator that cannot keep up stops", 50, time.Second, 2100 * time.Millisecond, 10, 0, true},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			c, err := NewConstant(tc.rate, tc.duration)
			if err != nil {
				t.Fatal(err)
			}
			if wait, stop := c.Pace(tc.elapsed, tc.hits); wait != tc.wait || stop != tc.stop {
				t.Errorf("Pace(%s, %d) = %s, %t; want %s, %t", tc.elapsed, tc.hits, wait, stop, tc.wait, tc.stop)
			}
		})
	}
}

func TestConstantHits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves   string
		rate     float64
		duration time.Duration
		want     uint64
	}{
		{"rate times duration", 50, 10 * time.Second, 500},
		{"a product that floating point makes too large", 0.1, 30 * time.Second, 3},
		{"the highest rate for a day", MaxRate, 24 * time.Hour, 86_400_000_000},
		{"part of an interval has its first request", 1.0 / 3, 4 * time.Second, 2},
		{"a duration under one interval sends one request", 1, time.Nanosecond, 1},
		{"the lowest rate sends one request", math.SmallestNonzeroFloat64, time.Hour, 1},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			c, err := NewConstant(tc.rate, tc.duration)
			if err != nil {
				t.Fatal(err)
			}
			if c.Hits() != tc.want {
				t.Errorf("%d hits, want %d", c.Hits(), tc.want)
			}
			if last := c.At(c.Hits() - 1); last < 0 || last >= tc.duration {
				t.Errorf("the last request is due at %s, outside of %s", last, tc.duration)
			}
		})
	}
}

func TestNewConstantRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves   string
		rate     float64
		duration time.Duration
	}{
		{"no rate", 0, time.Second},
		{"a negative rate", -1, time.Second},
		{"a rate that is not a number", math.NaN(), time.Second},
		{"an endless rate", math.Inf(1), time.Second},
		{"a rate no timer can keep", MaxRate + 1, time.Second},
		{"no duration", 1, 0},
		{"a negative duration", 1, -time.Second},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if c, err := NewConstant(tc.rate, tc.duration); err == nil {
				t.Errorf("was taken as %+v", c)
			}
		})
	}
	if _, stop := (Constant{}).Pace(0, 0); !stop {
		t.Error("the zero value sends")
	}
}
