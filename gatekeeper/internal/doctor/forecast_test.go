package doctor

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// One request a block is what verdict.md §3.6 has exact medians for (α = 0.005, half stake, no restarts).
func TestDetectionIsNearTheExactMedians(t *testing.T) {
	r := rules()
	r.Confidence.Block = time.Second
	r.FailFast.Mode = policy.Guarded
	for percent, median := range map[float64]float64{2: 515, 3: 238, 5: 98, 20: 13} {
		got := detect(r, 1, percent)
		if got.Requests < .6*median || got.Requests > 1.7*median {
			t.Errorf("%v %% is found after %v requests, the median is %v", percent, got.Requests, median)
		}
		if got.After != time.Duration(got.Requests)*time.Second {
			t.Errorf("%v %%: %v requests at 1/s take %v", percent, got.Requests, got.After)
		}
	}
}

func TestPredict(t *testing.T) {
	weights := []int{10, 25, 50, 100}
	f := Predict(rules(), weights, 10*time.Second, 1.2)
	if f.Clean != 94 { // verdict.md §4.1: clean requests for U <= 4 %
		t.Errorf("the second weight needs %v clean requests, want 94", f.Clean)
	}
	if want := 790 * time.Second; f.FirstStep != want { // 94 / 0.12 a second, at the next look
		t.Errorf("the first step takes %v, want %v", f.FirstStep, want)
	}
	// 94 requests at 0.12/s, 95 more at 0.3/s, 190 more at 0.6/s, and none at 1.2/s but the bake time; four looks around it.
	if f.Whole < 25*time.Minute || f.Whole > 28*time.Minute {
		t.Errorf("the whole release takes %v", f.Whole)
	}
	if f.Fastest != 5*time.Minute+3*time.Minute+40*time.Second {
		t.Errorf("with any load it takes %v", f.Fastest)
	}
	if _, whole := course(rules(), weights, 10*time.Second, f.Needed); whole > wanted {
		t.Errorf("at the needed %v/s it takes %v", f.Needed, whole)
	}
	if _, whole := course(rules(), weights, 10*time.Second, .95*f.Needed); whole <= wanted {
		t.Errorf("a little less than the needed %v/s does it in %v", f.Needed, whole)
	}
	for i, d := range f.Detect {
		if i > 0 && d.After > f.Detect[i-1].After && f.Detect[i-1].After > 0 {
			t.Errorf("%v %% is found later than %v %%", d.ErrorRate, f.Detect[i-1].ErrorRate)
		}
	}
	if text := f.Text(); !strings.Contains(text, "At 1.2 requests/s the canary gets 0.12/s at 10 %: 94 clean requests and the bake time take 13 min, a whole clean release") {
		t.Errorf("it says %q", text)
	}
}

func TestPredictAtTheEdges(t *testing.T) {
	weights := []int{50}
	idle := Predict(rules(), weights, 10*time.Second, 0)
	if idle.FirstStep != 0 || idle.Whole != 0 || idle.Detect[3].After != 0 || !strings.Contains(idle.Text(), "more than a day") {
		t.Errorf("without traffic: %+v", idle)
	}
	slow := rules()
	slow.Bake.First = 2 * time.Hour
	if f := Predict(slow, weights, 10*time.Second, 1000); f.Needed != 0 || !strings.Contains(f.Text(), "the bake times forbid it") {
		t.Errorf("bake times over the wanted time: %+v", f)
	}
	quick := Predict(rules(), []int{10, 25, 50, 100}, 10*time.Second, 1000)
	if quick.FirstStep != 5*time.Minute {
		t.Errorf("with much traffic the first step takes %v, want the bake time", quick.FirstStep)
	}
	if all := quick.Detect[3]; all.After > 4*time.Second {
		t.Errorf("20 %% of 100 requests a second is found after %v", all.After)
	}
	// From 300 requests on the literal rule speaks at the end of its window, whatever the evidence is.
	literal := rules()
	literal.Confidence.FalseRollback = 1e-9
	if d := detect(literal, 1, 2.5); d.After != literal.FailFast.Within {
		t.Errorf("2.5 %% is found after %v, want the window's end", d.After)
	}
	literal.FailFast.Mode = policy.Guarded
	if d := detect(literal, 1, 2.5); d.After == literal.FailFast.Within {
		t.Error("guarded: the window rule does not speak by itself")
	}
}

func TestOnlyWhatBreaksThePromiseIsToBeFound(t *testing.T) {
	lax := rules()
	lax.SLO.Objective = 98
	if f := Predict(lax, []int{10}, 10*time.Second, 100); len(f.Detect) != 2 || f.Detect[0].ErrorRate != 5 {
		t.Errorf("with an objective of 98 %%: %+v", f.Detect)
	}
}

func TestTheServicesRateIsThatOfBothVersions(t *testing.T) {
	p := healthy(t)
	set(p.CanaryIngress, "50", "metadata", "annotations", weightKey)
	f, ok := p.forecast()
	if !ok || math.Abs(f.Rate-100) > 1e-9 {
		t.Errorf("with half of the traffic on the canary and 50/s on the primary the service has %v/s", f.Rate)
	}
}

func TestWeights(t *testing.T) {
	p := healthy(t)
	set(p.Canary, nil, "spec", "analysis", "stepWeights")
	set(p.Canary, float64(20), "spec", "analysis", "stepWeight")
	set(p.Canary, float64(50), "spec", "analysis", "maxWeight")
	if got := p.weights(); len(got) != 3 || got[2] != 60 {
		t.Errorf("steps of 20 up to 50 are %v, want 20 40 60: Flagger does not cut the last", got)
	}
}
