// Package settle says where Helm's release belongs after a rollout came back: at the newest of Helm's revisions that the
// primary runs.
package settle

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// ErrUnderWay is returned while something is on its way: to go back with Helm then does not abort a rollout, Flagger would
// carry on with pods that run the old version.
var ErrUnderWay = errors.New("not settled while something is under way")

// ErrPerson is returned where no revision of Helm's is known to be what users are served by: a person must look.
var ErrPerson = errors.New("not settled, a person must look")

// Cluster is how the Canary stands.
type Cluster struct {
	Canary   rollout.Key
	Phase    rollout.Phase
	Weight   int  // percent of traffic that goes to the canary now
	UnderWay bool // the gatekeeper follows a rollout
	Target   rollout.Revision
	Stable   rollout.Revision // what the primary runs
	Last     *rollout.Brief   // the newest rollout, nil when there was none
}

// Past is one entry of Helm's history. DeployID is that of its manifest, "" when it has none.
type Past struct {
	Number   int
	Status   string // Helm's word
	DeployID string
}

// Choice is where the release goes.
type Choice struct {
	From, To int // Helm's revisions; To 0: nothing to do
	Why      string
}

// Allowed says why the release must stay as it is, nil when it may be brought to what the primary runs.
func Allowed(c Cluster) error {
	refuse := func(kind error, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", kind, c.Canary, fmt.Sprintf(format, args...))
	}
	switch {
	case c.UnderWay || c.Phase.UnderWay():
		return refuse(ErrUnderWay, "a rollout is in phase %s; wait for its end, or abort it: gatekeeper abort %s", c.Phase, c.Canary)
	case c.Phase != rollout.Failed && c.Phase != rollout.Succeeded && c.Phase != rollout.Initialized:
		return refuse(ErrUnderWay, "Flagger has it in phase %q; try again when it is Initialized", c.Phase)
	case c.Weight > 0 || c.Last != nil && c.Last.Result == rollout.Stuck:
		return refuse(ErrPerson, "its promotion broke down, and users may be served by the canary's pods, which Helm would change; see the runbook for stuck promotions")
	case c.Stable.DeployID == "":
		return refuse(ErrPerson, "the primary's pods have no annotation rollout.monitoring/deploy-id, so none of Helm's revisions is known to be theirs; release once with one")
	case c.Target.DeployID == c.Stable.DeployID && c.Target.Image == c.Stable.Image:
		return nil // the cluster is right already; Helm's own record may not be
	case c.Last == nil || c.Last.Revision.Hash != c.Target.Hash || c.Phase != rollout.Failed:
		return refuse(ErrUnderWay, "Flagger has not looked at %s yet (phase %s); gatekeeper wait --deploy-id %q follows it", c.Target.Label(), c.Phase, c.Target.DeployID)
	case c.Last.Result != rollout.RolledBack && c.Last.Result != rollout.Aborted:
		return refuse(ErrUnderWay, "the newest rollout of %s is %s, not rolled back or aborted", c.Target.Label(), c.Last.Result)
	default:
		return nil
	}
}

// Choose takes the newest of Helm's revisions that carries the deploy id which the primary runs. History is newest first, and
// need not be longer than to the first of them. Own is the deploy id of a release whose helm is known to have ended, "" if none is:
// where that one was killed its revision stays pending, and Helm goes back from it like from any other.
func Choose(stable, own string, history []Past) (Choice, error) {
	if len(history) == 0 {
		return Choice{}, fmt.Errorf("%w: Helm's history is empty", ErrPerson)
	}
	now := history[0]
	pending := slices.Contains([]string{"pending-install", "pending-upgrade", "pending-rollback", "uninstalling"}, now.Status)
	if pending && (own == "" || now.DeployID != own) {
		return Choice{}, fmt.Errorf("%w: Helm's revision %d is %s: another helm is at work, or was killed; see helm history", ErrUnderWay, now.Number, now.Status)
	}
	if now.Status == "deployed" && now.DeployID == stable {
		return Choice{now.Number, 0, fmt.Sprintf("nothing to do: Helm's revision %d is what the primary runs (deploy id %s)", now.Number, stable)}, nil
	}
	// One that Helm calls failed, as when it waited in vain, was applied all the same if the primary runs it.
	at := slices.IndexFunc(history, func(p Past) bool {
		return p.DeployID == stable && slices.Contains([]string{"deployed", "superseded", "failed"}, p.Status)
	})
	if at < 0 {
		return Choice{}, fmt.Errorf("%w: none of Helm's %d revisions has the deploy id %s that the primary runs; release that version again, and keep more revisions (--history-max)",
			ErrPerson, len(history), stable)
	}
	return Choice{now.Number, history[at].Number, fmt.Sprintf("Helm's revision %d has the deploy id %s that the primary runs; revision %d (%s) came back", history[at].Number, stable, now.Number, named(now.DeployID))}, nil
}

func named(deployID string) string {
	if deployID == "" {
		return "without a deploy id"
	}
	return "deploy id " + deployID
}
