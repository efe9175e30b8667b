package fire

import (
	"context"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// Seen is fire's contract with whoever knows what others have sent: the number of
// their samples since the attack began, elapsed ago. It is asked by one goroutine
// at a time, every five seconds, and must end with its context.
type Seen func(ctx context.Context, elapsed time.Duration) (uint64, error)

const (
	askEvery = 5 * time.Second
	askLimit = 4 * time.Second
)

// course is how a shape is followed. Next is called by the pacing goroutine alone,
// at by the one that reads results, the rest by anyone.
type course interface {
	// next is when the request after sent others is due, or the end.
	next(elapsed time.Duration, sent uint64) (due time.Duration, end bool)
	// at is when request n was due; it is asked once for each request sent.
	at(n uint64) time.Duration
	due(elapsed time.Duration) uint64
	rate(elapsed time.Duration) float64
}

// fixed follows a shape that is known from the start.
type fixed struct{ shape.Shape }

func (f fixed) next(elapsed time.Duration, sent uint64) (time.Duration, bool) {
	if sent >= f.Hits() || shape.Over(f.Shape, elapsed) {
		return 0, true
	}
	return f.At(sent), false // it may be in the past, which does not move it
}

func (f fixed) at(n uint64) time.Duration          { return f.At(n) }
func (f fixed) due(elapsed time.Duration) uint64   { return f.Due(elapsed) }
func (f fixed) rate(elapsed time.Duration) float64 { return f.Rate(elapsed) }

// topUp follows a shape that depends on what others send. Its due times are
// written down when they are decided.
type topUp struct {
	shape.TopUp
	ask Seen // nil: nobody else sends

	mu      sync.Mutex
	decided map[uint64]time.Duration // of requests without result; guarded by mu
	sent    uint64                   // guarded by mu
	last    time.Duration            // when the last one sent was due; guarded by mu
	pending time.Duration            // when the next one is; guarded by mu
	looked  time.Duration            // when that was not due yet; guarded by mu
	seen    uint64                   // guarded by mu
	err     error                    // why seen is older than it should be; guarded by mu
}

func newTopUp(s shape.TopUp, ask Seen) *topUp {
	return &topUp{TopUp: s, ask: ask, decided: map[uint64]time.Duration{}}
}

func (t *topUp) next(elapsed time.Duration, sent uint64) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sent != t.sent { // the one decided last is on its way
		t.last, t.sent = t.pending, sent
	}
	due, enough := t.Next(t.last, sent, t.seen)
	if enough || shape.Over(t, elapsed) {
		return 0, true
	}
	// When fewer were seen than before, a request can be due earlier than now. But
	// until now it was not.
	due = max(due, t.looked)
	if due > elapsed {
		t.looked = elapsed
	}
	t.pending, t.decided[sent] = due, due
	return due, false
}

func (t *topUp) at(n uint64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer delete(t.decided, n)
	return t.decided[n]
}

// due is what has been decided: sent, and the one that waits for its turn.
func (t *topUp) due(elapsed time.Duration) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, waits := t.decided[t.sent]; waits && t.pending <= elapsed {
		return t.sent + 1
	}
	return t.sent
}

func (t *topUp) rate(elapsed time.Duration) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.RateNow(elapsed, t.sent, t.seen)
}

// watch asks what others have sent until ctx ends. A failure keeps the last number.
func (t *topUp) watch(ctx context.Context, began time.Time) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, askLimit)
		seen, err := t.ask(limited, time.Since(began))
		cancel()
		if ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		if t.err = err; err == nil {
			t.seen = seen
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// others are what is known of others' samples.
func (t *topUp) others() (seen uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen, t.err
}
