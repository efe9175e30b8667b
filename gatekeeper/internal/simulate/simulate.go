// Package simulate runs made-up rollouts through the policy, and through Flagger's own check, to say how often and how soon they roll back.
package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Service is what a rollout meets. Rates are shares, 0 to 1.
type Service struct {
	RPS         float64 // requests a second of both versions together, Poisson arrivals
	Weight      int     // percent of them that go to the canary, the same from begin to end
	ErrorRate   float64 // of the canary
	PrimaryRate float64 // of the primary
	Cluster     float64 // mean number of errors that come together, at least 1, as retries and lost connections make them
	For         time.Duration
}

// Outcome is how one rollout ended.
type Outcome struct {
	RolledBack bool
	After      time.Duration // since the first traffic
	Failed     float64       // canary requests that failed until then
	Reason     string        // kind of the verdict's strongest reason
}

// Judge watches one rollout, second by second, and says when it rolls back.
type Judge interface {
	// See takes in what both versions answered in the second that ends at the time since first traffic.
	See(at time.Duration, canary, primary rollout.Counts) (rollback bool, reason string)
}

// Run lets one rollout go on until the judge rolls it back or its time is over.
func Run(s Service, j Judge, chance *rand.Rand) Outcome {
	canary := traffic{chance, s.RPS * float64(s.Weight) / 100, s.ErrorRate, s.Cluster}
	primary := traffic{chance, s.RPS * float64(100-s.Weight) / 100, s.PrimaryRate, s.Cluster}
	var failed float64
	for at := time.Second; at <= s.For; at += time.Second {
		c, p := canary.second(), primary.second()
		failed += float64(c.Bad)
		if back, why := j.See(at, c, p); back {
			return Outcome{RolledBack: true, After: at, Failed: failed, Reason: why}
		}
	}
	return Outcome{After: s.For, Failed: failed}
}

// traffic makes one version's responses.
type traffic struct {
	chance                 *rand.Rand
	perSecond, rate, group float64
}

// second draws the responses of one second. Each request may begin a cluster of errors, whose further ones are requests of
// their own; the chance is such that errors are rate of all requests.
func (t traffic) second() rollout.Counts {
	begin := t.rate / (t.group - t.rate*(t.group-1))
	all := t.poisson(t.perSecond)
	first := t.poisson(all * begin)
	bad := min(first, all)
	for range int(bad) {
		for t.chance.Float64() > 1/t.group {
			bad, all = bad+1, all+1
		}
	}
	return rollout.Counts{Good: uint64(all - bad), Bad: uint64(bad)}
}

// poisson draws by counting exponential gaps, and from the normal distribution where that would take long.
func (t traffic) poisson(mean float64) float64 {
	if mean > 50 {
		return max(0, math.Round(mean+math.Sqrt(mean)*t.chance.NormFloat64()))
	}
	n, left := 0.0, mean-t.chance.ExpFloat64()
	for left > 0 {
		n++
		left -= t.chance.ExpFloat64()
	}
	return n
}

// Gatekeeper judges by rules, with the code that judges real rollouts.
type Gatekeeper struct {
	rules policy.Rules
	r     rollout.Rollout
	tick  rollout.Tick
	begin time.Time
}

// NewGatekeeper begins a rollout whose canary gets weight percent of the traffic. Counts come from pods alone.
func NewGatekeeper(rules policy.Rules, weight int) *Gatekeeper {
	g := &Gatekeeper{rules: rules, begin: time.Unix(0, 0).UTC()}
	g.r = rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "simulated", Name: "service"}}, g.begin)
	g.tick = rollout.Tick{At: g.begin, Phase: rollout.Progressing, Next: 100, Answering: 1, Health: rollout.Health{Pods: 1, Ready: 1}}
	policy.Advance(rules, &g.r, g.tick)
	g.tick.Weight = weight
	policy.Advance(rules, &g.r, g.tick)
	return g
}

// See judges the second.
func (g *Gatekeeper) See(at time.Duration, canary, primary rollout.Counts) (rollback bool, reason string) {
	g.tick.At = g.begin.Add(at)
	g.tick.Canary, g.tick.Primary = g.tick.Canary.Add(canary), g.tick.Primary.Add(primary)
	policy.Advance(g.rules, &g.r, g.tick)
	g.r.Timeline = nil // nobody reads it
	return g.r.Verdict.Outcome == rollout.Fail, g.r.Verdict.Kind()
}

// Flagger judges as Flagger 1.44 does with its builtin success rate at 99 % over the last minute (pkg/controller/scheduler.go,
// pkg/metrics/observers): a look every Interval, a failed check for less than 99 % and for no requests at all, failed
// checks add up over the whole analysis, and at the look after Threshold of them it rolls back.
type Flagger struct {
	Interval  time.Duration
	Threshold int

	seconds []rollout.Counts
	failed  int
}

// Flagger's window of the metric, how old Prometheus' data are, and the least success rate.
const (
	window  = 60
	dataAge = 5
	least   = 0.99
)

// See looks, when it is time to.
func (f *Flagger) See(at time.Duration, canary, _ rollout.Counts) (rollback bool, reason string) {
	f.seconds = append(f.seconds, canary)
	if at%f.Interval != 0 {
		return false, ""
	}
	if f.failed >= f.Threshold {
		return true, "failed-checks"
	}
	end := max(len(f.seconds)-dataAge, 0)
	var sum rollout.Counts
	for _, c := range f.seconds[max(end-window, 0):end] {
		sum = sum.Add(c)
	}
	if sum.Total() == 0 || float64(sum.Good) < least*float64(sum.Total()) {
		f.failed++
	}
	return false, ""
}

// Summary is what many rollouts of the same kind came to. Times and failed requests are of those that were rolled back;
// zero where none was.
type Summary struct {
	Runs       int            `json:"runs"`
	RolledBack int            `json:"rolledBack"`
	Reasons    map[string]int `json:"reasons,omitempty"`
	Seconds    Spread         `json:"seconds"`
	Failed     Spread         `json:"failedRequests"`
}

// Spread is a median and the 95th percentile.
type Spread struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
}

// Summarize adds outcomes up.
func Summarize(all []Outcome) Summary {
	s := Summary{Runs: len(all), Reasons: map[string]int{}}
	var seconds, failed []float64
	for _, o := range all {
		if o.RolledBack {
			s.Reasons[o.Reason]++
			seconds, failed = append(seconds, o.After.Seconds()), append(failed, o.Failed)
		}
	}
	s.RolledBack = len(seconds)
	s.Seconds, s.Failed = spread(seconds), spread(failed)
	return s
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	at := func(share float64) float64 { return values[int(share*float64(len(values)-1)+.5)] }
	return Spread{Median: at(.5), P95: at(.95)}
}
