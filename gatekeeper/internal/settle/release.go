package settle

import "fmt"

// Release is one that must not stay, as when its pipeline was cancelled: how far it has come.
type Release struct {
	DeployID string
	State    string // as the gatekeeper answers for a deploy id
	Newest   Past   // Helm's newest revision
	Aborted  bool   // the gatekeeper was asked to send it back
	Absent   bool   // nothing has carried the deploy id for so long that helm can not have brought it into the cluster
}

// Step is what is to be done next about a Release.
type Step int

// The steps. Look: ask again later. Abort: send its rollout back. Back: it does not serve, Helm's record follows. Leave: nothing.
const (
	Look Step = iota
	Abort
	Back
	Leave
)

// Next is the step, and why in words where it is Leave. It is ErrPerson for a release that serves already, another error for a
// state that is not known.
func (r Release) Next() (Step, string, error) {
	if r.Newest.DeployID != r.DeployID {
		return Leave, fmt.Sprintf("nothing to do: Helm's newest revision %d (%s) is not the release %s", r.Newest.Number, named(r.Newest.DeployID), r.DeployID), nil
	}
	switch r.State {
	case "unknown":
		if r.Absent {
			return Back, "", nil
		}
		return Look, "", nil
	case "waiting": // Flagger can not be told before it begins
		return Look, "", nil
	case "under-way":
		if r.Aborted {
			return Look, "", nil
		}
		return Abort, "", nil
	case "superseded":
		return Leave, "nothing to do: a newer release took the place of " + r.DeployID, nil
	case "promoted", "nothing-to-do":
		return Leave, "", fmt.Errorf("%w: the primary runs the release %s already, it can not be sent back; release the version before it if it must not stay", ErrPerson, r.DeployID)
	case "rolled-back", "aborted", "stuck": // Allowed sees which
		return Back, "", nil
	default:
		return Leave, "", fmt.Errorf("the gatekeeper answers state %q, which this command does not know: use one of the gatekeeper's version", r.State)
	}
}
