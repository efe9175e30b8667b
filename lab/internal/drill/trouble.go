package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// both says that the users' failures are those of canary and primary together.
const both = "both"

// still is for how long a rollout is watched that must not move: longer than Flagger's next look at it.
const still = 15 * time.Second

// blind stops Prometheus while the canary is at its first weight, until the gatekeeper says that it can not see and has
// been seen to hold. The weight may have grown until then: the counts are old enough after a minute.
func blind(ctx context.Context, d *Drill, eyes *observer) (err error) {
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	if err := d.Kube.Scale(ctx, d.Monitoring, "prometheus", 0); err != nil {
		return err
	}
	eyes.record(time.Now(), monitor, "down")
	defer func() {
		// Also for a scenario that is broken off: those after it need Prometheus.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, d.Kube.Scale(ctx, d.Monitoring, "prometheus", 1))
		eyes.record(time.Now(), monitor, "up")
	}()
	// Not the event: before its first counts every rollout is blind.
	err = d.until(ctx, func(context.Context) (bool, error) { return eyes.view().rollout.blindAtIngress(), nil })
	if err != nil {
		return err
	}
	eyes.record(time.Now(), keeper, "blind")
	return eyes.holds(ctx, still)
}

// holds is an error unless the canary's weight stays what it is, above zero, for a time.
func (o *observer) holds(ctx context.Context, span time.Duration) error {
	before := o.view().weight
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(span):
	}
	if after := o.view().weight; before == 0 || after != before {
		return fmt.Errorf("the weight went from %d to %d %% within %s in which it must not move", before, after, span)
	}
	return nil
}

// blindWants is the way of a good version that is held in between. How far it gets before is a matter of time.
func blindWants() []timeline.Expectation {
	const s = time.Second
	down, hold, up := timeline.Seen(monitor, "down"), timeline.Seen(keeper, "blind"), timeline.Seen(monitor, "up")
	return []timeline.Expectation{
		onTime(0, 60*s, in("Progressing")),
		onTime(5*s, 60*s, at("10")),
		after(at("10"), 0, 10*s, down),
		after(down, 45*s, 90*s, hold),
		after(hold, still, 40*s, up),
		after(up, 0, 200*s, in("Succeeded")),
		onTime(60*s, 400*s, timeline.Exactly(weight, "10", "25", "50", "100", "0")),
		after(in("Succeeded"), 0, 15*s, timeline.Seen(told, promoted)),
		after(in("Succeeded"), 0, 45*s, timeline.Seen(entry, "written")),
	}
}

// sharedFault is for canary and primary alike; sharedTTL is its length.
const (
	sharedTTL   = 20 * time.Second
	sharedFault = `{"errorRate":0.3,"status":500,"ttl":%q}`
	sharedAfter = 3 * time.Second // the first weight: the gatekeeper counts the primary from there on, and looks every second
	sharedWatch = time.Minute     // in which the canary must stay, once it is over
)

// breakBoth lets canary and primary fail alike for a time. The objective holds the canary afterwards, for its errors count
// whoever's they are; so a person ends it.
func breakBoth(ctx context.Context, d *Drill, eyes *observer) error {
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	if err := eyes.holds(ctx, sharedAfter); err != nil {
		return err
	}
	pods, err := d.canaries(ctx, eyes.deployID)
	if err != nil {
		return err
	}
	primaries, err := d.Kube.Pods(ctx, d.Namespace, d.Name+"-primary")
	if err != nil {
		return err
	}
	onset, err := d.putAll(ctx, append(pods, primaries...), fmt.Sprintf(sharedFault, sharedTTL))
	if err != nil {
		return err
	}
	eyes.mu.Lock()
	eyes.faulty(onset)
	eyes.mu.Unlock()
	if err := eyes.await(ctx, timeline.Seen(reason, "shared-incident")); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(onset.Add(sharedTTL))):
	}
	eyes.record(time.Now(), chaos, "over")
	if err := eyes.holds(ctx, sharedWatch); err != nil {
		return err
	}
	if err := d.reject(ctx, eyes.view().rollout.ID); err != nil {
		return err
	}
	eyes.record(time.Now(), keeper, "rejected")
	return nil
}

