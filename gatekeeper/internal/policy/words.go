package policy

import (
	"fmt"
	"strings"
)

// Words says in plain lines what the rules ask for.
func (r Rules) Words() []string {
	lines := []string{
		fmt.Sprintf("promises %s of responses with status %s", percent(r.SLO.Objective), strings.Join(r.SLO.Good, ", ")),
		fmt.Sprintf("counts %s by %s, from %s", r.Metrics.Requests, r.Metrics.Status, r.Evidence.sources()),
		fmt.Sprintf("fails when over %s of the responses of the first %s are bad, %s", percent(r.FailFast.ErrorRate), span(r.FailFast.Within), r.FailFast.Mode.words(r.Evidence.MinRequests)),
		fmt.Sprintf("fails at once when it is proven that the promise is broken or that the canary is worse than the primary, by %v percentage points or more", r.Baseline.Margin),
		fmt.Sprintf("by evidence rolls back at most %s of the releases that keep the promise", percent(r.Confidence.FalseRollback)),
		fmt.Sprintf("stays %s at the first weight, %s at each later one", span(r.Bake.First), span(r.Bake.Step)),
		fmt.Sprintf("lets traffic grow while the risk is at most %v times what the objective allows", r.Ramp.RiskBurn),
		fmt.Sprintf("held for %s without a pass: tells people, and fails %s", span(r.Evidence.MaxHold), map[OnTooLittle]string{HoldOn: "when the promise is not kept, by evidence of 10 : 1", RollBack: "unless the environment or the counting is to blame"}[r.Evidence.OnTooLittle]),
	}
	if l := r.Latency; l != nil {
		var limits []string
		if l.Max != 0 {
			limits = append(limits, "within "+span(l.Max))
		}
		if l.WorseBy != 0 {
			limits = append(limits, "at most "+percent(l.WorseBy)+" slower than the primary's")
		}
		lines = append(lines, fmt.Sprintf("wants %s of responses %s", percent(l.Quantile), strings.Join(limits, " and ")))
	}
	if b := r.Budget; b != nil {
		if b.MinRemaining != 0 {
			lines = append(lines, fmt.Sprintf("starts only while %s of the error budget of %s is left", percent(b.MinRemaining), span(b.Window)))
		}
		if b.PerRollout != 0 {
			lines = append(lines, fmt.Sprintf("holds a rollout that alone spent more than %s of the error budget of %s", percent(b.PerRollout), span(b.Window)))
		}
	}
	lines = append(lines, r.Gates.words()...)
	for _, n := range r.Notify {
		lines = append(lines, n.words())
	}
	return append(lines, "brake: "+map[Brake]string{
		BrakeOff:    "the gatekeeper never sets the weight itself",
		BrakeOn:     "the gatekeeper sets the weight to 0 when the verdict is fail",
		BrakeAlways: "the gatekeeper sets the weight to 0 when the verdict is fail or Flagger stops calling",
	}[r.Brake])
}

func (n Notify) words() string {
	if len(n.On) == 0 {
		return fmt.Sprintf("tells %s what that sink asks for", n.Sink)
	}
	events := make([]string, len(n.On))
	for i, h := range n.On {
		events[i] = string(h)
	}
	return fmt.Sprintf("tells %s of %s", n.Sink, strings.Join(events, ", "))
}

func (e Evidence) sources() string {
	if len(e.Source) == 0 {
		return "every source that the gatekeeper has"
	}
	names := make([]string, len(e.Source))
	for i, s := range e.Source {
		names[i] = string(s)
	}
	return strings.Join(names, " and ")
}

func (m Mode) words(minRequests uint64) string {
	switch m {
	case Strict:
		return "as it stands, however few the requests"
	case Guarded:
		return "if the evidence is 10 : 1"
	default:
		return fmt.Sprintf("as it stands from %d requests on, below if the evidence is 10 : 1", minRequests)
	}
}

func (g GateRules) words() []string {
	var lines []string
	if g.Approval != ApproveNothing {
		what := map[Approval]string{ApproveStart: "start", ApprovePromotion: "promotion", ApproveBoth: "start and, again, the promotion"}[g.Approval]
		holds := "for the rollout"
		if g.ApprovalTTL != 0 {
			holds = "for " + span(g.ApprovalTTL)
		}
		lines = append(lines, fmt.Sprintf("a person approves the %s; an approval holds %s", what, holds))
	}
	for _, f := range g.Freeze {
		line := fmt.Sprintf("frozen from %s to %s (%s)", f.From, f.To, f.Zone)
		if len(f.Except) > 0 {
			line += ", except " + strings.Join(f.Except, ", ")
		}
		lines = append(lines, line)
	}
	if g.InFlight != Unlimited {
		lines = append(lines, fmt.Sprintf("one rollout at a time per %s", g.InFlight))
	}
	if len(g.DependsOn) > 0 {
		lines = append(lines, "starts only while none of these is under way or failed: "+strings.Join(g.DependsOn, ", "))
	}
	if len(g.Alerts) > 0 {
		lines = append(lines, "holds while an alert fires with "+labelList(g.Alerts))
	}
	return lines
}
