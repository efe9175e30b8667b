package keeper

import (
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestNext(t *testing.T) {
	of := func(phase rollout.Phase, outcome rollout.Outcome) *rollout.Rollout {
		return &rollout.Rollout{Phase: phase, Revision: rollout.Revision{Hash: "b", Image: "app:b"}, Stable: rollout.Revision{Hash: "p1"}, Verdict: rollout.Verdict{Outcome: outcome}}
	}
	underWay, failing, promoting := of(rollout.Progressing, rollout.Hold), of(rollout.Progressing, rollout.Fail), of(rollout.Finalising, rollout.Pass)
	old, fresh := rollout.Revision{Hash: "p1", Image: "app:a"}, rollout.Revision{Hash: "p2", Image: "app:b"}
	for name, c := range map[string]struct {
		open      *rollout.Rollout
		phase     rollout.Phase
		hash      string
		leftAt    int
		stable    rollout.Revision
		candidate string
		want      move
		seen      string
		looked    bool // all the time
	}{
		"a Canary at rest opens nothing":                               {nil, rollout.Succeeded, "b", 0, old, "", move{}, "", false},
		"the first installation is no rollout":                         {nil, rollout.Initializing, "a", 0, old, "", move{}, "", false},
		"the first sighting of a revision waits for the second":        {nil, rollout.Progressing, "b", 0, old, "", move{}, "b", false},
		"the second sighting opens":                                    {nil, rollout.Progressing, "b", 0, old, "b", move{open: true}, "b", false},
		"another revision at the second sighting starts over":          {nil, rollout.Progressing, "c", 0, old, "b", move{}, "c", false},
		"an unknown revision opens nothing":                            {nil, rollout.Progressing, "", 0, old, "b", move{}, "", false},
		"the revision under way goes on":                               {underWay, rollout.Progressing, "b", 0, old, "", move{}, "", false},
		"a newer revision supersedes":                                  {underWay, rollout.Progressing, "c", 0, old, "c", move{end: rollout.Superseded, open: true}, "c", false},
		"a revision pushed during a promotion does not supersede":      {promoting, rollout.Promoting, "c", 0, old, "c", move{}, "", false},
		"nor does it take the promotion for its own":                   {promoting, rollout.Succeeded, "c", 0, old, "", move{end: rollout.Promoted}, "", false},
		"succeeded is promoted":                                        {underWay, rollout.Succeeded, "b", 0, old, "", move{end: rollout.Promoted}, "", false},
		"failed is rolled back":                                        {underWay, rollout.Failed, "b", 0, old, "", move{end: rollout.RolledBack}, "", false},
		"failed with the traffic left on the canary is stuck":          {promoting, rollout.Failed, "b", 100, old, "", move{end: rollout.Stuck}, "", false},
		"a rollback that we asked for, with the mend pushed already":   {failing, rollout.Failed, "c", 0, old, "", move{end: rollout.RolledBack}, "", false},
		"a promotion that was missed, with the next one pushed":        {underWay, rollout.Succeeded, "c", 0, fresh, "", move{end: rollout.Promoted}, "", false},
		"something newer was promoted while nobody looked":             {underWay, rollout.Succeeded, "c", 0, old, "", move{end: rollout.Superseded}, "", false},
		"something newer failed while nobody looked":                   {underWay, rollout.Failed, "c", 0, old, "", move{end: rollout.Superseded}, "", false},
		"one that Flagger gave up, with the mend pushed already":       {underWay, rollout.Failed, "c", 0, old, "", move{end: rollout.RolledBack}, "", true},
		"one that was promoted quickly, with the next one pushed":      {underWay, rollout.Succeeded, "c", 0, old, "", move{end: rollout.Promoted}, "", true},
		"a Canary that starts over from nothing leaves things be":      {underWay, rollout.Initializing, "b", 0, old, "", move{}, "", false},
		"a Canary that was made anew ends what was of the one before":  {underWay, rollout.Initialized, "b", 0, old, "", move{end: rollout.Aborted}, "", false},
		"without the primary's revision nothing opens":                 {nil, rollout.Progressing, "b", 0, rollout.Revision{}, "b", move{}, "", false},
		"a revision seen once is forgotten when the Canary is at rest": {nil, rollout.Failed, "b", 0, old, "b", move{}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			canary := rollout.Canary{Phase: c.phase, LeftAt: c.leftAt, Stable: c.stable, Revision: rollout.Revision{Hash: c.hash}}
			got, seen := next(c.open, canary, c.candidate, !c.looked)
			if got != c.want || seen != c.seen {
				t.Errorf("got %+v %q, want %+v %q", got, seen, c.want, c.seen)
			}
		})
	}
}
