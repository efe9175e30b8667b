// Package policy says what should happen to a rollout: from rules, the rollout so far and the time it gives a verdict with reasons.
package policy

import (
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Rules is one policy (design §5.3). Rates and the objective are percent, 0 to 100.
type Rules struct {
	Name       string
	SLO        SLO
	Metrics    Metrics
	FailFast   FailFast
	Bake       Bake
	Evidence   Evidence
	Confidence Confidence
	Ramp       Ramp
	Baseline   Baseline
	Latency    *Latency // nil: not judged
	Budget     *Budget  // nil: no gate
	Gates      GateRules
	Brake      Brake
	Notify     []Notify // empty: every sink, of what it asks for itself
}

// Notify says of which happenings a sink is told; On empty: of what it asks for itself.
type Notify struct {
	Sink string
	On   []rollout.Happening
}

// SLO is what the service promises: at least Objective percent of responses have a good status. Good holds status
// classes ("2xx") and codes ("404").
type SLO struct {
	Objective float64
	Good      []string
}

// Metrics are the names by which a service's pages are read, so that any instrumented service can be judged. Match are
// labels that a series must have to count.
type Metrics struct {
	Requests string
	Status   string
	Duration string
	Match    map[string]string
}

// FailFast is the hard limit of requirements 5: more than ErrorRate percent bad responses, cumulative since first traffic,
// once Within is over, fail the rollout. Mode says how many requests that takes (verdict.md §2.5).
type FailFast struct {
	ErrorRate float64
	Within    time.Duration
	Mode      Mode
}

// Mode is how literally failFast is taken.
type Mode string

// Literal takes the words as they stand from evidence.minRequests on and asks for evidence of 10 : 1 below; Guarded asks
// for that evidence always; Strict never.
const (
	Literal Mode = "literal"
	Guarded Mode = "guarded"
	Strict  Mode = "strict"
)

// Bake is the least time at the first weight and at each later one.
type Bake struct {
	First time.Duration
	Step  time.Duration
}

// Source is where counts come from.
type Source string

// Pods are the pods' own counters; Ingress is the ingress controller's, read from Prometheus.
const (
	Pods    Source = "pods"
	Ingress Source = "ingress"
)

// Evidence says where counts come from, from how many canary requests the literal rule speaks, and what happens when
// a rollout could not be decided for MaxHold.
type Evidence struct {
	Source      []Source // empty: all that the gatekeeper has
	MinRequests uint64
	OnTooLittle OnTooLittle
	MaxHold     time.Duration
}

// OnTooLittle is what follows when maxHold is over and the evidence still does not suffice.
type OnTooLittle string

// HoldOn keeps holding and tells people; RollBack fails the rollout.
const (
	HoldOn   OnTooLittle = "hold"
	RollBack OnTooLittle = "fail"
)

// Confidence bounds false rollbacks: FalseRollback percent of the rollouts that keep their SLO may ever be rolled back,
// however often they are looked at. A bet is placed once per Block. Dispersion >= 1 widens the bounds that let traffic
// grow, for services whose errors come in clusters of about that size.
type Confidence struct {
	FalseRollback float64
	Block         time.Duration
	Dispersion    float64
}

// Ramp lets traffic grow while weight × upper bound <= RiskBurn × (100 - objective). Miss, in percent, is the chance that
// the bound is wrong.
type Ramp struct {
	RiskBurn float64
	Miss     float64
}

// Baseline is how many percentage points worse than the primary the canary may be.
type Baseline struct{ Margin float64 }

// Latency says that Quantile percent of the responses must be faster than Max (0: no limit) and at most WorseBy percent
// slower than the primary's (0: not compared).
type Latency struct {
	Quantile float64
	Max      time.Duration
	WorseBy  float64
}

// Budget holds new rollouts while less than MinRemaining percent of the error budget of Window is left, and one under way
// that alone spent more than PerRollout percent of it (0: no limit).
type Budget struct {
	Window       time.Duration
	MinRemaining float64
	PerRollout   float64
}

// Brake says whether the gatekeeper itself may set the canary's weight to 0.
type Brake string

// BrakeOff never; BrakeOn when the verdict is fail; BrakeAlways also when Flagger stops calling while traffic flows.
const (
	BrakeOff    Brake = "off"
	BrakeOn     Brake = "on"
	BrakeAlways Brake = "always"
)

// GateRules are what people and calendars control.
type GateRules struct {
	Approval    Approval
	ApprovalTTL time.Duration // how long an approval holds; 0: as long as the rollout
	Freeze      []Freeze
	InFlight    InFlight
	DependsOn   []string // Canaries, "name" in the same namespace or "namespace/name"
	Alerts      map[string]string
}

// Approval is what a person must approve.
type Approval string

// The four degrees.
const (
	ApproveNothing   Approval = "none"
	ApproveStart     Approval = "start"     // before any traffic
	ApprovePromotion Approval = "promotion" // before the promotion
	ApproveBoth      Approval = "both"
)

// InFlight is within what only one rollout may be under way.
type InFlight string

// The three degrees.
const (
	Unlimited    InFlight = "unlimited"
	OnePerSpace  InFlight = "namespace"
	OnePerPolicy InFlight = "policy"
)

// Freeze is a time in which no rollout starts and none is promoted: weekly ("Fri 16:00" to "Mon 08:00") or once
// ("2026-12-24 00:00" to "2027-01-02 00:00"), by the wall clock of Zone. Rollouts whose change is in Except go on.
type Freeze struct {
	From, To string
	Zone     string
	Except   []string
}

// Set is all policies by name. It always has one named default.
type Set map[string]Rules

// For is the policy of that name, or the default where there is none (any more).
func (s Set) For(name string) Rules {
	if rules, ok := s[name]; ok {
		return rules
	}
	return s["default"]
}

// Default is the policy of a Canary that names none: requirements 4 and 5 in numbers, and the verdict's own defaults
// (verdict.md §2).
func Default() Rules {
	return Rules{
		Name:       "default",
		SLO:        SLO{Objective: 99.5, Good: []string{"2xx"}},
		Metrics:    Metrics{Requests: "http_requests_total", Status: "status", Duration: "http_request_duration_seconds"},
		FailFast:   FailFast{ErrorRate: 2, Within: 5 * time.Minute, Mode: Literal},
		Bake:       Bake{First: 5 * time.Minute, Step: time.Minute},
		Evidence:   Evidence{MinRequests: 300, OnTooLittle: HoldOn, MaxHold: 30 * time.Minute},
		Confidence: Confidence{FalseRollback: 1, Block: 2 * time.Second, Dispersion: 1},
		Ramp:       Ramp{RiskBurn: 2, Miss: 5},
		Baseline:   Baseline{Margin: 0.5},
		Gates:      GateRules{Approval: ApproveNothing, InFlight: Unlimited},
		Brake:      BrakeOff,
	}
}

// IsGood reports whether a response with this status code counts as good by the SLI.
func (s SLO) IsGood(status string) bool {
	for _, g := range s.Good {
		if g == status || strings.HasSuffix(g, "xx") && len(status) == 3 && status[0] == g[0] {
			return true
		}
	}
	return false
}
