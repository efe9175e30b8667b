package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

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
	plan := chaos.Plan{Status: chaos.DefaultStatus}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := setField(&plan, name, fields[name]); err != nil {
			return chaos.Plan{}, err
		}
	}
	return plan, plan.Validate(routes)
}

func setField(plan *chaos.Plan, name string, raw json.RawMessage) error {
	var target any
	want := ""
	switch name {
	case "errorRate":
		target, want = &plan.ErrorRate, "a number"
	case "status":
		target, want = &plan.Status, "a whole number"
	case "latency":
		target, want = (*duration)(&plan.Latency), `a duration such as "200ms"`
	case "ttl":
		target, want = (*duration)(&plan.TTL), `a duration such as "10m"`
	case "routes":
		target, want = &plan.Routes, "a list of route templates"
	case "seed":
		target, want = &plan.Seed, "a whole number, not negative"
	default:
		return &chaos.FieldError{Field: name, Reason: "is no field of a plan; use errorRate, status, latency, ttl, routes, seed"}
	}
	if string(raw) == "null" || json.Unmarshal(raw, target) != nil {
		return &chaos.FieldError{Field: name, Reason: "must be " + want}
	}
	return nil
}

// encodePlan is the opposite of decodePlan.
func encodePlan(p chaos.Plan) map[string]any {
	wire := map[string]any{
		"errorRate": p.ErrorRate, "status": p.Status, "latency": p.Latency.String(), "ttl": p.TTL.String(), "seed": p.Seed,
	}
	if len(p.Routes) > 0 {
		wire["routes"] = p.Routes
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

// authorize lets only the holder of the token pass.
func (a *API) authorize(c *gin.Context) {
	sent, found := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
	if !found || !sameToken(sent, a.cfg.ChaosToken) {
		c.Header("WWW-Authenticate", "Bearer")
		a.fail(c, errUnauthorized)
	}
}

// sameToken takes the same time whatever differs; hashing first hides the length too.
func sameToken(sent, token string) bool {
	x, y := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
