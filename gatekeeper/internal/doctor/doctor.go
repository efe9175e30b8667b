// Package doctor examines a Canary and what belongs to it for the traps that Flagger, NGINX, the Gateway API and Kubernetes set, and forecasts what its traffic lets the gatekeeper see.
package doctor

import (
	"cmp"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// Severity is how bad a Finding is.
type Severity string

// Error: releases will fail, hang or go on unjudged. Warn: they will under some conditions, or it takes long to notice.
// Info: good to know.
const (
	Error Severity = "error"
	Warn  Severity = "warn"
	Info  Severity = "info"
)

// Finding is one thing that should be otherwise.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Where    string   `json:"where"`  // kind and field path
	Says     string   `json:"says"`   // what is so, and what comes of it
	Change   string   `json:"change"` // what to do; "" where there is nothing to do
	Source   string   `json:"source"` // how it is known
}

// Patient is all that one Canary depends on, as the API server gave it. A nil object is not there, or its kind is in
// Unread: then nothing is concluded from its absence. TargetSince is when the target's current revision was first made,
// zero where that is not known.
type Patient struct {
	Canary                              Object
	Target, Primary                     Object // Deployments
	TargetSince                         time.Time
	Apex, PrimaryService, CanaryService Object
	Ingress, CanaryIngress              Object
	Route                               Object            // HTTPRoute
	Templates, AlertProviders           map[string]Object // those that the Canary names, by namespace/name
	Autoscalers                         []Object          // of the namespace
	Others                              []Object          // Canaries, at least those of the namespace
	Unread                              map[string]string // kind to why it could not be read

	Now      time.Time
	Rules    policy.Rules
	Policies []string // names of all policies; empty: not known

	GatekeeperURL, GatekeeperTrouble string // who was asked, and why there was no answer

	Rate        float64 // primary's requests a second
	RateKnown   bool
	RateTrouble string // why it is not known
}

// Check is one kind of finding.
type Check struct {
	ID       string
	Severity Severity
	Finds    string // in a few words, for the list of all
	Source   string
	find     func(Patient) []hit
}

// hit is one place where a check found something.
type hit struct{ where, says, change string }

// Checks are all kinds of findings, by what they look at.
func Checks() []Check {
	return slices.Concat(hookChecks(), analysisChecks(), trafficChecks(), workloadChecks(), phaseChecks(), forecastChecks())
}

// Examine applies all checks; the worst findings come first. It reads p and changes nothing.
func Examine(p Patient) []Finding {
	findings := []Finding{}
	for _, c := range Checks() {
		for _, h := range c.find(p) {
			findings = append(findings, Finding{c.ID, c.Severity, h.where, h.says, h.change, c.Source})
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return findings
}

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warn, Info}, s) }

// when is the one hit, if bad.
func when(bad bool, where, says, change string) []hit {
	if !bad {
		return nil
	}
	return []hit{{where, says, change}}
}
