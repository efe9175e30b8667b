package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/dora"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestTheFirstSightSaysHowItStandsAndWhatComesNext(t *testing.T) {
	now := time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)
	stable, fresh := rollout.Revision{Hash: "s", Image: "app:1"}, rollout.Revision{Hash: "f", Image: "app:2"}
	at := func(phase rollout.Phase, weight, next int, outcome rollout.Outcome, kind string) policy.Standing {
		r := rollout.Rollout{Stable: stable, Revision: fresh, Phase: phase, Latest: rollout.Tick{Weight: weight, Next: next}}
		if kind != "" {
			r.Verdict = rollout.Verdict{Outcome: outcome, Reasons: []rollout.Reason{{Kind: kind, Text: "because of " + kind}}}
		}
		return policy.Standing{Phase: phase, Rollout: &r}
	}
	with := func(s policy.Standing, gates ...policy.Gate) policy.Standing {
		s.Gates = gates
		return s
	}
	said := func(s policy.Standing, kinds ...rollout.DecisionKind) policy.Standing {
		for _, kind := range kinds {
			s.Rollout.Decisions = append(s.Rollout.Decisions, rollout.Decision{Kind: kind, By: "ann", At: now})
		}
		return s
	}
	over := func(result rollout.Result) policy.Standing {
		s := at(rollout.Succeeded, 0, 100, rollout.Pass, policy.KindStepDone)
		s.Rollout.Result = result
		return s
	}
	answering := at(rollout.Progressing, 0, 10, rollout.Hold, policy.KindBlind)
	answering.Rollout.Latest.Answering = 1
	closed := func(kind policy.GateKind, stage policy.Stage) policy.Gate {
		return policy.Gate{Kind: kind, Stages: []policy.Stage{stage}, Why: "the gate's reason"}
	}
	thaws := closed(policy.GateFreeze, policy.StageStart)
	thaws.OpensAt = now.Add(time.Hour)
	for name, c := range map[string]struct {
		standing policy.Standing
		mood     mood
		label    string
		next     string
		acts     string
	}{
		"nothing is under way":            {policy.Standing{Phase: rollout.Succeeded}, quiet, "Quiet", "until the next release", ""},
		"the last one came back":          {policy.Standing{Phase: rollout.Failed}, quiet, "Quiet", "until the next release", ""},
		"the first installation":          {policy.Standing{Phase: rollout.Initializing}, busy, "Being set up", "without an analysis", ""},
		"not judged yet":                  {at(rollout.Progressing, 0, 10, "", ""), busy, "Just begun", "within seconds", "hold abort"},
		"pods do not answer yet":          {at(rollout.Progressing, 0, 10, rollout.Hold, policy.KindBlind), busy, "Starting", "once the canary's pods answer", "hold abort"},
		"ready":                           {at(rollout.Progressing, 0, 10, rollout.Pass, policy.KindReady), good, "Ready for traffic", "raises its traffic to 10 %", "hold abort"},
		"baking":                          {at(rollout.Progressing, 10, 25, rollout.Hold, policy.KindBaking), busy, "Being watched at 10 %", "raises its traffic to 25 %", "hold abort"},
		"passed":                          {at(rollout.Progressing, 25, 50, rollout.Pass, policy.KindStepDone), good, "Going well at 25 %", "raises its traffic to 50 %", "hold abort"},
		"passed the last step":            {at(rollout.WaitingPromotion, 50, 100, rollout.Pass, policy.KindStepDone), good, "Going well at 50 %", "promotes the release", "hold abort"},
		"held for a reason":               {at(rollout.Progressing, 25, 50, rollout.Hold, policy.KindOverLimit), waits, "Held at 25 %", "stays at 25 %", "hold abort"},
		"pods answer, and nobody counts":  {answering, waits, "Held before traffic", "send the service one request", "hold abort"},
		"blind with traffic":              {at(rollout.Progressing, 25, 50, rollout.Hold, policy.KindBlind), waits, "Held at 25 %", "stays at 25 %", "hold abort"},
		"failed":                          {at(rollout.Progressing, 25, 50, rollout.Fail, policy.KindSLO), bad, "Going back", "sends all traffic back to 1 (s)", ""},
		"aborted a moment ago":            {said(at(rollout.Progressing, 25, 50, rollout.Pass, policy.KindStepDone), rollout.Abort), bad, "Going back", "sends all traffic back", ""},
		"being promoted":                  {at(rollout.Promoting, 100, 100, rollout.Pass, policy.KindStepDone), good, "Being promoted", "the stable version", ""},
		"waits for the start's approval":  {with(at(rollout.Waiting, 0, 10, rollout.Hold, policy.KindBlind), closed(policy.GateApproval, policy.StageStart)), waits, "Waits for approval", "The gate's reason", "approve reject hold abort"},
		"waits for the promotion's":       {with(at(rollout.WaitingPromotion, 50, 100, rollout.Pass, policy.KindStepDone), closed(policy.GateApproval, policy.StagePromotion)), waits, "Waits for approval", "The gate's reason", "approve reject hold abort"},
		"its approval is not needed yet":  {with(at(rollout.Progressing, 10, 25, rollout.Pass, policy.KindStepDone), closed(policy.GateApproval, policy.StagePromotion)), good, "Going well at 10 %", "raises its traffic to 25 %", "approve reject hold abort"},
		"a last step comes before it":     {with(at(rollout.Progressing, 50, 100, rollout.Pass, policy.KindStepDone), closed(policy.GateApproval, policy.StagePromotion)), good, "Going well at 50 %", "raises its traffic to 100 %", "approve reject hold abort"},
		"at the last step":                {with(at(rollout.Progressing, 100, 100, rollout.Hold, policy.KindBaking), closed(policy.GateApproval, policy.StagePromotion)), waits, "Waits for approval", "The gate's reason", "approve reject hold abort"},
		"frozen":                          {with(at(rollout.Waiting, 0, 10, rollout.Pass, policy.KindReady), thaws), waits, "Frozen", "by itself", "hold abort"},
		"a freeze does not stop a growth": {with(at(rollout.Progressing, 10, 25, rollout.Pass, policy.KindStepDone), thaws), good, "Going well at 10 %", "25 %", "hold abort"},
		"held by a person":                {said(with(at(rollout.Progressing, 10, 25, rollout.Pass, policy.KindStepDone), closed(policy.GateHold, policy.StageIncrease)), rollout.Pause), waits, "Held by a person", "The gate's reason", "resume abort"},
		"the budget is spent":             {with(at(rollout.Waiting, 0, 10, rollout.Pass, policy.KindReady), closed(policy.GateBudget, policy.StageStart)), waits, "Waits: error budget", "The gate's reason", "hold abort"},
		"an alert fires":                  {with(at(rollout.Progressing, 10, 25, rollout.Pass, policy.KindStepDone), closed(policy.GateAlerts, policy.StageIncrease)), waits, "Waits: an alert fires", "The gate's reason", "hold abort"},
		"another goes first":              {with(at(rollout.Waiting, 0, 10, rollout.Pass, policy.KindReady), closed(policy.GateInFlight, policy.StageStart)), waits, "Waits for another rollout", "The gate's reason", "hold abort"},
		"promoted":                        {over(rollout.Promoted), good, "Promoted", "is the stable version", ""},
		"rolled back":                     {over(rollout.RolledBack), bad, "Rolled back", "deploy it anew", ""},
		"superseded":                      {over(rollout.Superseded), quiet, "Superseded", "took its place", ""},
		"the Canary went away":            {over(rollout.Aborted), quiet, "Aborted", "over", ""},
		"stuck":                           {over(rollout.Stuck), bad, "Stuck", "A person must act", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := lookAt(c.standing, now)
			if s.Mood != c.mood || s.Label != c.label || !strings.Contains(s.Next, c.next) || s.Fine == "" {
				t.Errorf("got %+v; want mood %s, label %q, next …%s…", s, c.mood, c.label, c.next)
			}
			var can []string
			for _, a := range actsFor(c.standing, now) {
				can = append(can, string(a.Kind))
			}
			if got := strings.Join(can, " "); got != c.acts {
				t.Errorf("can %q, want %q", got, c.acts)
			}
		})
	}
}

