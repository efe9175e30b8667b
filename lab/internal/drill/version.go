package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// versionPods is how many pods each version has where a fault is to reach all of one.
const versionPods = 3

// versionFault is a fault of every request, for all pods of a version, that is over before the gatekeeper has counted
// enough to bring the release back.
const (
	versionTTL   = 4 * time.Second
	versionFault = `{"errorRate":1,"status":500,"ttl":%q,"scope":"version"%s}`
)

// breakVersion sets a fault for the whole version twice. First through the canary's own Service, where any pod of it may
// answer; then through the Service that users have, behind which only primaries are, by the canary's revision. Each time
// all canary pods must have it, no primary, and all must be rid of it when its time is over.
func breakVersion(ctx context.Context, d *Drill, eyes *observer) error {
	if err := eyes.await(ctx, at("10")); err != nil {
		return err
	}
	canaries, primaries, err := d.bothVersions(ctx, eyes.deployID)
	if err != nil {
		return err
	}
	revision := fmt.Sprintf(`,"revision":%q`, canaries[0].Revision)
	for i, way := range []struct{ service, more string }{{d.Name + "-canary", ""}, {d.Name, revision}} {
		begin := time.Now()
		if err := d.putThroughService(ctx, i, way.service, fmt.Sprintf(versionFault, versionTTL, way.more)); err != nil {
			return err
		}
		eyes.mu.Lock()
		eyes.faulty(begin)
		eyes.mu.Unlock()
		if err := d.allFaulty(ctx, canaries, true); err != nil {
			return fmt.Errorf("after PUT /chaos to service %s: %w", way.service, err)
		}
		if err := d.allFaulty(ctx, primaries, false); err != nil {
			return fmt.Errorf("after PUT /chaos to service %s, on the primary: %w", way.service, err)
		}
		eyes.record(time.Now(), chaos, "on")
		due, cancel := context.WithDeadline(ctx, begin.Add(versionTTL+4*time.Second))
		err := d.until(due, func(ctx context.Context) (bool, error) {
			err := d.allFaulty(ctx, canaries, false)
			return err == nil, err
		})
		cancel()
		if err != nil {
			return fmt.Errorf("the fault is still there %s after it was set for %s: %w", time.Since(begin).Round(time.Second), versionTTL, err)
		}
		eyes.record(time.Now(), chaos, "over")
	}
	return eyes.eachFailed()
}

// bothVersions are the pods of the canary with that deploy id and of the primary.
func (d *Drill) bothVersions(ctx context.Context, deployID string) (canaries, primaries []kube.Pod, err error) {
	if canaries, err = d.canaries(ctx, deployID); err != nil {
		return nil, nil, err
	}
	if primaries, err = d.Kube.Pods(ctx, d.Namespace, d.Name+"-primary"); err != nil {
		return nil, nil, err
	}
	if len(canaries) != versionPods || len(primaries) != versionPods {
		return nil, nil, fmt.Errorf("there are %d canary and %d primary pods, want %d of both", len(canaries), len(primaries), versionPods)
	}
	return canaries, primaries, nil
}

// putThroughService sets a plan as somebody in the cluster would. The load generator is who can reach a Service there,
// and who keeps what was answered.
func (d *Drill) putThroughService(ctx context.Context, number int, service, plan string) error {
	once, err := d.attack(ctx, fmt.Sprintf("chaos-%s-%d", d.run, number), 1, time.Second, target{
		Method: http.MethodPut, URL: fmt.Sprintf("http://%s.%s/chaos", service, d.Namespace), Body: plan,
		Header: http.Header{"Authorization": {"Bearer " + d.token}, "Content-Type": {"application/json"}},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	answer, err := once.final(ctx)
	if err == nil && (answer.Requests != 1 || answer.Codes["200"] != 1) {
		err = fmt.Errorf("answered %v, want one 200", answer.Codes)
	}
	if err != nil {
		return fmt.Errorf("PUT /chaos to service %s: %w", service, err)
	}
	return nil
}

// allFaulty is an error unless every one of the pods says that it has a fault, or that it has none.
func (d *Drill) allFaulty(ctx context.Context, pods []kube.Pod, want bool) error {
	var asking sync.WaitGroup
	wrong := make([]error, len(pods))
	for i, pod := range pods {
		asking.Go(func() {
			var state struct {
				Active bool `json:"active"`
			}
			err := d.Kube.Forward(ctx, d.Namespace, pod.Name, appPort, func(base string) error {
				text, err := callChaos(ctx, http.MethodGet, base, d.token, "")
				if err != nil {
					return err
				}
				return json.Unmarshal(text, &state)
			})
			if err == nil && state.Active != want {
				err = fmt.Errorf("pod %s: fault %t, want %t", pod.Name, state.Active, want)
			}
			wrong[i] = err
		})
	}
	asking.Wait()
	return errors.Join(wrong...)
}

// eachFailed is an error unless every canary pod gave bad answers and no primary pod did, by their own counters.
func (o *observer) eachFailed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	failing := 0
	for _, c := range o.canary.Each() {
		if c.Bad > 0 {
			failing++
		}
	}
	if bad := o.primary.Sum().Bad; failing != versionPods || bad != 0 {
		return fmt.Errorf("%d canary pods gave bad answers, want %d; the primary gave %d, want none", failing, versionPods, bad)
	}
	return nil
}
