package drill

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// The Secret with the token of /chaos, named in lab/values/podinfo.yaml.
const chaosSecret = "lab-chaos"

// pods is how many pods each version has: with one, nothing would show whether counts of several are summed.
const pods = "2"

// firstInstall is how long a first version may take from `helm upgrade --install` until users get through to it.
const firstInstall = 90 * time.Second

// install empties the namespace and lets version be the first that serves: Flagger takes it over without an analysis.
func (d *Drill) install(ctx context.Context, version string) error {
	if err := stack.Empty(ctx, d.Access, d.Namespace, d.Name); err != nil {
		return fmt.Errorf("empty namespace %s: %w", d.Namespace, err)
	}
	if err := stack.Namespace(ctx, d.Access, d.Namespace); err != nil {
		return err
	}
	secret := d.Access.Kubectl("-n", d.Namespace, "create", "secret", "generic", chaosSecret, "--from-literal", "token="+d.token)
	if err := secret.Run(ctx); err != nil {
		return err
	}
	begin := time.Now()
	if err := d.upgrade(ctx, version, "lab-"+d.run+"-first", ""); err != nil {
		return err
	}
	due, cancel := context.WithDeadline(ctx, begin.Add(firstInstall))
	defer cancel()
	err := d.until(due, d.serves)
	if err == nil {
		err = d.Access.Kubectl("-n", d.Namespace, "scale", "deployment/"+d.Name+"-primary", "--replicas", pods).Run(due)
	}
	if err == nil {
		err = d.until(due, d.serves)
	}
	if err == nil {
		err = d.until(due, d.reached)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the first version does not serve %s after it was installed: %w", firstInstall, err)
	}
	d.Say("    %s serves after %.1fs", version, time.Since(begin).Seconds())
	return nil
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
// answers them itself. Some are sent for a second.
func (d *Drill) reached(ctx context.Context) (bool, error) {
	u, err := d.startUsers(ctx, strconv.FormatInt(time.Now().UnixMilli(), 10), time.Second)
	if err != nil {
		return false, err
	}
	l, err := u.final(ctx)
	return err == nil && l.Requests > 0 && l.failed() == 0, err
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
func (d *Drill) upgrade(ctx context.Context, version, deployID, plan string) error {
	args := []string{"upgrade", "--install", d.Name, d.Chart, "--namespace", d.Namespace}
	for _, file := range d.Values {
		args = append(args, "--values", file)
	}
	args = append(args, "--set-string", "image.repository="+d.Repository, "--set-string", "image.tag="+version, "--set-string", "deployId="+deployID)
	if plan != "" {
		args = append(args, "--set-json", "chaos.plan="+plan)
	}
	if err := d.Access.Helm(args...).Run(ctx); err != nil {
		return fmt.Errorf("release %s: %w", version, err)
	}
	return nil
}