// putAll sets a plan on all of the pods at once and returns when the first of them answered.
func (d *Drill) putAll(ctx context.Context, pods []kube.Pod, plan string) (time.Time, error) {
	if len(pods) == 0 {
		return time.Time{}, errors.New("set fault: there is no pod")
	}
	var setting sync.WaitGroup
	var mu sync.Mutex
	var first time.Time
	var errs []error
	for _, pod := range pods {
		setting.Go(func() {
			var answered time.Time
			err := d.Kube.Forward(ctx, d.Namespace, pod.Name, appPort, func(base string) error {
				_, err := callChaos(ctx, http.MethodPut, base, d.token, plan)
				answered = time.Now()
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("set fault: %w", err))
			} else if first.IsZero() || answered.Before(first) {
				first = answered
			}
		})
	}
	setting.Wait()
	return first, errors.Join(errs...)
}

// reject tells the gatekeeper, as a person would, that a rollout is to end.
func (d *Drill) reject(ctx context.Context, id string) error {
	pods, err := d.Kube.Pods(ctx, d.System, "gatekeeper")
	if err != nil {
		return err
	}
	if len(pods) != 1 {
		return fmt.Errorf("reject rollout %s: there are %d gatekeepers, want 1", id, len(pods))
	}
	words, err := json.Marshal(map[string]string{"by": "lab", "why": "the scenario is over"})
	if err != nil {
		return fmt.Errorf("reject rollout %s: %w", id, err)
	}
	// The proxy would take the token for its own.
	err = d.Kube.Forward(ctx, d.System, pods[0].Name, peoplePort, func(base string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v1/rollouts/"+id+"/reject", strings.NewReader(string(words)))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+d.Operator)
		_, err = send(request)
		return err
	})
	if err != nil {
		return fmt.Errorf("reject rollout %s: %w", id, err)
	}
	return nil
}

// sharedWants is the way of a version that is held while both fail and after it, and then rejected.
func sharedWants() []timeline.Expectation {
	const s = time.Second
	on, over, no := timeline.Seen(fault, "on"), timeline.Seen(chaos, "over"), timeline.Seen(keeper, "rejected")
	return []timeline.Expectation{
		onTime(0, 60*s, in("Progressing")),
		onTime(5*s, 60*s, at("10")),
		after(at("10"), 0, 15*s, on),
		after(on, 0, 20*s, timeline.Seen(reason, "shared-incident")),
		after(on, sharedTTL, 30*s, over),
		after(over, sharedWatch, 75*s, no),
		after(no, 0, 5*s, timeline.Seen(verdict, "fail")),
		after(no, 0, 20*s, at("0")),
		onTime(0, 240*s, timeline.Exactly(weight, "10", "0")),
		after(at("0"), 0, 15*s, in("Failed")),
		after(in("Failed"), 0, 15*s, timeline.Seen(told, rolledBack)),
		after(in("Failed"), 0, 45*s, timeline.Seen(entry, "written")),
	}
}

// death ends the app's process, once: a restarted one knows no plan.
const death = `{"crashAfter":"100ms","ttl":"1s"}`

// diesWith is what may be counted by one side and not by the other when the process dies: at the lab's rate a pod of two
// answers up to 6.25 requests a second at 25 %, and each side looks at least every second; with as much again for a look
// that was late.
const diesWith = 13

// dieOnce lets the process in one of the canary's pods die, so that the container is started anew and its counters with it.
func dieOnce(ctx context.Context, d *Drill, eyes *observer) error {
	if err := eyes.await(ctx, at("25")); err != nil {
		return err
	}
	pods, err := d.canaries(ctx, eyes.deployID)
	if err != nil {
		return err
	}
	at, err := d.putAll(ctx, pods[:min(len(pods), 1)], death)
	if err != nil {
		return err
	}
	eyes.record(at, app, "died")
	// Only a new process in the same pod is what is to be proved.
	due, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = d.until(due, func(ctx context.Context) (bool, error) {
		now, err := d.canaries(ctx, eyes.deployID)
		for _, pod := range now {
			if pod.Name == pods[0].Name && pod.Process != pods[0].Process && pod.Ready {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("the process that died in pod %s was not started anew: %w", pods[0].Name, err)
	}
	return nil
}
