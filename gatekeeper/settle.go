package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	Timeout   time.Duration `default:"0s" help:"How long to wait for the end of a rollout that is under way, as after an abort."`
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

Exit codes: 0 brought back, or nothing to do; 1 wrong call, or the gatekeeper or Helm failed; 2 a person must look; 3 a rollout is under
way; 130 interrupted.

  gatekeeper settle --release podinfo --namespace demo --timeout 2m`
}

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
	stands, err := c.quiet(ctx)
	if err != nil {
		return settled{}, err
	}
	of := helm.Release{Namespace: c.Namespace, Name: c.Release}
	history, err := past(ctx, of, stands)
	if err != nil {
		return settled{}, err
	}
	choice, err := settle.Choose(stands.Stable.DeployID, history)
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
func past(ctx context.Context, of helm.Release, c settle.Cluster) (known []settle.Past, err error) {
	all, err := of.History(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		manifest, err := of.Manifest(ctx, r.Number)
		if err != nil {
			return nil, err
		}
		known = append(known, settle.Past{Number: r.Number, Status: r.Status, DeployID: settle.DeployID(manifest, c.Canary.Name)})
		if choice, err := settle.Choose(c.Stable.DeployID, known); err == nil && (choice.To == 0 || choice.To == r.Number) {
			break
		}
	}
	return known, nil
}

// quiet is how the Canary stands once nothing is under way, or why the release must stay as it is.
func (c settleCmd) quiet(ctx context.Context) (settle.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout+clientTime)
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
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(max(c.Timeout, time.Nanosecond)))
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
