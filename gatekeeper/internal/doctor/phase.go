package doctor

import (
	"fmt"
	"strings"
	"time"
)

// Times after which a state is no longer on its way to the next.
const (
	longWait  = time.Hour   // for people
	longSight = time.Minute // until Flagger has seen a new Canary
)

func phaseChecks() []Check {
	return []Check{
		{"not-seen", Error, "a Canary that Flagger has not seen", "flagger-facts §1.1", func(p Patient) []hit {
			age := p.Now.Sub(p.Canary.time("metadata", "creationTimestamp"))
			return when(p.phase() == "" && age > longSight, "Canary status.phase", fmt.Sprintf("Flagger has done nothing with it for %s", rough(age)), "see whether Flagger runs, watches this namespace and can read the Canary")
		}},
		{"promotion-failed", Error, "a promotion that broke down", "flagger-facts §1.4, PR #1931", func(p Patient) []hit {
			left := p.Canary.number("status", "canaryWeight")
			return when(p.phase() == "Failed" && left > 0, "Canary status.canaryWeight", fmt.Sprintf("the primary did not come up and Flagger left %v %% of the traffic on the canary's pods", left), "see why the primary's pods are not ready; change the pod template again to release anew")
		}},
		{"failed-unseen", Error, "a revision that Flagger never analysed", "flagger-facts §1.4", func(p Patient) []hit {
			failed := p.promoted().time("lastTransitionTime")
			// Detection takes an interval, and clocks differ by a little.
			unseen := p.phase() == "Failed" && !failed.IsZero() && p.TargetSince.Sub(failed) > 0 && p.Now.Sub(p.TargetSince) > 3*p.interval()
			return when(unseen, "Canary status.phase", fmt.Sprintf("the target has a revision of %s ago, after the last failure, and Flagger does not look at it: it took it for seen while the primary was not ready", rough(p.Now.Sub(p.TargetSince))), "change the pod template again, for example its deploy id")
		}},
		{"waiting-long", Warn, "a release that waits for long", "flagger-facts §1.4, #1450", func(p Patient) []hit {
			since := p.promoted().time("lastTransitionTime")
			long := max(longWait, p.Rules.Evidence.MaxHold)
			waits := strings.HasPrefix(p.phase(), "Waiting") && !since.IsZero() && p.Now.Sub(since) > long
			return when(waits, "Canary status.phase", fmt.Sprintf("%s, in a rollout that began %s ago; Flagger waits for ever", p.phase(), rough(p.Now.Sub(since))), "ask the gatekeeper why, then approve or reject")
		}},
	}
}

// promoted is the condition whose times, unlike status.lastTransitionTime, are those of changes.
func (p Patient) promoted() Object {
	for _, c := range p.Canary.list("status", "conditions") {
		if c.Text("type") == "Promoted" {
			return c
		}
	}
	return nil
}
