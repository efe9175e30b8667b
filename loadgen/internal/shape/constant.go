// Package shape says when each request of an attack is due; it holds no clock.
package shape

import (
	"fmt"
	"math"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// MaxRate is the highest rate that can be asked for, in requests per second.
// Past one request per microsecond a timer means nothing.
const MaxRate = 1e6

// grace is how long after its duration an attack may still send what it owes.
// A generator that cannot keep up stops late instead of never; one that can
// always sends exactly Hits requests.
const grace = time.Second

// Constant is an even stream of requests, the first one due at once. The zero
// value sends nothing; NewConstant makes the others.
type Constant struct {
	rate     float64 // requests per second, over 0
	duration time.Duration
	hits     uint64
}

var _ vegeta.Pacer = Constant{}

// NewConstant returns the shape of rate requests per second for duration.
func NewConstant(rate float64, duration time.Duration) (Constant, error) {
	switch {
	case math.IsNaN(rate) || rate <= 0:
		return Constant{}, fmt.Errorf("rate %v: must be over 0 requests per second", rate)
	case rate > MaxRate:
		return Constant{}, fmt.Errorf("rate %v: must be at most %.0f requests per second", rate, float64(MaxRate))
	case duration <= 0:
		return Constant{}, fmt.Errorf("duration %s: must be over 0", duration)
	}
	// A hit is due at n/rate, before the duration ends. The small number keeps a
	// product that is whole on paper from being rounded up to one hit more.
	hits := math.Ceil(rate*duration.Seconds() - 1e-6)
	return Constant{rate: rate, duration: duration, hits: uint64(max(hits, 1))}, nil
}

// Hits is the number of requests in the whole shape.
func (c Constant) Hits() uint64 { return c.hits }

// At is when request n (counted from 0) is due, measured from the start.
func (c Constant) At(n uint64) time.Duration {
	return time.Duration(float64(n) / c.rate * float64(time.Second))
}

// Pace is vegeta's question: elapsed since the start and with hits requests
// sent, how long until the next one, or is this the end?
func (c Constant) Pace(elapsed time.Duration, hits uint64) (wait time.Duration, stop bool) {
	if hits >= c.hits || elapsed > c.duration+grace {
		return 0, true
	}
	return max(c.At(hits)-elapsed, 0), false
}

// Rate is the number of requests per second at any time of the attack.
func (c Constant) Rate(time.Duration) float64 { return c.rate }
