package doctor

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// Horizons of the forecast.
const (
	wanted     = 30 * time.Minute // in which a release should be done
	farthest   = 24 * time.Hour   // beyond it nothing is forecast
	topRate    = 1e6              // requests a second, more than anybody sends
	afterSteps = 4                // looks of Flagger around the steps: detection, promotion, shift, end (flagger-facts §1.6)
)

// Forecast is what the gatekeeper can see with a service's traffic.
type Forecast struct {
	Rate       float64       // of the whole service, requests a second
	Weight     int           // the first, percent
	CanaryRate float64       // at the first weight, requests a second
	Clean      float64       // requests without an error until the next weight is allowed
	FirstStep  time.Duration // until then, on clean traffic; 0: longer than a day
	Whole      time.Duration // the whole release on clean traffic; 0: longer than a day
	Detect     []Detection
	Fastest    time.Duration // the whole release with any load
	Needed     float64       // rate of the whole service with which a release takes half an hour; 0: no load does
}

// Detection is when a canary is rolled back at the first weight, if ErrorRate percent of its requests fail, which is more
// than the objective allows.
type Detection struct {
	ErrorRate float64
	After     time.Duration // 0: not within a day
	Requests  float64       // that the canary answers until then
}

// Predict forecasts a release with these weights, in percent and ascending, when the service answers rate requests a
// second. Requests and errors are supposed to come evenly, so times are near the median; the true ones scatter by half
// or double. Weights must not be empty.
func Predict(rules policy.Rules, weights []int, interval time.Duration, rate float64) Forecast {
	f := Forecast{Rate: rate, Weight: weights[0], CanaryRate: rate * float64(weights[0]) / 100}
	f.Clean = clean(rules, following(weights, 0))
	f.FirstStep, f.Whole = course(rules, weights, interval, rate)
	_, f.Fastest = course(rules, weights, interval, topRate)
	f.Needed = neededRate(rules, weights, interval)
	for _, percent := range []float64{1, 2, 5, 20} {
		if percent <= 100*rules.Allowed() {
			continue // that much is promised
		}
		f.Detect = append(f.Detect, detect(rules, f.CanaryRate, percent))
	}
	return f
}

func following(weights []int, i int) int {
	if i+1 < len(weights) {
		return weights[i+1]
	}
	return 100
}

// clean is how many requests without an error allow a weight.
func clean(rules policy.Rules, weight int) float64 {
	bound := rules.Ramp.RiskBurn * rules.Allowed() / (float64(weight) / 100)
	if bound >= 1 {
		return 0
	}
	return evidence.CleanRequests(0, 0, bound, rules.Ramp.Miss/100, rules.Confidence.Dispersion)
}

// course is how long the first step and the whole release take on clean traffic; 0 for what is over a day.
func course(rules policy.Rules, weights []int, interval time.Duration, rate float64) (firstStep, whole time.Duration) {
	seen, at, bake := 0.0, afterSteps*interval, rules.Bake.First
	for i, w := range weights {
		speed := rate * float64(w) / 100
		lacks := max(0, clean(rules, following(weights, i))-seen)
		seconds := max(bake.Seconds(), interval.Seconds())
		if lacks > 0 {
			seconds = max(seconds, lacks/speed) // +Inf without traffic
		}
		if seconds > farthest.Seconds() {
			return firstStep, 0
		}
		step := time.Duration(math.Ceil(seconds/interval.Seconds())) * interval // Flagger looks once an interval
		seen += speed * step.Seconds()
		at += step
		if i == 0 {
			firstStep = step
		}
		bake = rules.Bake.Step
	}
	return firstStep, at
}

