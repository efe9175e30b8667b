package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// mood is how a sight is coloured; its label says the same in words.
type mood string

const (
	good  mood = "good"
	busy  mood = "busy"
	waits mood = "waits"
	bad   mood = "bad"
	quiet mood = "quiet"
)

// sight is what a reader sees first: how it stands, whether that is fine, and what happens next if nobody does anything.
type sight struct {
	Mood  mood
	Label string
	Fine  string
	Next  string
	// Gate is the closed gate that holds the next move, nil when none does.
	Gate *policy.Gate
}

// Mark is the mood as a sign, for readers who do not see its colour.
func (s sight) Mark() string {
	return map[mood]string{good: "✓", busy: "…", waits: "‖", bad: "↩", quiet: "–"}[s.Mood]
}

// lookAt is the sight of a Canary, with a rollout under way or without.
func lookAt(s policy.Standing, now time.Time) sight {
	r := s.Rollout
	if r == nil {
		return withoutRollout(s.Phase)
	}
	if r.Result != "" {
		return ended(*r)
	}
	fine := cmp.Or(capital(r.Verdict.Text()), "Nothing has been judged yet.")
	if _, refused := r.Refused(now); refused || r.Verdict.Outcome == rollout.Fail {
		return sight{Mood: bad, Label: "Going back", Fine: fine, Next: "Flagger sends all traffic back to " + r.Stable.Label() + " when it asks next."}
	}
	if !r.Phase.Analysed() {
		return sight{Mood: good, Label: "Being promoted", Fine: fine, Next: "Flagger makes " + r.Revision.Label() + " the stable version. The gatekeeper is not asked any more."}
	}
	if g := holding(s); g != nil {
		return sight{Mood: waits, Label: gateLabel(g.Kind), Fine: fine, Next: nextOf(*g), Gate: g}
	}
	return judged(*r, fine)
}

// judged is the sight of a rollout that only its verdict moves.
func judged(r rollout.Rollout, fine string) sight {
	weight, next := r.Latest.Weight, nextWeight(r)
	if r.Verdict.Outcome == rollout.Pass {
		label := fmt.Sprintf("Going well at %d %%", weight)
		if weight == 0 {
			label = "Ready for traffic"
		}
		return sight{Mood: good, Label: label, Fine: fine, Next: "Flagger " + next + " when it asks next."}
	}
	switch r.Verdict.Kind() {
	case policy.KindBaking, policy.KindNeedEvidence, policy.KindNoTraffic, policy.KindSuperseding:
		return sight{Mood: busy, Label: fmt.Sprintf("Being watched at %d %%", weight), Fine: fine, Next: fmt.Sprintf("Traffic stays at %d %%. When this is over, Flagger %s.", weight, next)}
	case "":
		return sight{Mood: busy, Label: "Just begun", Fine: fine, Next: "The first evaluation comes within seconds."}
	case policy.KindBlind:
		switch {
		case weight == 0 && r.Latest.Answering > 0:
			return sight{Mood: waits, Label: "Held before traffic", Fine: fine, Next: "Traffic comes once a pod shows the counter: send the service one request, or correct metrics.requests of the policy."}
		case weight == 0:
			return sight{Mood: busy, Label: "Starting", Fine: fine, Next: "Traffic comes once the canary's pods answer."}
		}
	}
	return sight{Mood: waits, Label: fmt.Sprintf("Held at %d %%", weight), Fine: fine, Next: fmt.Sprintf("Traffic stays at %d %% until this ends. A proven failure still brings the release back.", weight)}
}

// nextWeight says what Flagger does after a pass.
func nextWeight(r rollout.Rollout) string {
	switch next := r.Latest.Next; {
	case r.Phase == rollout.WaitingPromotion || r.Latest.Weight >= 100:
		return "promotes the release"
	case next > 0 && next <= 100:
		return fmt.Sprintf("raises its traffic to %d %%", next)
	default:
		return "goes on"
	}
}

