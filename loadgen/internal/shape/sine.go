package shape

import (
	"fmt"
	"math"
	"time"
)

// sine is a rate that swings: mean + amplitude·sin(2πt/period), rising first.
type sine struct {
	mean, amplitude float64 // per second
	period          float64 // seconds
	duration        time.Duration
}

func newSine(s Spec) (sine, error) {
	switch {
	case s.Rate == 0:
		return sine{}, fmt.Errorf("rate 0: must be over 0 requests per second")
	case s.Amplitude > s.Rate:
		return sine{}, fmt.Errorf("amplitude %v: must be at most the rate, %v", s.Amplitude, s.Rate)
	case s.Rate+s.Amplitude > MaxRate:
		return sine{}, fmt.Errorf("rate %v: with the amplitude it is over %.0f requests per second", s.Rate, float64(MaxRate))
	}
	return sine{s.Rate, s.Amplitude, s.Period.Seconds(), s.Duration}, nil
}

func (s sine) Hits() uint64            { return whole(s.sent(s.duration.Seconds())) }
func (s sine) Duration() time.Duration { return s.duration }

func (s sine) Highest() float64 { return s.mean + s.amplitude }

// sent is the integral of the rate over t seconds:
// mean·t + amplitude·period/2π · (1 − cos(2πt/period)).
func (s sine) sent(t float64) float64 {
	return s.mean*t + s.amplitude*s.period/(2*math.Pi)*(1-math.Cos(2*math.Pi*t/s.period))
}

func (s sine) rate(t float64) float64 {
	return s.mean + s.amplitude*math.Sin(2*math.Pi*t/s.period)
}

// At solves sent(t) = n by Newton's steps inside a bracket that halves when a
// step leaves it. The swing adds between 0 and amplitude·period/π to mean·t, which
// gives the first bracket.
func (s sine) At(n uint64) time.Duration {
	const exact = 1e-10 // seconds
	high := float64(n) / s.mean
	low := max(high-s.amplitude*s.period/math.Pi/s.mean, 0)
	t := (low + high) / 2
	for high-low > exact {
		over := s.sent(t) - float64(n)
		if over > 0 {
			high = t
		} else {
			low = t
		}
		next := t - over/s.rate(t)
		if !(next > low && next < high) { // also when the rate is 0
			next = (low + high) / 2
		}
		if math.Abs(next-t) <= exact/4 {
			break
		}
		t = next
	}
	return min(seconds(t), s.duration-1)
}

func (s sine) Due(elapsed time.Duration) uint64 {
	switch {
	case elapsed < 0:
		return 0
	case elapsed >= s.duration:
		return s.Hits()
	}
	return dueBy(s.sent(elapsed.Seconds()), s.Hits())
}

func (s sine) Rate(elapsed time.Duration) float64 {
	if elapsed < 0 || elapsed >= s.duration {
		return 0
	}
	return s.rate(elapsed.Seconds())
}
