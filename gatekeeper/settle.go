package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/helm"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/settle"
)

type settleCmd struct {
	server `embed:""`

	Release   string        `required:"" help:"Helm's release."`
	Namespace string        `short:"n" required:"" help:"Its namespace."`
	Canary    string        `help:"namespace/name of its Canary, where that has another name than the release."`
	DeployID  string        `name:"deploy-id" help:"Deploy id of a release that must not stay, as of a pipeline that was cancelled: its rollout is aborted first, when Flagger begins it."`
	Timeout   time.Duration `default:"0s" help:"How long to wait for the end of a rollout that is under way, as after an abort; with --deploy-id for its begin too, 4m if not given."`
	DryRun    bool          `help:"Only say what would be done."`
	Output    string        `enum:"text,json" default:"text" help:"text or json."`
}

// Help is printed below the flags.
func (settleCmd) Help() string {
	return `After a rollout that came back the primary serves the old version, and Helm's newest revision still holds the new one: the next
upgrade that reuses values would bring it again. This runs helm rollback to the newest revision whose deploy id the primary runs.
Flagger sees a pod template that it has promoted before and begins no rollout, unless the two releases use other ConfigMaps or Secrets
that it tracks: then it analyses the old version once more, against itself. Needs the program helm and its kubeconfig.

It refuses while a rollout is under way or not begun, for Helm does not abort one: gatekeeper abort does. After wait's exit code
2 with result rolled-back or aborted it can settle; after stuck a person must look; after a timeout (3) the rollout goes on.

With --deploy-id that release must not stay, whatever its helm upgrade or its pipeline came to: its rollout is looked for until Flagger
begins it, aborted (role ci), and its end waited for. The timeout must be longer than three of Flagger's intervals. Call it when the helm that
released it has ended; what that one left pending is settled too. Where Helm's newest revision is another release nothing is done.

Exit codes: 0 brought back, or nothing to do; 1 wrong call, or the gatekeeper or Helm failed; 2 a person must look, as where the release
of --deploy-id was promoted already; 3 a rollout is under way; 130 interrupted.

  gatekeeper settle --release podinfo --namespace demo --timeout 2m
  gatekeeper settle --release podinfo --namespace demo --deploy-id "$DEPLOY_ID"     the job was cancelled, or helm upgrade failed`
}

const (
	// seekTime is how long a release that must not stay is looked for: GitHub gives the last steps of a cancelled job 5 min.
	seekTime = 4 * time.Minute
	// takeIn is how long the gatekeeper may take to see what helm has brought into the cluster.
	takeIn = 15 * time.Second
)

// settled is what it came to, for machines.
type settled struct {
	Release  string `json:"release"`
	Canary   string `json:"canary"`
	From     int    `json:"from"` // Helm's revisions; To 0: there was nothing to do
	To       int    `json:"to"`
	DeployID string `json:"deployId"` // that the primary runs
	Changed  bool   `json:"changed"`
	DryRun   bool   `json:"dryRun"`
	Reason   string `json:"reason"`
}

// Run settles and tells.
func (c settleCmd) Run(ctx context.Context, s streams) error {
	if c.Canary == "" {
		c.Canary = c.Namespace + "/" + c.Release
	}
	if c.DeployID != "" && c.Timeout == 0 {
		c.Timeout = seekTime
	}
	done, err := c.settle(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return exitError{errors.New("interrupted; see helm history whether the release was brought back"), exitInterrupted}
	case errors.Is(err, settle.ErrUnderWay):
		return exitError{err, exitLate}
	case errors.Is(err, settle.ErrPerson):
		return exitError{err, exitBack}
	case err != nil:
		return err
	}
	if c.Output == "json" {
		_ = json.NewEncoder(s.out).Encode(done) // a pipe that is closed wants no more
	} else {
		fmt.Fprintln(s.out, done.text())
	}
	if !c.InActions || !done.Changed {
		return nil
	}
	return c.summarize(plain(done.text()))
}

// text says it for people.
func (d settled) text() string {
	did := "release " + d.Release + ": "
	switch {
	case d.Changed:
		did += fmt.Sprintf("brought back to revision %d: ", d.To)
	case d.To != 0:
		did += fmt.Sprintf("would be brought back to revision %d: ", d.To)
	}
	return did + d.Reason
}

func (c settleCmd) settle(ctx context.Context) (settled, error) {
	of := helm.Release{Namespace: c.Namespace, Name: c.Release}
	began := time.Now()
	if c.DeployID != "" {
		if why, err := c.sendBack(ctx, of, began); err != nil || why != "" {
			return settled{Release: c.Release, Canary: c.Canary, DryRun: c.DryRun, Reason: why}, err
		}
	}
	stands, err := c.quiet(ctx, began.Add(c.Timeout))
	if err != nil {
		return settled{}, err
	}
	history, err := c.past(ctx, of, stands)
	if err != nil {
		return settled{}, err
	}
	choice, err := settle.Choose(stands.Stable.DeployID, c.DeployID, history)
	if err != nil {
		return settled{}, err
	}
	done := settled{Release: c.Release, Canary: c.Canary, From: choice.From, To: choice.To, DeployID: stands.Stable.DeployID, DryRun: c.DryRun, Reason: choice.Why}
	if c.DryRun || choice.To == 0 {
		return done, nil
	}
	done.Changed = true
	return done, of.Rollback(ctx, choice.To)
}