// neededRate finds the lowest rate, to a hundredth, with which the whole release takes no longer than wanted.
func neededRate(rules policy.Rules, weights []int, interval time.Duration) float64 {
	enough := func(rate float64) bool {
		_, whole := course(rules, weights, interval, rate)
		return whole > 0 && whole <= wanted
	}
	if !enough(topRate) {
		return 0
	}
	low, high := 0.0, topRate
	for high > low*1.01+.001 {
		if middle := math.Sqrt(max(low, .001) * high); enough(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// detect runs the gatekeeper's bets on a canary that answers rate requests a second of which percent fail, all evenly
// spread in whole requests: the share bet pays less for what comes alone than for what comes as a mean, so fractions of
// requests would flatter. Until the window of failFast is over it is the evidence that speaks, then also the window rule.
func detect(rules policy.Rules, rate, percent float64) Detection {
	tested := rules.Plan(false)
	line, block := -math.Log(tested.Pods.Alpha), tested.Block
	var bets evidence.Process
	var n, k float64
	for at := time.Duration(0); at < farthest; at += block {
		end := at + block
		requests := math.Floor(rate * end.Seconds())
		bad := math.Floor(requests*percent/100 + .5)
		bets = bets.Observe(tested.Pods.Stakes, at, bad-k, requests-n, tested.Pods.SLO)
		n, k = requests, bad
		proven := k >= policy.LeastErrors && bets.LogE() >= line
		if proven || at < rules.FailFast.Within && end >= rules.FailFast.Within && windowFails(rules, n, k) {
			return Detection{percent, end, n}
		}
	}
	return Detection{ErrorRate: percent}
}

// windowFails reports whether the literal rule over the first minutes rolls back.
func windowFails(rules policy.Rules, n, k float64) bool {
	return rules.TakenLiterally(uint64(n)) && n > 0 && 100*k/n > rules.FailFast.ErrorRate
}

// Text says it in words.
func (f Forecast) Text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "At %s requests/s the canary gets %s/s at %d %%", short(f.Rate), short(f.CanaryRate), f.Weight)
	if f.FirstStep > 0 {
		fmt.Fprintf(&s, ": %.0f clean requests and the bake time take %s", f.Clean, rough(f.FirstStep))
	} else {
		fmt.Fprintf(&s, ": %.0f clean requests take more than a day", f.Clean)
	}
	if f.Whole > 0 {
		fmt.Fprintf(&s, ", a whole clean release %s", rough(f.Whole))
	}
	if len(f.Detect) > 0 {
		s.WriteString(". A canary that fails ")
	}
	for i, d := range f.Detect {
		if i > 0 {
			s.WriteString(", ")
		}
		if d.After == 0 {
			fmt.Fprintf(&s, "%v %% is not found within a day", d.ErrorRate)
		} else {
			fmt.Fprintf(&s, "%v %% is found after %s (%.0f requests)", d.ErrorRate, rough(d.After), d.Requests)
		}
	}
	if f.Needed > 0 {
		fmt.Fprintf(&s, ". A release within %s needs %s requests/s", rough(wanted), short(f.Needed))
	} else {
		fmt.Fprintf(&s, ". No load makes a release take less than %s: the bake times forbid it", rough(f.Fastest))
	}
	return s.String() + "."
}

func forecastChecks() []Check {
	load := "put load on the service during releases (load.enabled in the chart, or loadgen's top-up), or begin with a higher weight"
	return []Check{
		{"traffic-low", Warn, "too little traffic for the first step", "verdict.md §3.5", func(p Patient) []hit {
			f, ok := p.forecast()
			slow := ok && (f.FirstStep == 0 || f.FirstStep > p.Rules.Evidence.MaxHold)
			return when(slow, "traffic of "+p.target()+"-primary", fmt.Sprintf("the evidence for the second weight takes longer than evidence.maxHold (%s)", rough(p.Rules.Evidence.MaxHold)), load)
		}},
		{"traffic", Info, "what the traffic lets the gatekeeper see", "verdict.md §2.4, §3.6", func(p Patient) []hit {
			f, ok := p.forecast()
			if !ok {
				return nil
			}
			change := ""
			if f.Needed > f.Rate {
				change = load
			}
			return []hit{{"traffic of " + p.target() + "-primary", f.Text(), change}}
		}},
		{"traffic-unknown", Info, "traffic that could not be read", "gatekeeper", func(p Patient) []hit {
			return when(!p.RateKnown && p.RateTrouble != "", "traffic of "+p.target()+"-primary", "not read, so nothing is forecast: "+p.RateTrouble, "")
		}},
	}
}

// forecast is ok where the traffic is known and weights share it.
func (p Patient) forecast() (f Forecast, ok bool) {
	weights := p.weights()
	if !p.RateKnown || len(weights) == 0 || p.Rules.Confidence.Block <= 0 {
		return Forecast{}, false
	}
	rate := p.Rate
	if w, under := p.weight(); under && w > 0 && w < 100 {
		rate /= 1 - w/100 // the canary has the rest now
	}
	return Predict(p.Rules, weights, p.interval(), rate), true
}

// weights are the canary's, in percent; none where the analysis counts iterations, or where they do not ascend.
func (p Patient) weights() (all []int) {
	for _, w := range p.Canary.numbers("spec", "analysis", "stepWeights") {
		all = append(all, int(w))
	}
	step, last := int(p.Canary.number("spec", "analysis", "stepWeight")), 100
	if limit := int(p.Canary.number("spec", "analysis", "maxWeight")); limit > 0 {
		last = min(limit, 100)
	}
	if len(all) == 0 && step > 0 {
		for w := step; ; w += step {
			all = append(all, min(w, 100))
			if w >= last {
				break
			}
		}
	}
	if len(all) > 0 && (all[0] <= 0 || !slices.IsSorted(all)) {
		return nil
	}
	return all
}

// rough is a time in words, as exact as a forecast can be.
func rough(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
}

// short is a number with two digits that count.
func short(x float64) string {
	if x >= 100 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
