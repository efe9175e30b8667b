package tally

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrMissed says that an attack ran but its result is worse than was asked for.
var ErrMissed = errors.New("threshold missed")

// Summary is the sum of an attack's results. Every request that was sent is in
// Requests once and in one of Codes once; the Errors add up to code "0".
type Summary struct {
	Requests uint64            `json:"requests"`
	Codes    map[string]uint64 `json:"codes"`   // by HTTP status; "0" is no complete answer
	Errors   map[string]uint64 `json:"errors"`  // why there was no answer, at most 21 texts
	Success  float64           `json:"success"` // share of 2xx, 0 to 1; 0 without requests
	Latency  Latency           `json:"latency"`
	Seconds  Seconds           `json:"latencySeconds"`

	// Unfinished are requests that the end of a stopped attack cut off; they are in
	// no other count.
	Unfinished uint64 `json:"unfinished"`

	good uint64
}

// Latency tells how long answers took, from the moment each request was due.
type Latency struct {
	P50 Duration `json:"p50"`
	P95 Duration `json:"p95"`
	P99 Duration `json:"p99"`
	Max Duration `json:"max"`
}

// Seconds is a Latency for machines.
type Seconds struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func (l Latency) seconds() Seconds {
	s := func(d Duration) float64 { return time.Duration(d).Seconds() }
	return Seconds{s(l.P50), s(l.P95), s(l.P99), s(l.Max)}
}

// Duration is written as Go writes durations: "1.25ms".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText makes JSON carry the written form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Thresholds are what a summary must keep; what is nil is not asked for.
type Thresholds struct {
	ErrorRate *float64       // largest share of requests that did not end in a 2xx, 0 to 1
	P99       *time.Duration // largest latency of 99 in 100 requests
}

// Check returns an error for each threshold that is missed, all of them wrapping
// ErrMissed, one to a line. Without requests there is nothing to judge: any
// threshold is missed.
func (s Summary) Check(t Thresholds) error {
	if s.Requests == 0 && (t.ErrorRate != nil || t.P99 != nil) {
		return fmt.Errorf("%w: no request was sent", ErrMissed)
	}
	var missed []error
	if bad := s.Requests - s.good; t.ErrorRate != nil && float64(bad) > *t.ErrorRate*float64(s.Requests) {
		missed = append(missed, fmt.Errorf("%w: %d of %d requests (%.2f %%) were not answered 2xx, allowed are %.2f %%",
			ErrMissed, bad, s.Requests, 100*float64(bad)/float64(s.Requests), 100**t.ErrorRate))
	}
	if p99 := time.Duration(s.Latency.P99); t.P99 != nil && p99 > *t.P99 {
		missed = append(missed, fmt.Errorf("%w: the p99 is %s, allowed are %s", ErrMissed, p99, *t.P99))
	}
	return errors.Join(missed...)
}

// WriteJSON writes s as one indented JSON object.
func (s Summary) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// WriteText writes s for people.
func (s Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "requests  %d\n", s.Requests)
	fmt.Fprintf(&b, "success   %.2f %%\n", 100*s.Success)
	fmt.Fprintf(&b, "latency   p50 %s   p95 %s   p99 %s   max %s\n", s.Latency.P50, s.Latency.P95, s.Latency.P99, s.Latency.Max)
	if s.Unfinished > 0 {
		fmt.Fprintf(&b, "cut off   %d when it was stopped\n", s.Unfinished)
	}
	for _, code := range slices.Sorted(maps.Keys(s.Codes)) {
		fmt.Fprintf(&b, "code %-4s %d\n", code, s.Codes[code])
	}
	for _, text := range slices.Sorted(maps.Keys(s.Errors)) {
		fmt.Fprintf(&b, "error     %d × %s\n", s.Errors[text], text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
