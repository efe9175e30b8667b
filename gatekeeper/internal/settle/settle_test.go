package settle

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var (
	v1 = rollout.Revision{Hash: "a", DeployID: "run-1", Image: "app:1"}
	v2 = rollout.Revision{Hash: "b", DeployID: "run-2", Image: "app:2"}
	v3 = rollout.Revision{Hash: "c", DeployID: "run-3", Image: "app:3"}
)

func ended(r rollout.Revision, result rollout.Result) *rollout.Brief {
	return &rollout.Brief{Revision: r, Result: result}
}

func TestAllowed(t *testing.T) {
	for name, c := range map[string]struct {
		stands Cluster
		kind   error
		says   string
	}{
		"rolled back":                          {Cluster{Phase: rollout.Failed, Target: v2, Stable: v1, Last: ended(v2, rollout.RolledBack)}, nil, ""},
		"aborted":                              {Cluster{Phase: rollout.Failed, Target: v2, Stable: v1, Last: ended(v2, rollout.Aborted)}, nil, ""},
		"settled before":                       {Cluster{Phase: rollout.Failed, Target: v1, Stable: v1, Last: ended(v2, rollout.RolledBack)}, nil, ""},
		"promoted":                             {Cluster{Phase: rollout.Succeeded, Target: v2, Stable: v2, Last: ended(v2, rollout.Promoted)}, nil, ""},
		"installed and never released":         {Cluster{Phase: rollout.Initialized, Target: v1, Stable: v1}, nil, ""},
		"under way":                            {Cluster{Phase: rollout.Progressing, UnderWay: true, Target: v2, Stable: v1, Last: ended(v2, "")}, ErrUnderWay, "gatekeeper abort demo/shop"},
		"waiting for approval":                 {Cluster{Phase: rollout.Waiting, Target: v2, Stable: v1}, ErrUnderWay, "phase Waiting"},
		"promotion under way":                  {Cluster{Phase: rollout.Promoting, Target: v2, Stable: v1}, ErrUnderWay, "phase Promoting"},
		"the gatekeeper has not seen its end":  {Cluster{Phase: rollout.Failed, UnderWay: true, Target: v2, Stable: v1}, ErrUnderWay, "phase Failed"},
		"being set up":                         {Cluster{Phase: rollout.Initializing, Target: v1, Stable: v1}, ErrUnderWay, `"Initializing"`},
		"just deployed after a promotion":      {Cluster{Phase: rollout.Succeeded, Target: v2, Stable: v1, Last: ended(v1, rollout.Promoted)}, ErrUnderWay, "has not looked at 2 (b) yet"},
		"just deployed after a rollback":       {Cluster{Phase: rollout.Failed, Target: v3, Stable: v1, Last: ended(v2, rollout.RolledBack)}, ErrUnderWay, `--deploy-id "run-3"`},
		"just deployed again what came back":   {Cluster{Phase: rollout.Succeeded, Target: v2, Stable: v1, Last: ended(v2, rollout.RolledBack)}, ErrUnderWay, "has not looked"},
		"failed, and nobody knows of what":     {Cluster{Phase: rollout.Failed, Target: v2, Stable: v1}, ErrUnderWay, "has not looked"},
		"superseded by nothing that is known":  {Cluster{Phase: rollout.Failed, Target: v2, Stable: v1, Last: ended(v2, rollout.Superseded)}, ErrUnderWay, "superseded"},
		"the same deploy id for another image": {Cluster{Phase: rollout.Succeeded, Target: rollout.Revision{Hash: "d", DeployID: "run-1", Image: "app:9"}, Stable: v1}, ErrUnderWay, "has not looked"},
		"stuck in its promotion":               {Cluster{Phase: rollout.Failed, Target: v2, Stable: v1, Last: ended(v2, rollout.Stuck)}, ErrPerson, "promotion broke down"},
		"users are on the canary":              {Cluster{Phase: rollout.Failed, Weight: 100, Target: v2, Stable: v1, Last: ended(v2, rollout.RolledBack)}, ErrPerson, "promotion broke down"},
		"the primary has no deploy id":         {Cluster{Phase: rollout.Failed, Target: v2, Stable: rollout.Revision{Hash: "a"}, Last: ended(v2, rollout.RolledBack)}, ErrPerson, "no annotation"},
	} {
		c.stands.Canary = rollout.Key{Namespace: "demo", Name: "shop"}
		err := Allowed(c.stands)
		if !errors.Is(err, c.kind) || err != nil && (c.kind == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.kind, c.says)
		}
	}
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		own      string
		history  []Past
		from, to int
		kind     error
		says     string
	}{
		"back by one":                      {"", []Past{{2, "deployed", "run-2"}, {1, "superseded", "run-1"}}, 2, 1, nil, "run-1"},
		"over releases that came back":     {"", []Past{{4, "deployed", "run-4"}, {3, "superseded", "run-3"}, {2, "superseded", ""}, {1, "superseded", "run-1"}}, 4, 1, nil, "revision 4 (deploy id run-4)"},
		"the newest of several":            {"", []Past{{4, "deployed", "run-2"}, {3, "superseded", "run-1"}, {2, "superseded", "run-2"}, {1, "superseded", "run-1"}}, 4, 3, nil, ""},
		"it is there already":              {"", []Past{{3, "deployed", "run-1"}}, 3, 0, nil, "nothing to do"},
		"the way back broke":               {"", []Past{{3, "failed", "run-1"}, {2, "superseded", "run-2"}}, 3, 3, nil, ""},
		"Helm waited for it in vain":       {"", []Past{{2, "deployed", "run-2"}, {1, "failed", "run-1"}}, 2, 1, nil, ""},
		"the upgrade itself failed":        {"", []Past{{2, "failed", "run-2"}, {1, "deployed", "run-1"}}, 2, 1, nil, ""},
		"without a deploy id":              {"", []Past{{2, "deployed", ""}, {1, "superseded", "run-1"}}, 2, 1, nil, "without a deploy id"},
		"another helm is at work":          {"", []Past{{2, "pending-upgrade", "run-2"}, {1, "deployed", "run-1"}}, 0, 0, ErrUnderWay, "pending-upgrade"},
		"our helm was killed":              {"run-2", []Past{{2, "pending-upgrade", "run-2"}, {1, "deployed", "run-1"}}, 2, 1, nil, "run-1"},
		"another helm after ours":          {"run-2", []Past{{3, "pending-upgrade", "run-3"}, {2, "failed", "run-2"}, {1, "deployed", "run-1"}}, 0, 0, ErrUnderWay, "revision 3"},
		"what the primary runs is pruned":  {"", []Past{{12, "deployed", "run-12"}, {11, "superseded", "run-11"}}, 0, 0, ErrPerson, "--history-max"},
		"what the primary runs is removed": {"", []Past{{2, "deployed", "run-2"}, {1, "uninstalled", "run-1"}}, 0, 0, ErrPerson, ""},
		"nothing is known":                 {"", nil, 0, 0, ErrPerson, "empty"},
	} {
		got, err := Choose("run-1", c.own, c.history)
		said := got.Why
		if err != nil {
			said = err.Error()
		}
		if !errors.Is(err, c.kind) || got.From != c.from || got.To != c.to || !strings.Contains(said, c.says) {
			t.Errorf("%s: %+v, %v; want from %d to %d, %v with %q", name, got, err, c.from, c.to, c.kind, c.says)
		}
	}
}

