package keeper

import (
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestNext(t *testing.T) {
	under := func(hash string) *run { return &run{rollout: rollout.Rollout{Revision: rollout.Revision{Hash: hash}}} }
	for name, c := range map[string]struct {
		open  *run
		phase rollout.Phase
		hash  string
		last  sighting
		want  move
	}{
		"a Canary at rest opens nothing":                           {nil, rollout.Succeeded, "b", sighting{}, move{}},
		"the first installation is no rollout":                     {nil, rollout.Initializing, "a", sighting{}, move{}},
		"the first sighting of a revision waits for the second":    {nil, rollout.Progressing, "b", sighting{}, move{}},
		"the second sighting opens":                                {nil, rollout.Progressing, "b", sighting{candidate: "b"}, move{open: true}},
		"another revision at the second sighting starts over":      {nil, rollout.Progressing, "c", sighting{candidate: "b"}, move{}},
		"an unknown revision opens nothing":                        {nil, rollout.Progressing, "", sighting{}, move{}},
		"the revision under way goes on":                           {under("b"), rollout.Promoting, "b", sighting{candidate: "b"}, move{}},
		"a newer revision supersedes":                              {under("b"), rollout.Progressing, "c", sighting{candidate: "c"}, move{end: rollout.Superseded, open: true}},
		"a revision that has ended is not opened by a late phase":  {nil, rollout.Progressing, "b", sighting{candidate: "b", closed: "b"}, move{}},
		"succeeded is promoted":                                    {under("b"), rollout.Succeeded, "b", sighting{}, move{end: rollout.Promoted}},
		"failed is rolled back":                                    {under("b"), rollout.Failed, "b", sighting{}, move{end: rollout.RolledBack}},
		"an end that was missed, and something newer came to rest": {under("b"), rollout.Succeeded, "c", sighting{}, move{end: rollout.Superseded}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := next(c.open, rollout.Canary{Phase: c.phase, Revision: rollout.Revision{Hash: c.hash}}, c.last)
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	if _, seen := next(nil, rollout.Canary{Phase: rollout.Succeeded}, sighting{candidate: "b", closed: "b"}); seen != (sighting{}) {
		t.Errorf("a Canary at rest leaves %+v behind", seen)
	}
}
