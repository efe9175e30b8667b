package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestWords(t *testing.T) {
	careful := Rules{
		SLO:        SLO{Objective: 99.9, Good: []string{"2xx", "404"}},
		Metrics:    Metrics{Requests: "hits_total", Status: "code"},
		FailFast:   FailFast{ErrorRate: 1, Within: 90 * time.Second, Mode: Guarded},
		Bake:       Bake{First: 2 * time.Hour, Step: 90 * time.Minute},
		Evidence:   Evidence{Source: []Source{Pods, Ingress}, MinRequests: 50, OnTooLittle: RollBack, MaxHold: day},
		Confidence: Confidence{FalseRollback: 0.5}, Ramp: Ramp{RiskBurn: 3}, Baseline: Baseline{Margin: 0.2},
		Latency: &Latency{Quantile: 99, Max: 500 * time.Millisecond, WorseBy: 25},
		Budget:  &Budget{Window: 30 * day, MinRemaining: 10, PerRollout: 1},
		Gates: GateRules{
			Approval: ApproveBoth, ApprovalTTL: 4 * time.Hour, InFlight: OnePerSpace, DependsOn: []string{"db", "other/api"},
			Freeze: []Freeze{{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Berlin", Except: []string{"hotfix"}}},
			Alerts: map[string]string{"team": "shop", "severity": "critical"},
		},
		Brake:  BrakeAlways,
		Notify: []Notify{{Sink: "team", On: []rollout.Happening{rollout.HasStarted, rollout.Happening(rollout.Promoted)}}, {Sink: "ops"}},
	}
	for name, c := range map[string]struct {
		rules Rules
		want  []string
	}{
		"the default": {Default(), []string{
			"promises 99.5 % of responses with status 2xx",
			"counts http_requests_total by status, from every source that the gatekeeper has",
			"fails when over 2 % of the responses of the first 5m are bad, as it stands from 300 requests on, below if the evidence is 10 : 1",
			"fails at once when it is proven that the promise is broken or that the canary is worse than the primary, by 0.5 percentage points or more",
			"by evidence rolls back at most 1 % of the releases that keep the promise",
			"stays 5m at the first weight, 1m at each later one",
			"lets traffic grow while the risk is at most 2 times what the objective allows",
			"held for 30m without a pass: tells people, and fails when the promise is not kept, by evidence of 10 : 1",
			"brake: the gatekeeper never sets the weight itself",
		}},
		"everything": {careful, []string{
			"promises 99.9 % of responses with status 2xx, 404",
			"counts hits_total by code, from pods and ingress",
			"fails when over 1 % of the responses of the first 1m30s are bad, if the evidence is 10 : 1",
			"fails at once when it is proven that the promise is broken or that the canary is worse than the primary, by 0.2 percentage points or more",
			"by evidence rolls back at most 0.5 % of the releases that keep the promise",
			"stays 2h at the first weight, 1h30m at each later one",
			"lets traffic grow while the risk is at most 3 times what the objective allows",
			"held for 1d without a pass: tells people, and fails unless the environment or the counting is to blame",
			"wants 99 % of responses within 500ms and at most 25 % slower than the primary's",
			"starts only while 10 % of the error budget of 30d is left",
			"holds a rollout that alone spent more than 1 % of the error budget of 30d",
			"a person approves the start and, again, the promotion; an approval holds for 4h",
			"frozen from Fri 16:00 to Mon 08:00 (Europe/Berlin), except hotfix",
			"one rollout at a time per namespace",
			"starts only while none of these is under way or failed: db, other/api",
			"holds while an alert fires with severity=critical, team=shop",
			"tells team of started, promoted",
			"tells ops what that sink asks for",
			"brake: the gatekeeper sets the weight to 0 when the verdict is fail or Flagger stops calling",
		}},
	} {
		if got := c.rules.Words(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, c.want)
		}
	}
}
