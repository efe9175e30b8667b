package main

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// stall answers every request after a delay, but for a pause in which the whole server stands still: what comes in then
// is taken up when it is over. POST /plan?delay=20ms&from=2s&for=1s sets a plan; its time starts with the first request
// after that. GET /took?percent=99 tells what the requests since then really took here, for timers are up to a
// millisecond late.
type stall struct {
	mu    sync.Mutex // guards all below
	plan  plan
	start time.Time       // of the first request; zero before it
	took  []time.Duration // of each request
}

type plan struct{ delay, from, pause time.Duration }

func (s *stall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	switch r.URL.Path {
	case "/plan":
		s.set(w, r)
	case "/took":
		s.tell(w, r)
	default:
		time.Sleep(time.Until(s.due(arrived)))
		w.WriteHeader(http.StatusNoContent)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.took = append(s.took, time.Since(arrived))
	}
}

// tell answers with the time, as text, that a share of the requests did not exceed. Nearest rank.
func (s *stall) tell(w http.ResponseWriter, r *http.Request) {
	percent, err := strconv.ParseFloat(r.URL.Query().Get("percent"), 64)
	s.mu.Lock()
	sorted := slices.Sorted(slices.Values(s.took))
	s.mu.Unlock()
	if err != nil || percent <= 0 || percent > 100 || len(sorted) == 0 {
		http.Error(w, "percent must be over 0 and at most 100, after at least one request", http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, sorted[int(math.Ceil(percent/100*float64(len(sorted))))-1])
}

func (s *stall) set(w http.ResponseWriter, r *http.Request) {
	var p plan
	for name, into := range map[string]*time.Duration{"delay": &p.delay, "from": &p.from, "for": &p.pause} {
		value, err := time.ParseDuration(r.URL.Query().Get(name))
		if err != nil {
			http.Error(w, name+": "+err.Error(), http.StatusBadRequest)
			return
		}
		*into = value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, s.start, s.took = p, time.Time{}, nil
}

// due is when a request that arrived at a moment is to be answered.
func (s *stall) due(arrived time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start.IsZero() {
		s.start = arrived
	}
	begin := arrived
	if into := arrived.Sub(s.start); into >= s.plan.from && into < s.plan.from+s.plan.pause {
		begin = s.start.Add(s.plan.from + s.plan.pause)
	}
	return begin.Add(s.plan.delay)
}
