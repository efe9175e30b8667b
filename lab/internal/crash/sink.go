package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// sink receives notifications, and fails as receivers do.
type sink struct {
	url    string
	server *http.Server

	mu        sync.Mutex
	rng       *rand.Rand
	mood      mood
	until     time.Time
	recovered bool
	requests  int
	received  []delivery // by request
	answers   map[int]int
}

// delivery is one message that was answered with 2xx.
type delivery struct {
	request int // in the order in which they came: one of a dead process may be answered after its successor's
	key     string
	run     string // the process that sent it
}

// mood is how the sink answers for a while.
type mood int

const (
	well  mood = iota // 200
	slow              // 200, late
	fails             // 500
	hangs             // no answer until the sender gives up
)

func openSink(ctx context.Context, rng *rand.Rand) (*sink, error) {
	s := &sink{rng: rng, answers: map[int]int{}}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.url = "http://" + listener.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Second}
	go func() { _ = s.server.Serve(listener) }() // ends with close, which is no error to tell
	return s, nil
}

func (s *sink) close() { _ = s.server.Close() } // nothing is left to be done about an error

// recover lets the sink be well for good.
func (s *sink) recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recovered = true
}

// enter gives a request its number, and the sink's mood, which lasts for up to four seconds.
func (s *sink) enter() (int, mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	now := time.Now()
	switch {
	case s.recovered:
		return s.requests, well
	case now.After(s.until):
		s.mood = []mood{well, well, well, slow, fails, hangs}[s.rng.IntN(6)]
		s.until = now.Add(time.Duration(s.rng.Int64N(int64(4 * time.Second))))
	}
	return s.requests, s.mood
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, run := r.Header.Get("Idempotency-Key"), r.URL.Query().Get("run")
	request, mood := s.enter()
	switch mood {
	case hangs:
		<-r.Context().Done()
		s.note(0, delivery{})
		return
	case fails:
		s.note(http.StatusInternalServerError, delivery{})
		w.WriteHeader(http.StatusInternalServerError)
		return
	case slow:
		_ = pause(r.Context(), 300*time.Millisecond) // who hung up is told all the same
	}
	// Before the answer: who sends again after it must not be noted first.
	s.note(http.StatusOK, delivery{request, key, run})
	w.WriteHeader(http.StatusOK)
}

func (s *sink) note(status int, d delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[status]++
	if status == http.StatusOK {
		s.received = append(s.received, d)
	}
}

// all are the deliveries so far, in the order in which their requests came, and how many requests were answered how (0: not at all).
func (s *sink) all() (received []delivery, answers map[int]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := map[int]int{}
	for status, n := range s.answers {
		copied[status] = n
	}
	received = slices.Clone(s.received)
	slices.SortFunc(received, func(a, b delivery) int { return a.request - b.request })
	return received, copied
}
