package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/detect"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// What a lane waits for, at most. Flagger alone, looking every minute five times, takes over six.
const (
	toFirstWeight = 5 * time.Minute
	toFind        = 9 * time.Minute
	lastWord      = 10 * time.Second       // for a verdict after the traffic is back
	closeLook     = 100 * time.Millisecond // between two looks while times are measured
)

// faults are the plans of the kinds of fault. A crash is set anew at each start of a process.
func faults() map[string]string {
	return map[string]string{
		detect.Half:  `{"errorRate":0.5,"status":500,"ttl":"30m"}`,
		detect.Few:   `{"errorRate":0.05,"status":500,"ttl":"30m"}`,
		detect.Crash: `{"crashAfter":"100ms","ttl":"1s"}`,
	}
}

// Lane is a Canary of its own, with users of its own, on which one judge is measured. It is not safe for concurrent use;
// other lanes may be used at the same time.
type Lane struct {
	d     *Drill
	judge detect.Judge
}

// NewLane returns a lane in the namespace of cfg. Nothing is installed yet.
func NewLane(cfg Config, judge detect.Judge) *Lane {
	cfg.Sets = append([]string{"ingress.host=" + cfg.Host}, cfg.Sets...)
	if judge.Policy != "" {
		cfg.Sets = append(cfg.Sets, "canary.policy="+judge.Policy)
	}
	return &Lane{d: New(cfg), judge: judge}
}

// Put installs the first version in an empty namespace and does not wait for it.
func (l *Lane) Put(ctx context.Context, version string) error { return l.d.put(ctx, version) }

// Ready waits until users get through to the first version, and leaves it to its judge.
func (l *Lane) Ready(ctx context.Context) error {
	if err := l.d.served(ctx); err != nil {
		return fmt.Errorf("%s: %w", l.d.Namespace, err)
	}
	if l.judge.Policy != "" {
		return nil
	}
	// Flagger alone, as its documentation shows it. A weight that stands twice is one it does not leave: the fault comes at
	// 10 % for every judge.
	analysis := map[string]any{
		"interval": l.judge.Interval, "threshold": l.judge.Threshold, "stepWeights": []int{10, 10, 100}, "webhooks": nil,
		"metrics": []any{map[string]any{"name": "request-success-rate", "interval": "1m", "thresholdRange": map[string]any{"min": 99}}},
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"analysis": analysis}})
	if err != nil {
		return fmt.Errorf("leave the Canary to Flagger: %w", err)
	}
	return l.d.Kube.PatchCanary(ctx, l.d.Namespace, l.d.Name, string(patch))
}

// Empty takes the lane away.
func (l *Lane) Empty(ctx context.Context) error {
	return l.d.Install.Empty(ctx, l.d.Namespace, l.d.Name)
}

// trial is one release on a lane.
type trial struct {
	*Lane
	kind, deployID string
	users          users

	mu       sync.Mutex // guards all below
	up, back time.Time  // weight came to 10, and from there to 0
	onset    time.Time  // of the fault
	failedAt time.Time  // of the verdict fail
	why      string     // its reason
}

// Detect lets all lanes release a version at the same time, and once each is at its first weight and the pause is over, sets
// a fault of the kind in all of them at the same moment. It returns what each lane's judge made of it; where a lane was in
// trouble that says so in place of a measurement. The error is that of ctx.
func Detect(ctx context.Context, lanes []*Lane, kind string, run int, pause time.Duration) ([]detect.Sample, error) {
	trials := make([]*trial, len(lanes))
	samples := make([]detect.Sample, len(lanes))
	for i, lane := range lanes {
		trials[i] = &trial{Lane: lane, kind: kind, deployID: fmt.Sprintf("lab-%s-%s-%d", lane.d.run, kind, run)}
		samples[i] = detect.Sample{Kind: kind, Judge: lane.judge.String(), Run: run}
	}
	each := func(do func(context.Context, *trial, *detect.Sample) error) {
		var doing sync.WaitGroup
		for i, t := range trials {
			if samples[i].Note != "" {
				continue
			}
			doing.Go(func() {
				if err := do(ctx, t, &samples[i]); err != nil {
					samples[i].Note = t.d.Namespace + ": " + err.Error()
				}
			})
		}
		doing.Wait()
	}
	each(func(ctx context.Context, t *trial, _ *detect.Sample) error { return t.release(ctx) })
	select {
	case <-ctx.Done():
	case <-time.After(pause):
		each(func(ctx context.Context, t *trial, s *detect.Sample) error { return t.judged(ctx, s) })
	}
	for _, t := range trials {
		if t.users.d != nil {
			_, _ = t.users.stop(ctx) // for a lane in trouble, where nobody asked for the counts
		}
	}
	return samples, ctx.Err()
}

