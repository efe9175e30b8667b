package policy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// verdict.md §4.2, property 6: nothing but hold without canary traffic, no rollback for errors with fewer than three of them, a
// fail stays, and no pass while the error rate is over the hard limit.
func TestNoVerdictSaysMoreThanItKnows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := quick(podsOnly())
		rules.FailFast.Mode = rapid.SampledFrom([]Mode{Literal, Guarded}).Draw(t, "mode")
		rules.Evidence.MinRequests = rapid.Uint64Range(1, 400).Draw(t, "minRequests")
		w := along(rules)
		failed := false
		for range rapid.IntRange(1, 60).Draw(t, "legs") {
			w.drive(leg{
				seconds: rapid.IntRange(1, 20).Draw(t, "seconds"), weight: rapid.SampledFrom([]int{10, 25, 50, 100}).Draw(t, "weight"),
				good: rapid.Uint64Range(0, 30).Draw(t, "good"), bad: rapid.Uint64Range(0, 3).Draw(t, "bad") / 3,
				pgood: rapid.Uint64Range(0, 100).Draw(t, "primary"), pbad: rapid.Uint64Range(0, 9).Draw(t, "primary's bad") / 9,
				at: nextIs(25),
			})
			v, c := w.r.Verdict, w.r.Latest.Canary
			switch {
			case failed && v.Outcome != rollout.Fail:
				t.Fatalf("a fail became %s", v.Outcome)
			case !failed && c.Total() == 0 && v.Outcome != rollout.Hold:
				t.Fatalf("%s without a request: %+v", v.Outcome, v.Reasons)
			case !failed && v.Outcome == rollout.Fail && c.Bad < LeastErrors && v.Kind() != KindWindow:
				t.Fatalf("failed after %d errors: %+v", c.Bad, v.Reasons)
			case v.Outcome == rollout.Pass && c.ErrorRate() > rules.FailFast.ErrorRate:
				t.Fatalf("passed at %v %% of errors", c.ErrorRate())
			}
			failed = v.Outcome == rollout.Fail
		}
	})
}
