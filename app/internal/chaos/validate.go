package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of a plan, and the status it fails with when it names none.
const (
	MaxLatency    = 30 * time.Second // jitter included; below the server's time limits
	MaxHang       = 30 * time.Second // longest time a request hangs
	MaxTTL        = time.Hour
	MinCrashAfter = 100 * time.Millisecond // so that the answer to setting it gets out
	MaxMemory     = 512 << 20              // bytes
	MaxCPU        = 4                      // cores
	DefaultStatus = 500
)

// FieldError says which field of a plan is wrong, by its name on the wire.
type FieldError struct{ Field, Reason string }

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// Validate checks p against the limits and against the routes that exist: a
// misspelt route would be a rehearsal in which nothing happens. Errors are
// *FieldError.
func (p Plan) Validate(routes []string) error {
	for _, check := range []func() error{
		p.checkRates, p.checkTimes, p.checkProcess, p.checkScope, func() error { return p.checkRoutes(routes) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p Plan) checkRates() error {
	for _, rate := range []struct {
		field string
		value float64
	}{{"errorRate", p.ErrorRate}, {"abortRate", p.AbortRate}, {"hangRate", p.HangRate}} {
		if !(rate.value >= 0 && rate.value <= 1) { // so written, NaN is refused too
			return &FieldError{rate.field, "must be between 0 and 1"}
		}
	}
	const rounding = 1e-9 // three decimal fractions that make 1 may be a bit more in binary
	if p.ErrorRate+p.AbortRate+p.HangRate > 1+rounding {
		field := "abortRate"
		if p.HangRate > 0 {
			field = "hangRate"
		}
		return &FieldError{field, "is too much: errorRate, abortRate and hangRate together must be at most 1"}
	}
	if p.Status < 400 || p.Status > 599 {
		return &FieldError{"status", "must be between 400 and 599"}
	}
	return nil
}

func (p Plan) checkTimes() error {
	switch {
	case p.Latency < 0 || p.Latency > MaxLatency:
		return &FieldError{"latency", "must be between 0s and 30s"}
	case p.Jitter < 0 || p.Jitter > p.Latency:
		return &FieldError{"jitter", "must be between 0s and latency"}
	case p.Latency+p.Jitter > MaxLatency:
		return &FieldError{"jitter", "is too much: latency and jitter together must be at most 30s"}
	case p.TTL <= 0 || p.TTL > MaxTTL:
		return &FieldError{"ttl", "is mandatory and must be more than 0s and at most 1h"}
	case p.CrashAfter != 0 && (p.CrashAfter < MinCrashAfter || p.CrashAfter >= p.TTL):
		return &FieldError{"crashAfter", "must be at least 100ms and less than ttl"}
	}
	return nil
}

func (p Plan) checkProcess() error {
	switch {
	case p.Memory < 0 || p.Memory > MaxMemory:
		return &FieldError{"memory", "must be between 0 and 512Mi"}
	case p.CPU < 0 || p.CPU > MaxCPU:
		return &FieldError{"cpu", "must be between 0 and 4 cores"}
	}
	return nil
}

func (p Plan) checkScope() error {
	switch {
	case p.Scope != ScopePod && p.Scope != ScopeVersion:
		return &FieldError{"scope", "must be pod or version"}
	case p.Revision != "" && p.Scope != ScopeVersion:
		return &FieldError{"revision", "needs scope version"}
	case len(p.Revision) > 63 || strings.ContainsFunc(p.Revision, func(r rune) bool { return r <= ' ' || r > '~' }):
		// It travels in an HTTP header; 63 is the limit of a Kubernetes label's value.
		return &FieldError{"revision", "must have at most 63 characters of printable ASCII"}
	}
	return nil
}

// checkRoutes also refuses routes beside faults that know none: whoever names a
// route expects the others to be spared.
func (p Plan) checkRoutes(routes []string) error {
	for i, route := range p.Routes {
		switch {
		case !slices.Contains(routes, route):
			return &FieldError{"routes", fmt.Sprintf("has no route %q; choose from %s", route, strings.Join(routes, ", "))}
		case slices.Contains(p.Routes[:i], route):
			return &FieldError{"routes", fmt.Sprintf("names %q twice", route)}
		}
	}
	if len(p.Routes) > 0 && p.asks(Unready, Crash, Memory, CPU) && !p.asks(Error, Latency, Abort, Hang) {
		return &FieldError{"routes", "is for faults of requests, but this plan has only faults of the whole process: leave it out"}
	}
	return nil
}
