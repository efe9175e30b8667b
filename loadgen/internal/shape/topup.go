package shape

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// defaultCap is the highest rate of a top-up that names none, per second.
const defaultCap = 50

// TopUp sends only what others' traffic lacks to Samples within the duration. As a
// Shape it is the plan for when nobody else sends anything; Next is the plan with
// what is known of the others.
type TopUp struct {
	lines
	samples uint64
}

func newTopUp(s Spec) (TopUp, error) {
	if s.Samples == 0 {
		return TopUp{}, errors.New("samples 0: must be at least 1")
	}
	if s.Samples > 1<<53 {
		return TopUp{}, fmt.Errorf("samples %d: are more than can be counted", s.Samples)
	}
	limit := s.Rate
	if limit == 0 {
		limit = defaultCap
	}
	even := min(float64(s.Samples)/s.Duration.Seconds(), limit)
	alone, err := newLines(line{even, even, s.Duration})
	alone.highest = limit
	return TopUp{alone, s.Samples}, err
}

// Samples is how many requests there should be at the end, by whomever.
func (t TopUp) Samples() uint64 { return t.samples }

// Next is when the next request is due after the last one was due at last, with
// sent requests of our own (that one included) and seen of others; the first one
// is due at once. The gap is remaining time / remaining shortfall, both as they
// were when the last one was due, and at least 1/rate. Enough says that nothing
// is lacking, or that the time is over.
func (t TopUp) Next(last time.Duration, sent, seen uint64) (due time.Duration, enough bool) {
	if seen >= t.samples || sent >= t.samples-seen {
		return 0, true
	}
	if sent == 0 {
		return 0, false
	}
	due = last + t.gap(last, t.samples-seen-sent+1)
	return due, due >= t.duration
}

// RateNow is the rate that Next leads to, per second.
func (t TopUp) RateNow(elapsed time.Duration, sent, seen uint64) float64 {
	if elapsed < 0 || elapsed >= t.duration || seen >= t.samples || sent >= t.samples-seen {
		return 0
	}
	return 1 / t.gap(elapsed, t.samples-seen-sent).Seconds()
}

func (t TopUp) gap(at time.Duration, shortfall uint64) time.Duration {
	even := float64(t.duration-at) / float64(shortfall)
	return time.Duration(min(max(math.Ceil(even), float64(time.Second)/t.highest), float64(t.duration)))
}
