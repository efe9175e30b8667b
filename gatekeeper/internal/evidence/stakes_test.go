package evidence

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// found is the median time until the SLO channel finds a canary whose errors begin after some ten good minutes, spread over
// half a minute, at 10 requests a second in blocks of 2 s. The fault begins with a block: people wait half a block more.
func found(stakes Stakes, rate float64) time.Duration {
	const block, runs = 2 * time.Second, 450
	var times []time.Duration
	for run := range uint64(runs) {
		begin := 10*time.Minute + time.Duration(run%15)*block
		chance := rand.New(rand.NewPCG(5, run))
		var p Process
		good := traffic{chance: chance, block: block, canary: 10, rate: 1e-12, cluster: 1}
		for b := range good.blocks(begin) {
			p = p.Observe(stakes, b.At, 0, b.Canary.Requests, objective)
		}
		bad := traffic{chance: chance, block: block, canary: 10, rate: rate, cluster: 1}
		for b := range bad.blocks(time.Hour) {
			if p = p.Observe(stakes, begin+b.At, b.Canary.Bad, b.Canary.Requests, objective); p.LogE() >= line() {
				times = append(times, b.At+block)
				break
			}
		}
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// What a part of the stake in every block is for (docs/decisions/evidence.md has these figures).
func TestALateFaultIsFoundSooner(t *testing.T) {
	for _, rate := range []float64{.5, .05} {
		before, now := found(documented(), rate), found(EveryBlock(2*time.Second), rate)
		t.Logf("errors %v: %s with the stakes of verdict.md, %s with a part in every block", rate, before, now)
		if now >= before {
			t.Errorf("errors %v: found after %s, with the stakes of verdict.md after %s", rate, now, before)
		}
	}
}
