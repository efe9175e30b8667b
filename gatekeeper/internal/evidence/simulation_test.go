package evidence

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// traffic draws blocks of a version whose errors come in clusters of a mean size, as retries and lost connections make
// them: each request starts one with a small chance, and the rest of the cluster are further requests that fail.
type traffic struct {
	chance            *rand.Rand
	perBlock          float64 // requests a block, mean
	rate, clusterSize float64
}

func (s traffic) block() (k, n float64) {
	n = s.poisson(s.perBlock)
	// So chosen that errors are rate of all requests, those of the clusters included.
	start := s.rate / (s.clusterSize - s.rate*(s.clusterSize-1))
	for range int(s.poisson(n * start)) {
		size := 1.0
		for s.chance.Float64() > 1/s.clusterSize {
			size++
		}
		k += size
		n += size - 1
	}
	return min(k, n), n
}

// poisson is Knuth's method, and the normal distribution where that takes long.
func (s traffic) poisson(mean float64) float64 {
	if mean > 50 {
		return max(0, math.Round(mean+math.Sqrt(mean)*s.chance.NormFloat64()))
	}
	limit, product, n := math.Exp(-mean), s.chance.Float64(), 0.0
	for product > limit {
		product *= s.chance.Float64()
		n++
	}
	return n
}

const blockLength = 5 * time.Second

// The short form of verdict.md §4.3: of 2,000 canaries exactly at their SLO at most 21 may be rolled back in an hour. A
// true rate of 0.5 % gives more with probability 0.0007.
func TestCanariesAtTheirSLOAreHardlyEverRolledBack(t *testing.T) {
	const rollouts, blocks, allowed = 2000, int(time.Hour / blockLength), 21
	for _, rps := range []float64{.1, 1, 10, 100} {
		for _, clusters := range []float64{1, 3, 10} {
			t.Run(fmt.Sprintf("%v requests a second, clusters of %v", rps, clusters), func(t *testing.T) {
				t.Parallel()
				s := traffic{rand.New(rand.NewPCG(uint64(10*rps), uint64(clusters))), rps * blockLength.Seconds(), .005, clusters}
				line, gone := math.Log(200), 0
				for range rollouts {
					var p Process
					errors := 0.0
					for i := range blocks {
						k, n := s.block()
						errors += k
						p = p.Observe(time.Duration(i)*blockLength, k, n, .005)
						if k > 0 && errors >= 3 && p.LogE() >= line {
							gone++
							break
						}
					}
				}
				t.Logf("%d of %d", gone, rollouts)
				if gone > allowed {
					t.Errorf("%d of %d good canaries were rolled back, at most %d may be", gone, rollouts, allowed)
				}
			})
		}
	}
}

// Shows that the test above can fail: evidence that supposes independent requests rolls back most good canaries whose
// errors come in clusters of three.
func TestEvidenceThatSupposesIndependenceWouldRollBackMost(t *testing.T) {
	const rollouts, blocks = 200, int(time.Hour / blockLength)
	s := traffic{rand.New(rand.NewPCG(1, 3)), 10 * blockLength.Seconds(), .005, 3}
	gone := 0
	for range rollouts {
		var p Process
		for i := range blocks {
			k, n := s.block()
			at := time.Duration(i) * blockLength
			// The same process with the likelihood bet in the share bet's place.
			before := p
			p = p.Observe(at, k, n, .005)
			for j, d := range worse() {
				p.Wealth[j] += logBet(d, k, n, .005) - LogShareBet(d, k, n, .005)
			}
			if n == 0 {
				p = before
			}
			if p.LogE() >= math.Log(200) {
				gone++
				break
			}
		}
	}
	if gone <= rollouts/2 {
		t.Errorf("%d of %d were rolled back, want more than half", gone, rollouts)
	}
}

// Medians at 10 requests a second on the canary, in seconds until the line is crossed (verdict.md §4.3).
func TestBadCanariesAreFoundInTime(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		limit time.Duration
	}{{1, 20 * time.Second}, {.2, 20 * time.Second}, {.05, 40 * time.Second}, {.02, 100 * time.Second}} {
		const rollouts = 401
		s := traffic{rand.New(rand.NewPCG(7, uint64(1000*c.rate))), 10 * blockLength.Seconds(), c.rate, 1}
		found := 0
		for range rollouts {
			var p Process
			for i := range int(c.limit / blockLength) {
				k, n := s.block()
				p = p.Observe(time.Duration(i)*blockLength, k, n, .005)
				if p.LogE() >= math.Log(200) {
					found++
					break
				}
			}
		}
		if found <= rollouts/2 {
			t.Errorf("at %v of errors %d of %d were found within %s, want more than half", c.rate, found, rollouts, c.limit)
		}
	}
}