func TestEvidenceInWords(t *testing.T) {
	r := rollout.Rollout{Latest: rollout.Tick{Next: 50, Canary: rollout.Counts{Good: 1997, Bad: 3}, Primary: rollout.Counts{Good: 12345}}}
	if got := findings(r); got != nil {
		t.Errorf("before the first traffic: %v", got)
	}
	r.Verdict.Evidence = &rollout.Assessment{
		LogSLO: -1, LogCompare: 4.27, LogLine: 5.3, Rate: 0.0015, Lower: 0.00002, Upper: 0.004, AllowedWeight: 0.257, RequestsNeeded: 1234,
	}
	var text strings.Builder
	for _, f := range findings(r) {
		text.WriteString(f.What + " " + f.Says + "\n")
		if f.Line != 0 && (f.Level < 0 || f.Level > f.Line) {
			t.Errorf("%s: level %v of %v", f.What, f.Level, f.Line)
		}
	}
	for _, want := range []string{
		"The canary fails 0.15 % of its requests, 3 of 2,000; the truth is not under 0.0020 % and not over 0.40 %\n",
		"The primary fails 0 % of its requests, 0 of 12,345\n",
		"That the canary breaks its objective nothing speaks for that; it is rolled back at 200 : 1\n",
		"That it fails more than the primary 72 : 1, it is rolled back at 200 : 1\n",
		"The evidence supports up to 25 % of traffic; about 1,234 more requests without an error allow 50 %\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, text.String())
		}
	}
}

func TestFiguresForPeople(t *testing.T) {
	at := time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)
	for want, got := range map[string]string{
		"0 %": share(0), "under 0.0001 %": share(1e-9), "0.0050 %": share(0.00005), "0.50 %": share(0.005), "12.5 %": share(0.125), "100.0 %": share(1),
		"7": number(7), "1,000": number(1000), "12,345,678": number(12_345_678), "999": number(999),
		"–": span(time.Time{}, at, at), "9 s": span(at, at.Add(9*time.Second), at), "1 min 5 s": span(at, time.Time{}, at.Add(65*time.Second)),
		"2 h 1 min": span(at, at.Add(121*time.Minute), at), "3 days": span(at, at.Add(80*time.Hour), at),
		"Ärger": capital("ärger"), "": capital(""),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDeliveryMetricsInWords(t *testing.T) {
	if got := figures(dora.Figures{}); got != nil {
		t.Errorf("of nothing it says %v", got)
	}
	got := fmt.Sprint(figures(dora.Figures{Deployments: 12, Decided: 14, Failed: 2, FailureRate: 2.0 / 14, LeadTime: dora.Spread{N: 11, Median: 11_520}, Restore: dora.Spread{N: 2, Median: 28.6}}))
	if want := "[{Promoted in 30 days 12} {Came back 2 of 14, 14.3 %} {Lead time, median 3 h 12 min, of 11} {Time to restore, median 29 s, of 2}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := figures(dora.Figures{Deployments: 1, Decided: 1}); len(got) != 2 {
		t.Errorf("what is not known is told: %v", got)
	}
}