// release sends users and a new version, and returns when a tenth of them gets it.
func (t *trial) release(ctx context.Context) error {
	due, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := t.d.until(due, t.d.serves); err != nil {
		return fmt.Errorf("wait until it can be released: %w", err)
	}
	var err error
	if t.users, err = t.d.startUsers(ctx, t.d.Namespace+"-"+t.deployID, toFirstWeight+toFind+2*time.Minute); err != nil {
		return err
	}
	if err := t.d.Kube.Deploy(ctx, t.d.Namespace, t.d.Name, t.deployID); err != nil {
		return err
	}
	due, cancel = context.WithTimeout(ctx, toFirstWeight)
	defer cancel()
	return t.look(due, func(ctx context.Context) (bool, error) {
		err := t.seeWeight(ctx)
		return !t.up.IsZero(), err
	})
}

// look looks closely until yes.
func (t *trial) look(ctx context.Context, yes func(context.Context) (bool, error)) error {
	tick := time.NewTicker(closeLook)
	defer tick.Stop()
	for {
		done, err := yes(ctx)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (t *trial) seeWeight(ctx context.Context) error {
	is, err := t.d.Kube.Weight(ctx, t.d.Namespace, t.d.Name)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case is > 0 && t.up.IsZero():
		t.up = time.Now()
	case is == 0 && !t.up.IsZero() && t.back.IsZero():
		t.back = time.Now()
	}
	return nil
}

// judged sets the fault and looks on until the traffic is back and the verdict known.
func (t *trial) judged(ctx context.Context, s *detect.Sample) error {
	if err := t.seeWeight(ctx); err != nil {
		return err
	}
	var id string
	if t.judge.Policy != "" {
		list, err := t.d.rollouts(ctx, t.deployID)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("the gatekeeper knows nothing of the release")
		}
		id = list[0].ID
	}
	early, err := t.users.now(ctx)
	if err != nil {
		return err
	}
	s.Before = early.failed()
	if !t.back.IsZero() {
		s.False = true
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, toFind)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	var fault sync.WaitGroup
	defer fault.Wait()
	defer stop()
	if err := t.fault(watching, &fault); err != nil {
		return err
	}
	var looking sync.WaitGroup
	looking.Go(func() {
		_ = t.look(ctx, func(ctx context.Context) (bool, error) { // what is not seen in time is missing from the sample
			err := t.seeWeight(ctx)
			t.mu.Lock()
			defer t.mu.Unlock()
			return !t.back.IsZero(), err
		})
	})
	if id != "" {
		looking.Go(func() {
			_ = t.look(ctx, func(ctx context.Context) (bool, error) {
				seen, err := t.seeVerdict(ctx, id)
				return seen || t.over(), err
			})
		})
	}
	looking.Wait()
	stop()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	users, err := t.users.stop(ctx)
	if err != nil {
		return err
	}
	s.Failed = users.failed() - s.Before
	s.Verdict, s.Weight0, s.Reason = between(t.onset, t.failedAt), between(t.onset, t.back), t.why
	return nil
}

// over reports whether the traffic has been back for so long that a verdict would not be what brought it back.
func (t *trial) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.back.IsZero() && time.Since(t.back) > lastWord
}

// fault sets the plan on every pod of the canary. Processes that are to crash are looked for again and again until ctx ends.
func (t *trial) fault(ctx context.Context, going *sync.WaitGroup) error {
	pods, err := t.d.canaries(ctx, t.deployID)
	if err != nil {
		return err
	}
	plan := faults()[t.kind]
	if t.onset, err = t.d.putAll(ctx, pods, plan); err != nil {
		return err
	}
	if t.kind != detect.Crash {
		return nil
	}
	going.Go(func() {
		done := map[string]bool{}
		for _, pod := range pods {
			done[pod.Process] = true
		}
		_ = t.look(ctx, func(ctx context.Context) (bool, error) { // it ends with ctx
			pods, err := t.d.canaries(ctx, t.deployID)
			for _, pod := range pods {
				if done[pod.Process] {
					continue
				}
				if _, err := t.d.putAll(ctx, []kube.Pod{pod}, plan); err == nil {
					done[pod.Process] = true
				}
			}
			return false, err
		})
	})
	return nil
}

func (t *trial) seeVerdict(ctx context.Context, id string) (bool, error) {
	var r rollout
	if err := t.d.call(ctx, http.MethodGet, "gatekeeper", "people", "/api/v1/rollouts/"+id, nil, &r, http.StatusOK); err != nil {
		return false, err
	}
	if r.Verdict.Outcome != "fail" {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failedAt = r.Verdict.At
	if len(r.Verdict.Reasons) > 0 {
		t.why = r.Verdict.Reasons[0].Kind
	}
	return true, nil
}