// past reads Helm's history as far as it is needed: to the newest revision that the primary runs.
func (c settleCmd) past(ctx context.Context, of helm.Release, stands settle.Cluster) (known []settle.Past, err error) {
	all, err := of.History(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		one, err := c.revision(ctx, of, r)
		if err != nil {
			return nil, err
		}
		known = append(known, one)
		if choice, err := settle.Choose(stands.Stable.DeployID, c.DeployID, known); err == nil && (choice.To == 0 || choice.To == r.Number) {
			break
		}
	}
	return known, nil
}

func (c settleCmd) revision(ctx context.Context, of helm.Release, r helm.Revision) (settle.Past, error) {
	_, canary, _ := strings.Cut(c.Canary, "/")
	manifest, err := of.Manifest(ctx, r.Number)
	return settle.Past{Number: r.Number, Status: r.Status, DeployID: settle.DeployID(manifest, canary)}, err
}

// newest is Helm's newest revision, with the number 0 where there is none, as after a first helm upgrade that was refused.
func (c settleCmd) newest(ctx context.Context, of helm.Release) (settle.Past, error) {
	all, err := of.History(ctx)
	switch {
	case errors.Is(err, helm.ErrNoRelease):
		return settle.Past{}, nil
	case err != nil || len(all) == 0:
		return settle.Past{}, err
	default:
		return c.revision(ctx, of, all[0])
	}
}

// sendBack sees to it that the release with the deploy id does not stay in the cluster. It says why where that is all.
func (c settleCmd) sendBack(ctx context.Context, of helm.Release, began time.Time) (why string, err error) {
	newest, err := c.newest(ctx, of)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(c.Timeout+clientTime))
	defer cancel()
	r := settle.Release{DeployID: c.DeployID, Newest: newest}
	return backoff.Retry(ctx, func() (string, error) {
		return c.step(ctx, &r, time.Since(began))
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(c.Timeout))
}

// step does what is next about the release that must not stay, after it was looked for so long. An error that is not permanent:
// look again.
func (c settleCmd) step(ctx context.Context, r *settle.Release, after time.Duration) (why string, err error) {
	var now release
	query := url.Values{"deploy-id": {c.DeployID}, "canary": {c.Canary}}
	if err := c.call(ctx, http.MethodGet, "/api/v1/verdict?"+query.Encode(), nil, &now); err != nil {
		return "", retried(err)
	}
	r.State, r.Absent = now.State, after > takeIn
	next, why, err := r.Next()
	switch {
	case err != nil:
		return "", backoff.Permanent(err)
	case next == settle.Abort && c.DryRun:
		return "its rollout " + now.Rollout.ID + " would be aborted", nil
	case next == settle.Abort:
		r.Aborted, err = c.abort(ctx, now.Rollout.ID)
		if err != nil {
			return "", retried(err)
		}
	}
	if next == settle.Back || next == settle.Leave {
		return why, nil
	}
	return "", fmt.Errorf("%w: %s: %s", settle.ErrUnderWay, c.Canary, now.Text)
}

// abort sends a rollout back. One that is on its way back already needs nothing, and one that has ended since it was looked at is
// to be looked at again.
func (c settleCmd) abort(ctx context.Context, rollout string) (back bool, err error) {
	var answer json.RawMessage
	err = c.call(ctx, http.MethodPost, "/api/v1/rollouts/"+url.PathEscape(rollout)+"/abort", map[string]string{"why": "the pipeline was cancelled or failed"}, &answer)
	if no := (refusal{}); errors.As(err, &no) && (no.status == http.StatusConflict || no.status == http.StatusNotFound) {
		return no.status == http.StatusConflict, nil
	}
	return err == nil, err
}

// quiet is how the Canary stands once nothing is under way, or why the release must stay as it is.
func (c settleCmd) quiet(ctx context.Context, until time.Time) (settle.Cluster, error) {
	ctx, cancel := context.WithDeadline(ctx, until.Add(clientTime))
	defer cancel()
	return backoff.Retry(ctx, func() (settle.Cluster, error) {
		stands, err := c.stands(ctx)
		if err == nil {
			err = settle.Allowed(stands)
		}
		if err != nil && !errors.Is(err, settle.ErrUnderWay) {
			err = backoff.Permanent(err)
		}
		return stands, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(max(time.Until(until), time.Nanosecond)))
}

// stands asks the gatekeeper.
func (c settleCmd) stands(ctx context.Context) (settle.Cluster, error) {
	var now struct {
		policy.Standing
		Rollout *rollout.Key `json:"rollout"` // whether there is one
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/why?canary="+url.QueryEscape(c.Canary), nil, &now); err != nil {
		return settle.Cluster{}, err
	}
	var list struct {
		Rollouts []rollout.Brief `json:"rollouts"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/v1/rollouts?limit=1&canary="+url.QueryEscape(c.Canary), nil, &list); err != nil {
		return settle.Cluster{}, err
	}
	stands := settle.Cluster{Canary: now.Canary, Phase: now.Phase, Weight: now.Weight, UnderWay: now.Rollout != nil, Target: now.Revision, Stable: now.Stable}
	if len(list.Rollouts) > 0 {
		stands.Last = &list.Rollouts[0]
	}
	return stands, nil
}
