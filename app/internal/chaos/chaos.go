// Package chaos says which fault, if any, a plan puts in the way of one request.
package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of a plan, and the status it fails with when it names none.
const (
	MaxLatency    = 30 * time.Second
	MaxTTL        = time.Hour
	DefaultStatus = 500
)

// Plan is what goes wrong, where, and for how long. The zero value does nothing.
type Plan struct {
	ErrorRate float64       // share of requests that fail, 0..1
	Status    int           // what they are answered with, 400..599
	Latency   time.Duration // added to every request, failing or not
	TTL       time.Duration // life of the plan from the moment it is set
	Routes    []string      // route templates; empty means all
	Seed      uint64        // of the draws; 0 lets the caller choose one
}

// Fault is what happens to one request; the zero value is nothing.
type Fault struct {
	Delay  time.Duration // wait first
	Status int           // then answer this; 0 lets the real handler answer
}

// FieldError says which field of a plan is wrong, by its name on the wire.
type FieldError struct{ Field, Reason string }

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// Validate checks p against the limits and against the routes that exist: a
// misspelt route would be a rehearsal in which nothing happens. Errors are
// *FieldError.
func (p Plan) Validate(routes []string) error {
	switch {
	case !(p.ErrorRate >= 0 && p.ErrorRate <= 1): // so written, NaN is refused too
		return &FieldError{"errorRate", "must be between 0 and 1"}
	case p.Status < 400 || p.Status > 599:
		return &FieldError{"status", "must be between 400 and 599"}
	case p.Latency < 0 || p.Latency > MaxLatency:
		return &FieldError{"latency", "must be between 0s and 30s"}
	case p.TTL <= 0 || p.TTL > MaxTTL:
		return &FieldError{"ttl", "is mandatory and must be more than 0s and at most 1h"}
	}
	for _, route := range p.Routes {
		if !slices.Contains(routes, route) {
			return &FieldError{"routes", fmt.Sprintf("has no route %q; choose from %s", route, strings.Join(routes, ", "))}
		}
	}
	return nil
}

// Touches reports whether p has something to say about a request to route when
// it has been set for elapsed. Only such requests need a draw, so that a seeded
// plan repeats itself whatever the other routes are asked.
func (p Plan) Touches(route string, elapsed time.Duration) bool {
	return elapsed < p.TTL && (len(p.Routes) == 0 || slices.Contains(p.Routes, route))
}

// Pick names the fault for one request to route. draw is uniform in [0,1): a
// draw below the error rate fails, so rate 0 never does and rate 1 always does.
func (p Plan) Pick(route string, draw float64, elapsed time.Duration) Fault {
	if !p.Touches(route, elapsed) {
		return Fault{}
	}
	fault := Fault{Delay: p.Latency}
	if draw < p.ErrorRate {
		fault.Status = p.Status
	}
	return fault
}
