package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// decodePlan reads a plan as it is on the wire, strictly: a field that is unknown,
// null or of the wrong type is named in the error, because a rehearsal that is
// silently milder than asked proves nothing.
func decodePlan(raw []byte, routes []string) (chaos.Plan, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return chaos.Plan{}, fmt.Errorf("%w: want one object: %w", errMalformed, err)
	}
	if name := repeated(raw); name != "" {
		return chaos.Plan{}, &chaos.FieldError{Field: name, Reason: "is there twice"}
	}
	plan := chaos.Plan{Status: chaos.DefaultStatus, Scope: chaos.ScopePod}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := setField(&plan, name, fields[name]); err != nil {
			return chaos.Plan{}, err
		}
	}
	if err := plan.Validate(routes); err != nil {
		return chaos.Plan{}, err
	}
	if !slices.ContainsFunc(chaos.Kinds(), func(k chaos.Kind) bool { return plan.Asked(k) > 0 }) {
		return chaos.Plan{}, &chaos.FieldError{Field: "errorRate", Reason: "or another fault is needed: this plan does nothing"}
	}
	return plan, nil
}

// repeated names a field of the object raw that is there more than once, of which
// encoding/json would take the last one; "" when there is none.
func repeated(raw []byte) string {
	decoder, seen := json.NewDecoder(bytes.NewReader(raw)), map[string]bool{}
	if _, err := decoder.Token(); err != nil { // the brace
		return ""
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return ""
		}
		key, _ := name.(string)
		if seen[key] {
			return key
		}
		seen[key] = true
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return ""
		}
	}
	return ""
}

// fields lists the names on the wire, for people.
const fields = "errorRate, status, latency, jitter, abortRate, hangRate, unready, crashAfter, memory, cpu, routes, ttl, seed, scope, revision"

func setField(plan *chaos.Plan, name string, raw json.RawMessage) error {
	target, want := place(plan, name)
	if target == nil {
		return &chaos.FieldError{Field: name, Reason: "is no field of a plan; use " + fields}
	}
	if string(raw) == "null" || json.Unmarshal(raw, target) != nil {
		return &chaos.FieldError{Field: name, Reason: "must be " + want}
	}
	return nil
}

// place is where a field is read into, and what it must be, in words; nil for a
// name that is no field.
func place(plan *chaos.Plan, name string) (target any, want string) {
	const number, span = "a number", `a duration such as "200ms"`
	switch name {
	case "errorRate":
		return &plan.ErrorRate, number
	case "abortRate":
		return &plan.AbortRate, number
	case "hangRate":
		return &plan.HangRate, number
	case "status":
		return &plan.Status, "a whole number"
	case "latency":
		return (*duration)(&plan.Latency), span
	case "jitter":
		return (*duration)(&plan.Jitter), span
	case "crashAfter":
		return (*duration)(&plan.CrashAfter), span
	case "ttl":
		return (*duration)(&plan.TTL), span
	case "unready":
		return &plan.Unready, "true or false"
	case "memory":
		return (*size)(&plan.Memory), `a number of bytes, or text such as "64Mi"`
	case "cpu":
		return &plan.CPU, "a whole number of cores"
	case "routes":
		return &plan.Routes, "a list of route templates"
	case "seed":
		return &plan.Seed, "a whole number, not negative"
	case "scope":
		return &plan.Scope, "pod or version"
	case "revision":
		return &plan.Revision, "text"
	default:
		return nil, ""
	}
}

// encodePlan is the opposite of decodePlan. What a plan does not ask for is left out.
func encodePlan(p chaos.Plan) map[string]any {
	wire := map[string]any{
		"errorRate": p.ErrorRate, "status": p.Status, "latency": p.Latency.String(), "ttl": p.TTL.String(),
		"seed": p.Seed, "scope": p.Scope,
	}
	for name, optional := range map[string]struct {
		asked bool
		value any
	}{
		"jitter":     {p.Jitter > 0, p.Jitter.String()},
		"abortRate":  {p.AbortRate > 0, p.AbortRate},
		"hangRate":   {p.HangRate > 0, p.HangRate},
		"unready":    {p.Unready, true},
		"crashAfter": {p.CrashAfter > 0, p.CrashAfter.String()},
		"memory":     {p.Memory > 0, p.Memory},
		"cpu":        {p.CPU > 0, p.CPU},
		"routes":     {len(p.Routes) > 0, p.Routes},
		"revision":   {p.Revision != "", p.Revision},
	} {
		if optional.asked {
			wire[name] = optional.value
		}
	}
	return wire
}

// duration is a time.Duration written as "200ms" in JSON.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// size is a number of bytes, also written as Kubernetes does: "64Mi".
type size int64

func (s *size) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	unit := int64(1)
	for suffix, bytes := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20} {
		if number, found := strings.CutSuffix(text, suffix); found {
			text, unit = number, bytes
		}
	}
	n, err := strconv.ParseInt(text, 10, 32) // 32 bits times Mi fit in 64; Validate knows the limit
	*s = size(n * unit)
	return err
}
