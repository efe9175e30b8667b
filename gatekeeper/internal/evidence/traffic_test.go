package evidence

import (
	"iter"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// traffic draws the blocks of two versions that are equally good. Errors come in clusters of a mean size, as retries and
// lost connections make them: a request starts one with a small chance, and the rest of the cluster are further requests
// that fail, on the same version and in the same block.
type traffic struct {
	chance          *rand.Rand
	block           time.Duration
	canary, primary float64 // requests a second that no error caused
	rate            float64 // share of bad requests
	cluster         float64 // mean size, >= 1
}

// starts is the share of the requests that start a cluster: so many that rate of all requests are bad, the clusters' own
// included.
func (s traffic) starts() float64 { return s.rate / (s.cluster - s.rate*(s.cluster-1)) }

// blocks draws the blocks of a time.
func (s traffic) blocks(until time.Duration) iter.Seq[Block] {
	return func(yield func(Block) bool) {
		start, seconds := s.starts(), s.block.Seconds()
		good := seconds * (1 - start)
		gap := func() float64 { return s.chance.ExpFloat64() / ((s.canary + s.primary) * start * seconds) }
		next := gap() // when the next cluster starts, in blocks
		for i := range int(until / s.block) {
			b := Block{
				At:      time.Duration(i) * s.block,
				Canary:  Counts{Requests: s.poisson(s.canary * good)},
				Primary: Counts{Requests: s.poisson(s.primary * good)},
			}
			for ; int(next) == i; next += gap() {
				arm := &b.Primary
				if s.primary == 0 || s.chance.Float64()*(s.canary+s.primary) < s.canary {
					arm = &b.Canary
				}
				size := s.size()
				arm.Requests += size
				arm.Bad += size
			}
			if !yield(b) {
				return
			}
		}
	}
}

// size is geometric.
func (s traffic) size() float64 {
	size := 1.0
	for s.cluster > 1 && s.chance.Float64() > 1/s.cluster {
		size++
	}
	return size
}

func (s traffic) poisson(mean float64) float64 {
	if mean == 0 {
		return 0
	}
	return distuv.Poisson{Lambda: mean, Src: s.chance}.Rand()
}

// ramp draws the blocks of a release whose two versions are equally good while the environment gets worse: the canary's
// share of the traffic rises in five steps of six minutes, and the error rate in a straight line to several times its
// begin. Whoever adds all steps up finds most errors where most of the canary's requests are.
func ramp(chance *rand.Rand, block time.Duration, perSecond float64) iter.Seq[Block] {
	const step, begin, most = 6 * time.Minute, .002, 6
	weights := []float64{.1, .25, .5, .75, 1}
	until := step * time.Duration(len(weights))
	return func(yield func(Block) bool) {
		s := traffic{chance: chance, block: block}
		worse := begin * (most - 1) * chance.Float64()
		for at := time.Duration(0); at < until; at += block {
			rate := begin + worse*at.Seconds()/until.Seconds()
			arm := func(weight float64) Counts {
				mean := perSecond * weight * block.Seconds()
				bad := s.poisson(mean * rate)
				return Counts{bad + s.poisson(mean*(1-rate)), bad}
			}
			weight := weights[at/step]
			if !yield(Block{At: at, Canary: arm(weight), Primary: arm(1 - weight)}) {
				return
			}
		}
	}
}