func TestNext(t *testing.T) {
	ours := Past{2, "failed", "run-2"}
	for name, c := range map[string]struct {
		stands Release
		step   Step
		kind   error
		says   string
	}{
		"Helm never took it in":            {Release{State: "unknown", Newest: Past{1, "deployed", "run-1"}}, Leave, nil, "revision 1 (deploy id run-1) is not"},
		"Helm has nothing":                 {Release{State: "unknown"}, Leave, nil, "without a deploy id"},
		"another one came after it":        {Release{State: "under-way", Newest: Past{3, "deployed", "run-3"}}, Leave, nil, "revision 3"},
		"not seen yet":                     {Release{State: "unknown", Newest: ours}, Look, nil, ""},
		"it did not reach the cluster":     {Release{State: "unknown", Newest: ours, Absent: true}, Back, nil, ""},
		"Flagger has not begun":            {Release{State: "waiting", Newest: ours, Absent: true}, Look, nil, ""},
		"it has begun":                     {Release{State: "under-way", Newest: ours}, Abort, nil, ""},
		"the abort is not carried out yet": {Release{State: "under-way", Newest: ours, Aborted: true}, Look, nil, ""},
		"sent back":                        {Release{State: "aborted", Newest: ours, Aborted: true}, Back, nil, ""},
		"rolled back":                      {Release{State: "rolled-back", Newest: ours}, Back, nil, ""},
		"stuck, which Allowed refuses":     {Release{State: "stuck", Newest: ours}, Back, nil, ""},
		"superseded":                       {Release{State: "superseded", Newest: ours}, Leave, nil, "a newer release"},
		"promoted before it was stopped":   {Release{State: "promoted", Newest: ours}, Leave, ErrPerson, "runs the release run-2 already"},
		"a first installation":             {Release{State: "nothing-to-do", Newest: ours}, Leave, ErrPerson, "already"},
	} {
		c.stands.DeployID = "run-2"
		step, said, err := c.stands.Next()
		if err != nil {
			said = err.Error()
		}
		if step != c.step || !errors.Is(err, c.kind) || !strings.Contains(said, c.says) {
			t.Errorf("%s: %d, %q, %v; want %d, %v with %q", name, step, said, err, c.step, c.kind, c.says)
		}
	}
}

func TestAStateThatIsNotKnownIsNoReasonToGoBack(t *testing.T) {
	if step, _, err := (Release{DeployID: "run-2", State: "new", Newest: Past{2, "failed", "run-2"}}).Next(); err == nil {
		t.Errorf("step %d", step)
	}
}

func TestDeployID(t *testing.T) {
	const (
		canary = "---\n# Source: shop/templates/canary.yaml\napiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata:\n  name: shop\nspec:\n  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop-web}\n"
		web    = "---\nkind: Deployment\nmetadata:\n  name: shop-web\nspec:\n  template:\n    metadata:\n      annotations: {rollout.monitoring/deploy-id: \"7\"}\n"
		own    = "---\nkind: Deployment\nmetadata: {name: shop}\nspec: {template: {metadata: {annotations: {rollout.monitoring/deploy-id: own}}}}\n"
		other  = "---\nkind: Service\nmetadata: {name: shop-web}\nspec: {template: text}\n---\n# nothing\n---\n{{ not YAML\n"
	)
	for name, c := range map[string]struct{ manifest, want string }{
		"the Canary's target":          {own + canary + other + web, "7"},
		"without a Canary its name":    {other + web + own, "own"},
		"with the first mark left out": {strings.TrimPrefix(own, "---\n"), "own"},
		"a target that is not there":   {canary + own, ""},
		"a pod template without one":   {"kind: Deployment\nmetadata: {name: shop}\nspec: {replicas: 1}\n", ""},
		"nothing":                      {"", ""},
	} {
		if got := DeployID(c.manifest, "shop"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