func withoutRollout(phase rollout.Phase) sight {
	switch phase {
	case rollout.Failed:
		return sight{Mood: quiet, Label: "Quiet", Fine: "No rollout is under way. The last one came back.", Next: "The stable version has all traffic until the next release."}
	case rollout.Initializing, "":
		return sight{Mood: busy, Label: "Being set up", Fine: "Flagger prepares this Canary.", Next: "The first version is installed without an analysis."}
	default:
		return sight{Mood: quiet, Label: "Quiet", Fine: "No rollout is under way.", Next: "The stable version has all traffic until the next release."}
	}
}

// ended is the sight of a rollout that is over.
func ended(r rollout.Rollout) sight {
	fine := capital(r.Summary()) + "."
	switch r.Result {
	case rollout.Promoted:
		return sight{Mood: good, Label: "Promoted", Fine: fine, Next: "It is over: " + r.Revision.Label() + " is the stable version."}
	case rollout.RolledBack:
		return sight{Mood: bad, Label: "Rolled back", Fine: fine, Next: "It is over: " + r.Stable.Label() + " has all traffic. Mend the release and deploy it anew."}
	case rollout.Stuck:
		return sight{Mood: bad, Label: "Stuck", Fine: fine, Next: "A person must act: Flagger does not take this traffic back."}
	case rollout.Superseded:
		return sight{Mood: quiet, Label: "Superseded", Fine: fine, Next: "It is over: a newer rollout took its place."}
	default:
		return sight{Mood: quiet, Label: "Aborted", Fine: fine, Next: "It is over."}
	}
}

// holding is the first closed gate that holds what the rollout wants to do next.
func holding(s policy.Standing) *policy.Gate {
	next := policy.Next(*s.Rollout)
	for i, g := range s.Gates {
		if g.Holds(next) {
			return &s.Gates[i]
		}
	}
	return nil
}

func gateLabel(kind policy.GateKind) string {
	switch kind {
	case policy.GateApproval:
		return "Waits for approval"
	case policy.GateFreeze:
		return "Frozen"
	case policy.GateHold:
		return "Held by a person"
	case policy.GateBudget:
		return "Waits: error budget"
	case policy.GateAlerts:
		return "Waits: an alert fires"
	default:
		return "Waits for another rollout"
	}
}

// nextOf says what ends the wait for a gate.
func nextOf(g policy.Gate) string {
	why := capital(g.Why) + "."
	if g.OpensAt.IsZero() {
		return why + " Traffic stays where it is until then; a proven failure still brings the release back."
	}
	return why + " It goes on by itself when the gate opens."
}

// act is what a person can do to a rollout.
type act struct {
	Kind rollout.DecisionKind
	// Verb is on the button; Means says what follows, before it is done; Done afterwards.
	Verb, Means, Done string
	// Grave ones send the release back.
	Grave bool
}

// acts are all that a person can do, in the order of their buttons.
func acts() []act {
	return []act{
		{Kind: rollout.Approve, Verb: "Approve", Means: "The approval gate opens. Traffic grows, or the release is promoted, once the verdict passes too.", Done: "You approved this rollout."},
		{Kind: rollout.Reject, Verb: "Reject", Means: "The release is sent back: all traffic goes to the stable version. This can not be undone.", Done: "You rejected this rollout. Flagger takes it back when it asks next.", Grave: true},
		{Kind: rollout.Pause, Verb: "Hold", Means: "Traffic stays where it is and nothing is promoted until a person resumes. A proven failure still brings the release back.", Done: "You hold this rollout where it is."},
		{Kind: rollout.Resume, Verb: "Resume", Means: "The hold ends. The release goes on by its verdict and its gates.", Done: "You resumed this rollout."},
		{Kind: rollout.Abort, Verb: "Abort", Means: "The release is sent back now: all traffic goes to the stable version. This can not be undone.", Done: "You aborted this rollout. Flagger takes it back when it asks next.", Grave: true},
	}
}

