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

	good uint64
}

// Latency tells how long answers took, from the moment each request was due.
type Latency struct {
	P50 Duration `json:"p50"`
	P95 Duration `json:"p95"`
	P99 Duration `json:"p99"`
	Max Duration `json:"max"`
}

// Duration is written as Go writes durations: "1.25ms".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText makes JSON carry the written form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Check returns an error that wraps ErrMissed when more than maxErrorRate (0 to
// 1) of the requests did not end in a 2xx, or when there were none to judge.
func (s Summary) Check(maxErrorRate float64) error {
	if s.Requests == 0 {
		return fmt.Errorf("%w: no request was sent", ErrMissed)
	}
	if bad := s.Requests - s.good; float64(bad) > maxErrorRate*float64(s.Requests) {
		return fmt.Errorf("%w: %d of %d requests (%.2f %%) were not answered 2xx, allowed are %.2f %%",
			ErrMissed, bad, s.Requests, 100*float64(bad)/float64(s.Requests), 100*maxErrorRate)
	}
	return nil
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
	for _, code := range slices.Sorted(maps.Keys(s.Codes)) {
		fmt.Fprintf(&b, "code %-4s %d\n", code, s.Codes[code])
	}
	for _, text := range slices.Sorted(maps.Keys(s.Errors)) {
		fmt.Fprintf(&b, "error     %d × %s\n", s.Errors[text], text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
