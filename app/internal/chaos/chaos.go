// Package chaos says which faults a plan puts into a service, and which into one request.
package chaos

import (
	"slices"
	"time"
)

// Kind is a sort of fault, by its name in metrics and traces.
type Kind string

// The kinds of faults. Error to Hang happen to requests, the others to the whole process.
const (
	Error   Kind = "error"
	Latency Kind = "latency"
	Jitter  Kind = "jitter"
	Abort   Kind = "abort"
	Hang    Kind = "hang"
	Unready Kind = "unready"
	Crash   Kind = "crash"
	Memory  Kind = "memory"
	CPU     Kind = "cpu"
)

// Kinds lists all kinds of faults.
func Kinds() []Kind {
	return []Kind{Error, Latency, Jitter, Abort, Hang, Unready, Crash, Memory, CPU}
}

// Plan is what goes wrong, where, and for how long. The zero value does nothing.
type Plan struct {
	ErrorRate float64       // share of requests that fail, 0..1
	Status    int           // what they are answered with, 400..599
	AbortRate float64       // share of requests whose connection is cut, 0..1
	HangRate  float64       // share of requests that get no answer, 0..1
	Latency   time.Duration // added to every request, failing or not
	Jitter    time.Duration // greatest deviation from Latency, to both sides

	Unready    bool          // the service says that it is not ready
	CrashAfter time.Duration // the process ends so long after the plan is set; 0 is never
	Memory     int64         // bytes to hold
	CPU        int           // cores to keep busy

	TTL      time.Duration // life of the plan from the moment it is set
	Routes   []string      // route templates; empty means all. For the faults of requests
	Seed     uint64        // of the draws; 0 lets the caller choose one
	Scope    Scope         // who shares the plan
	Revision string        // with ScopeVersion: which one; "" lets the caller say
}

// Scope says which pods a plan is for.
type Scope string

// The scopes of a plan: the pod that is asked, or all pods of one revision.
const (
	ScopePod     Scope = "pod"
	ScopeVersion Scope = "version"
)

// Fault is what happens to one request; the zero value is nothing.
type Fault struct {
	Delay  time.Duration // wait first
	Jitter time.Duration // the part of Delay that was left to chance, maybe negative
	End    Kind          // then Error, Abort or Hang; "" lets the real handler answer
	Status int           // the answer of an Error
}

// Touches reports whether p has something to say about a request to route when
// it has been set for elapsed. Only such requests need draws, so that a seeded
// plan repeats itself whatever the other routes are asked.
func (p Plan) Touches(route string, elapsed time.Duration) bool {
	return elapsed < p.TTL && (len(p.Routes) == 0 || slices.Contains(p.Routes, route))
}

// Pick names the fault for one request to route. Both draws are uniform in
// [0,1). The rates share out the range of the first: a draw below the error rate
// fails, one in the next AbortRate is cut, one in the next HangRate hangs; so
// rate 0 never does and rate 1 always does. The second chooses the jitter; it has
// a draw of its own so that jitter does not change which requests fail.
func (p Plan) Pick(route string, draw, jitter float64, elapsed time.Duration) Fault {
	if !p.Touches(route, elapsed) {
		return Fault{}
	}
	fault := Fault{Jitter: time.Duration((2*jitter - 1) * float64(p.Jitter))}
	fault.Delay = p.Latency + fault.Jitter
	switch {
	case draw < p.ErrorRate:
		fault.End, fault.Status = Error, p.Status
	case draw < p.ErrorRate+p.AbortRate:
		fault.End = Abort
	case draw < p.ErrorRate+p.AbortRate+p.HangRate:
		fault.End = Hang
	}
	return fault
}

// Asked is how much of kind p asks for: a share of requests, seconds (Crash: from
// when the plan is set), bytes, cores, and for Unready 1. 0 is none.
func (p Plan) Asked(kind Kind) float64 {
	switch kind {
	case Error:
		return p.ErrorRate
	case Latency:
		return p.Latency.Seconds()
	case Jitter:
		return p.Jitter.Seconds()
	case Abort:
		return p.AbortRate
	case Hang:
		return p.HangRate
	case Unready:
		if p.Unready {
			return 1
		}
	case Crash:
		return p.CrashAfter.Seconds()
	case Memory:
		return float64(p.Memory)
	case CPU:
		return float64(p.CPU)
	}
	return 0
}

// asks reports whether p asks for one of kinds.
func (p Plan) asks(kinds ...Kind) bool {
	return slices.ContainsFunc(kinds, func(k Kind) bool { return p.Asked(k) > 0 })
}