// actsFor are those that make sense for a rollout now.
func actsFor(s policy.Standing, now time.Time) []act {
	r := s.Rollout
	if r == nil || r.Result != "" || r.Verdict.Outcome == rollout.Fail || !r.Phase.Analysed() {
		return nil
	}
	if _, refused := r.Refused(now); refused {
		return nil
	}
	_, paused := r.Paused(now)
	asked := slices.ContainsFunc(s.Gates, func(g policy.Gate) bool { return g.Kind == policy.GateApproval && !g.Open })
	return slices.DeleteFunc(acts(), func(a act) bool {
		switch a.Kind {
		case rollout.Approve, rollout.Reject:
			return !asked
		case rollout.Pause:
			return paused
		case rollout.Resume:
			return !paused
		default:
			return false
		}
	})
}

// finding is one line of the evidence: a sentence, and where there is one how near it is to what rolls back.
type finding struct {
	What string
	Says string
	// Level of Line: both 0 where there is no line. Line is over 0.
	Level, Line float64
}

// Low and High are where the level is worth a look, and where it is near.
func (f finding) Low() float64 { return f.Line / 2 }

// High is four fifths of the line.
func (f finding) High() float64 { return f.Line * 4 / 5 }

// findings put the numbers behind a verdict into words.
func findings(r rollout.Rollout) []finding {
	a := r.Verdict.Evidence
	if a == nil {
		return nil
	}
	c, p := r.Latest.Canary, r.Latest.Primary
	all := []finding{
		{What: "The canary fails", Says: fmt.Sprintf("%s of its requests, %s of %s; the truth is not under %s and not over %s", share(a.Rate), number(c.Bad), number(c.Total()), share(a.Lower), share(a.Upper))},
		{What: "The primary fails", Says: fmt.Sprintf("%s of its requests, %s of %s", share(a.PrimaryRate), number(p.Bad), number(p.Total()))},
		odds("That the canary breaks its objective", a.LogSLO, a.LogLine),
		odds("That it fails more than the primary", a.LogCompare, a.LogLine),
	}
	if a.LogLatency != 0 {
		all = append(all, odds("That it is too slow", a.LogLatency, a.LogLine))
	}
	if a.LogIngressLine > 0 {
		all = append(all, odds("That it breaks its objective, as the ingress counts", a.LogIngressSLO, a.LogIngressLine),
			odds("That it fails more than the primary, as the ingress counts", a.LogIngressCompare, a.LogIngressLine))
	}
	if r.Result == "" {
		all = append(all, finding{What: "The evidence supports", Says: supports(r, *a)})
	}
	return all
}

// odds is how strongly something speaks against the canary; by the line it is rolled back.
func odds(what string, log, line float64) finding {
	f := finding{What: what, Level: min(max(log, 0), line), Line: line, Says: policy.Odds(log) + ", it is rolled back at " + policy.Odds(line)}
	if log <= 0 {
		f.Says = "nothing speaks for that; it is rolled back at " + policy.Odds(line)
	}
	return f
}

func supports(r rollout.Rollout, a rollout.Assessment) string {
	text := fmt.Sprintf("up to %.0f %% of traffic", math.Floor(100*a.AllowedWeight))
	if a.RequestsNeeded > 0 {
		text += fmt.Sprintf("; about %s more requests without an error allow %d %%", number(uint64(a.RequestsNeeded)), cmp.Or(r.Latest.Next, 100))
	}
	return text
}

// share writes a share of 1 in percent; a share that is not 0 never reads as 0.
func share(p float64) string {
	switch p *= 100; {
	case p == 0:
		return "0 %"
	case p < 0.0001:
		return "under 0.0001 %"
	case p < 0.01:
		return strconv.FormatFloat(p, 'f', 4, 64) + " %"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

// number groups the digits of n by three.
func number(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// span writes how long something took, for people; an end that has not come is now.
func span(from, to, now time.Time) string {
	switch {
	case from.IsZero():
		return "–"
	case to.IsZero():
		return lasting(now.Sub(from))
	default:
		return lasting(to.Sub(from))
	}
}

// lasting writes a time for people, in its two largest units.
func lasting(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return ""
	}
	first := []rune(s)[0]
	return strings.ToUpper(string(first)) + s[len(string(first)):]
}
