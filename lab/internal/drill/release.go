package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// The Secret with the token of /chaos, named in lab/values/podinfo.yaml.
const chaosSecret = "lab-chaos"

// pods is how many pods each version has: with one, nothing would show whether counts of several are summed.
const pods = 2

// coding is how old the commit of a release is: what a pipeline takes, made up.
const coding = time.Minute

// firstInstall is how long a first version may take from `helm upgrade --install` until users get through to it.
const firstInstall = 90 * time.Second

// install empties the namespace and lets version be the first that serves: Flagger takes it over without an analysis.
func (d *Drill) install(ctx context.Context, version string) error {
	begin := time.Now()
	if err := d.put(ctx, version); err != nil {
		return err
	}
	if err := d.served(ctx); err != nil {
		return err
	}
	d.Say("    %s serves after %.1fs", version, time.Since(begin).Seconds())
	return nil
}

// put installs version in an empty namespace and does not wait for it.
func (d *Drill) put(ctx context.Context, version string) error {
	if err := d.empty(ctx); err != nil {
		return err
	}
	return d.upgrade(ctx, Scenario{version: version}, "lab-"+d.run+"-first")
}

// empty makes an empty namespace for the app, with the token of /chaos.
func (d *Drill) empty(ctx context.Context) error {
	if err := d.Install.Empty(ctx, d.Namespace, d.Name); err != nil {
		return fmt.Errorf("empty namespace %s: %w", d.Namespace, err)
	}
	if err := d.Install.Namespace(ctx, d.Namespace); err != nil {
		return err
	}
	return d.Kube.SetSecret(ctx, d.Namespace, chaosSecret, "token", d.token)
}

// served waits until users get through to the first version.
func (d *Drill) served(ctx context.Context) error {
	due, cancel := context.WithTimeout(ctx, firstInstall)
	defer cancel()
	err := d.until(due, d.serves)
	if err == nil {
		err = d.until(due, d.reached)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the first version does not serve %s after it was installed: %w", firstInstall, err)
	}
	return nil
}

// scale gives what serves as many pods as the scenario wants; Flagger gives a canary the same number.
func (d *Drill) scale(ctx context.Context, s Scenario) error {
	want := int32(pods)
	if s.pods != 0 {
		want = s.pods
	}
	if err := d.Kube.Scale(ctx, d.Namespace, d.Name+"-primary", want); err != nil {
		return err
	}
	return d.Kube.Available(ctx, d.Namespace, d.Name+"-primary", firstInstall)
}

// until waits for a condition. While there is time, an error in looking is no more than a no.
func (d *Drill) until(ctx context.Context, condition func(context.Context) (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		yes, err := condition(ctx)
		if err == nil && yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// reached reports whether users get through: the ingress learns of a new host and its pods late, and until then it
// answers them itself. First one is sent, then some for a second: what fails here spends the error budget.
func (d *Drill) reached(ctx context.Context) (bool, error) {
	for _, rate := range []float64{1, d.Rate} {
		u, err := d.startUsersAt(ctx, rate, fmt.Sprintf("%d-%.0f", time.Now().UnixMilli(), rate), time.Second)
		if err != nil {
			return false, err
		}
		if l, err := u.final(ctx); err != nil || l.Requests == 0 || l.failed() > 0 {
			return false, err
		}
	}
	return true, nil
}

// serves reports whether nothing is under way and the primary is up: what a release starts from.
func (d *Drill) serves(ctx context.Context) (bool, error) {
	is, err := d.Kube.Phase(ctx, d.Namespace, d.Name)
	if err != nil {
		return false, err
	}
	weight, err := d.Kube.Weight(ctx, d.Namespace, d.Name)
	if err != nil || weight != 0 || is != "Initialized" && is != "Succeeded" && is != "Failed" {
		return false, err
	}
	primary, err := d.Kube.Release(ctx, d.Namespace, d.Name+"-primary")
	return primary.Ready, err
}

// upgrade is what a pipeline does: helm upgrade, without waiting for anything.
func (d *Drill) upgrade(ctx context.Context, s Scenario, deployID string) error {
	r := chart.Release{
		Name: d.Name, Namespace: d.Namespace, Chart: d.Chart, Values: d.Values,
		Sets: slices.Concat(d.Sets, []string{
			"image.repository=" + d.Repository, "image.tag=" + s.version, "deployId=" + deployID, "traceparent=" + pipelineOf(deployID).traceparent(),
			"commit=" + d.Commit, "commitTime=" + time.Now().Add(-coding).UTC().Format(time.RFC3339),
		}),
		JSON: s.values,
	}
	if s.plan != "" {
		r.JSON = append(r.JSON, "chaos.plan="+s.plan)
	}
	if s.tapped {
		r.Sets = append(r.Sets, "gatekeeper.url=http://receiver."+d.System+":8080")
	}
	if err := d.Install.Upgrade(ctx, r); err != nil {
		return fmt.Errorf("release %s: %w", s.version, err)
	}
	return nil
}
