// Package tally sums the results of an attack, writes the sum and compares it with what was asked for.
package tally

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept from a microsecond to an hour with three significant
// digits, in about 200 kB however many there are.
const (
	shortest = int64(1)
	longest  = int64(time.Hour / time.Microsecond)
	digits   = 3
)

// ticksPerHalf is how many lines the written distribution has for each halving of
// the rest; five is what HdrHistogram's own tools write.
const ticksPerHalf = 5

// Different error texts kept, and bytes of each: a target cannot fill the memory.
const (
	maxErrors    = 20
	maxErrorText = 200
	otherErrors  = "other errors"
)

// Tally is the running sum of one attack. New makes it; it is safe for
// concurrent use.
type Tally struct {
	mu        sync.Mutex
	codes     map[int]uint64    // guarded by mu
	errors    map[string]uint64 // guarded by mu
	latencies *hdrhistogram.Histogram
	max       time.Duration // guarded by mu; exact, the histogram rounds
	cut       uint64        // guarded by mu; requests that the end cut off
}

// New returns an empty Tally.
func New() *Tally {
	return &Tally{
		codes:     map[int]uint64{},
		errors:    map[string]uint64{},
		latencies: hdrhistogram.New(shortest, longest, digits),
	}
}

// Add counts one request. Code 0 means that no answer came; cause then says why.
func (t *Tally) Add(code int, latency time.Duration, cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.codes[code]++
	if code == 0 {
		t.errors[t.slot(cause)]++
	}
	t.max = max(t.max, latency)
	// Clamped to the range, the only thing RecordValue can refuse.
	_ = t.latencies.RecordValue(min(max(latency.Microseconds(), shortest), longest))
}

// AddUnfinished counts one request that was cut off before anybody could know
// what would become of it. It is in no other count.
func (t *Tally) AddUnfinished() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut++
}

// slot says under which text an error is counted; the caller holds mu.
func (t *Tally) slot(cause string) string {
	if len(cause) > maxErrorText {
		cause = strings.ToValidUTF8(cause[:maxErrorText], "") + "…"
	}
	if _, known := t.errors[cause]; known || len(t.errors) < maxErrors {
		return cause
	}
	return otherErrors
}

// Summary returns the sum so far. The caller owns it.
func (t *Tally) Summary() Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Summary{
		Codes: make(map[string]uint64, len(t.codes)), Errors: make(map[string]uint64, len(t.errors)), Unfinished: t.cut,
	}
	for code, n := range t.codes {
		s.Codes[strconv.Itoa(code)] = n
		s.Requests += n
		if code >= 200 && code <= 299 {
			s.good += n
		}
	}
	for text, n := range t.errors {
		s.Errors[text] = n
	}
	if s.Requests > 0 {
		s.Success = float64(s.good) / float64(s.Requests)
		s.Latency = Latency{P50: t.quantile(50), P95: t.quantile(95), P99: t.quantile(99), Max: round(t.max)}
		s.Seconds = s.Latency.seconds()
	}
	return s
}

// WriteHDR writes the distribution of the latencies in milliseconds, in the text
// form that HdrHistogram's plotters read.
func (t *Tally) WriteHDR(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.latencies.PercentilesPrint(w, ticksPerHalf, float64(time.Millisecond/time.Microsecond))
	return err
}

// quantile is never over the true maximum; the caller holds mu.
func (t *Tally) quantile(percent float64) Duration {
	return round(min(time.Duration(t.latencies.ValueAtQuantile(percent))*time.Microsecond, t.max))
}

// round drops digits that no clock of a network can tell.
func round(d time.Duration) Duration { return Duration(d.Round(time.Microsecond)) }
