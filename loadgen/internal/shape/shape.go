// Package shape says when each request of an attack is due; it holds no clock.
package shape

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxRate is the highest rate that can be asked for, in requests per second.
// Past one request per microsecond a timer means nothing.
const MaxRate = 1e6

// grace is how long after its duration an attack may still send what it owes.
// A generator that cannot keep up stops late instead of never; one that can
// always sends exactly Hits requests.
const grace = time.Second

// Shape is a plan of requests. All of it is arithmetic: safe for concurrent use,
// and the same answer at any time.
type Shape interface {
	// Hits is the number of requests in the whole shape, at least 1.
	Hits() uint64
	// At is when request n (from 0, under Hits) is due, measured from the start: the
	// time at which the integral of the rate reaches n. It never decreases with n.
	At(n uint64) time.Duration
	// Due is the number of requests that are due by a time: the inverse of At.
	Due(elapsed time.Duration) uint64
	// Rate is the number of requests per second at a time, 0 outside of the attack.
	Rate(elapsed time.Duration) float64
	// Highest is the highest rate that the shape reaches, per second.
	Highest() float64
	// Duration is over 0.
	Duration() time.Duration
}

// Spec is a shape as it is asked for. Each kind reads its own fields, and those
// of others must be zero: a number that nobody reads is a misunderstanding.
type Spec struct {
	Kind      string        // constant, ramp, steps, sine or top-up; empty is constant
	Rate      float64       // per second; for top-up the highest, 50 when it is 0
	To        float64       // ramp: the rate at the end, per second
	Steps     string        // steps: "10x30s,50x1m" is 10 per second for 30 s, then 50 for a minute
	Amplitude float64       // sine: how far the rate swings around Rate, per second, at most Rate
	Period    time.Duration // sine: from one peak to the next
	Samples   uint64        // top-up: how many there should be at the end
	Duration  time.Duration // all but steps, which bring their own
}

// Kinds are the names of the shapes.
func Kinds() []string { return []string{"constant", "ramp", "steps", "sine", "top-up"} }

// New checks the spec and makes its shape. The error names the field that is wrong.
func New(s Spec) (Shape, error) {
	uses := map[string][]string{
		"constant": {"rate", "duration"},
		"ramp":     {"rate", "to", "duration"},
		"steps":    {"steps"},
		"sine":     {"rate", "amplitude", "period", "duration"},
		"top-up":   {"samples", "rate", "duration"},
	}
	if s.Kind == "" {
		s.Kind = "constant"
	}
	used, known := uses[s.Kind]
	if !known {
		return nil, fmt.Errorf("shape %q: must be one of %v", s.Kind, Kinds())
	}
	if err := s.check(used); err != nil {
		return nil, err
	}
	switch s.Kind {
	case "ramp":
		return newLines(line{s.Rate, s.To, s.Duration})
	case "steps":
		steps, err := parseSteps(s.Steps)
		if err != nil {
			return nil, fmt.Errorf("steps: %w", err)
		}
		return newLines(steps...)
	case "sine":
		return newSine(s)
	case "top-up":
		return newTopUp(s)
	}
	if s.Rate == 0 {
		return nil, errors.New("rate 0: must be over 0 requests per second")
	}
	return newLines(line{s.Rate, s.Rate, s.Duration})
}

// check looks at every field by itself.
func (s Spec) check(used []string) error {
	has := func(name string) bool {
		for _, u := range used {
			if u == name {
				return true
			}
		}
		return false
	}
	for _, rate := range []struct {
		name  string
		value float64
	}{{"rate", s.Rate}, {"to", s.To}, {"amplitude", s.Amplitude}} {
		if !has(rate.name) && rate.value != 0 {
			return fmt.Errorf("%s: is not used by shape %s", rate.name, s.Kind)
		}
		if err := checkRate(rate.value); err != nil {
			return fmt.Errorf("%s %w", rate.name, err)
		}
	}
	for _, span := range []struct {
		name  string
		value time.Duration
	}{{"duration", s.Duration}, {"period", s.Period}} {
		switch {
		case !has(span.name) && span.value != 0:
			return fmt.Errorf("%s: is not used by shape %s", span.name, s.Kind)
		case has(span.name) && span.value <= 0:
			return fmt.Errorf("%s %s: must be over 0", span.name, span.value)
		}
	}
	if !has("steps") && s.Steps != "" {
		return fmt.Errorf("steps: is not used by shape %s", s.Kind)
	}
	if !has("samples") && s.Samples != 0 {
		return fmt.Errorf("samples: is not used by shape %s", s.Kind)
	}
	return nil
}

func checkRate(rate float64) error {
	switch {
	case math.IsNaN(rate) || rate < 0:
		return fmt.Errorf("%v: must not be under 0 requests per second", rate)
	case rate > MaxRate:
		return fmt.Errorf("%v: must be at most %.0f requests per second", rate, float64(MaxRate))
	}
	return nil
}

// Over says that the attack has no more time, also not for what it still owes.
func Over(s Shape, elapsed time.Duration) bool { return elapsed-grace > s.Duration() }

// whole is the number of requests in a shape whose rate has this integral: one is
// due at n = 0, 1, … below it. The small number keeps a product that is whole on
// paper from being rounded up to one request more.
func whole(integral float64) uint64 { return max(uint64(math.Ceil(integral-1e-6)), 1) }

// dueBy is the number of requests due when the integral of the rate has come to n.
func dueBy(n float64, hits uint64) uint64 { return min(uint64(math.Floor(n+1e-9))+1, hits) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
