package simulate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func many(s Service, runs int, judge func() Judge) Summary {
	var all []Outcome
	for i := range runs {
		all = append(all, Run(s, judge(), rand.New(rand.NewPCG(1, uint64(i)))))
	}
	return Summarize(all)
}

func gatekeeper() Judge { return NewGatekeeper(policy.Default(), 10) }

// The whole of the shipped judge on made-up traffic: what verdict.md §4.3 asks of its parts.
func TestTheGatekeeperFindsBadCanariesAndSparesGoodOnes(t *testing.T) {
	for name, c := range map[string]struct {
		service Service
		least   int // of 50 rolled back
		most    int
		seconds float64 // median, at most
	}{
		"all fails":                {Service{RPS: 100, Weight: 10, ErrorRate: 1, PrimaryRate: .001, Cluster: 1, For: time.Minute}, 50, 50, 5},
		"half fails":               {Service{RPS: 100, Weight: 10, ErrorRate: .5, PrimaryRate: .001, Cluster: 1, For: time.Minute}, 50, 50, 6},
		"5 % fails":                {Service{RPS: 100, Weight: 10, ErrorRate: .05, PrimaryRate: .001, Cluster: 1, For: 2 * time.Minute}, 50, 50, 25},
		"at the SLO":               {Service{RPS: 100, Weight: 10, ErrorRate: .005, PrimaryRate: .005, Cluster: 1, For: 4 * time.Minute}, 0, 2, 0},
		"at the SLO, in clusters":  {Service{RPS: 100, Weight: 10, ErrorRate: .005, PrimaryRate: .005, Cluster: 5, For: 4 * time.Minute}, 0, 2, 0},
		"at the SLO, few requests": {Service{RPS: 1, Weight: 10, ErrorRate: .005, PrimaryRate: .005, Cluster: 1, For: 4 * time.Minute}, 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := many(c.service, 50, gatekeeper)
			if s.RolledBack < c.least || s.RolledBack > c.most || c.seconds > 0 && s.Seconds.Median > c.seconds {
				t.Errorf("got %+v, want %d to %d rolled back, within %v s", s, c.least, c.most, c.seconds)
			}
		})
	}
}

// Flagger's own check at its fastest rolls back what is good, and at its calmest takes minutes (verdict.md §3.2, §3.3).
func TestFlaggerAlone(t *testing.T) {
	judge := func(interval time.Duration, threshold int) func() Judge {
		return func() Judge { return &Flagger{Interval: interval, Threshold: threshold} }
	}
	good := Service{RPS: 10, Weight: 10, ErrorRate: .005, PrimaryRate: .005, Cluster: 1, For: 30 * time.Minute}
	if s := many(good, 100, judge(10*time.Second, 1)); s.RolledBack < 95 {
		t.Errorf("10s × 1: %+v", s)
	}
	dead := Service{RPS: 100, Weight: 10, ErrorRate: 1, Cluster: 1, For: 30 * time.Minute}
	for _, c := range []struct {
		interval  time.Duration
		threshold int
		seconds   float64
	}{{10 * time.Second, 1, 20}, {10 * time.Second, 10, 110}, {time.Minute, 5, 360}} {
		if s := many(dead, 20, judge(c.interval, c.threshold)); s.RolledBack != 20 || s.Seconds.Median != c.seconds {
			t.Errorf("%s × %d: %+v, want all after %v s", c.interval, c.threshold, s, c.seconds)
		}
	}
	idle := Service{RPS: .001, Weight: 10, Cluster: 1, For: 5 * time.Minute}
	if s := many(idle, 20, judge(10*time.Second, 10)); s.RolledBack != 20 {
		t.Errorf("no traffic is a failed check: %+v", s)
	}
}

func TestTrafficHasTheRatesItIsAskedFor(t *testing.T) {
	for _, group := range []float64{1, 3, 10} {
		s := traffic{rand.New(rand.NewPCG(3, 3)), 20, .05, group}
		var sum rollout.Counts
		for range 50_000 {
			sum = sum.Add(s.second())
		}
		if rate := sum.ErrorRate() / 100; math.Abs(rate-.05) > .003 {
			t.Errorf("clusters of %v: errors %v, want 0.05", group, rate)
		}
	}
}
