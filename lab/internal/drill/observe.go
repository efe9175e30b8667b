package drill

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// What is looked at, as subjects of events.
const (
	phase   = "phase"      // of the Canary, from the first change on
	weight  = "weight"     // of the canary in the ingress, in percent; 0 at the start is no event
	fault   = "fault"      // on: from here on the canary is bad
	verdict = "verdict"    // of the gatekeeper, at the time that it says
	told    = "told"       // what a notification told, at the time the receiver got it
	entry   = "entry"      // written: the gatekeeper says that the report has it
	keeper  = "gatekeeper" // killed; blind, without the ingress's counts; rejected, when a person said no to it
	reason  = "reason"     // a kind of reason that the gatekeeper's verdict has from here on
	monitor = "prometheus" // down, up
	app     = "app"        // died: the process in one of the canary's pods
	chaos   = "chaos"      // on: all pods of the canary and no other have a fault; over: none has
)

const (
	every   = 500 * time.Millisecond // between two looks
	oneCall = 3 * time.Second        // longest wait for one look
	appPort = 8080

	peoplePort = 8081 // of the gatekeeper
)

// view is all that is known of one release at one moment. It shares nothing with the observer.
type view struct {
	start   time.Time
	events  []timeline.Event // in the order they were noticed
	weight  int
	phase   string
	canary  count.Counts               // from the pods' own counters, since they started
	primary count.Counts               // of the primary's pods since the observer started
	rollout rollout                    // as the gatekeeper tells it; no ID before it knows it
	tellers map[string]map[string]bool // keys of the notifications, by event
	trouble map[string]string          // what the last look at each thing failed with
}

// observer looks at a release from all sides until its context ends.
type observer struct {
	d        *Drill
	deployID string
	loops    sync.WaitGroup

	mu      sync.Mutex // guards all below
	now     view
	canary  count.Pods
	primary count.Pods
	before  map[string]count.Counts // of primary processes, when first seen
}

// observe starts to look. What it sees is for the release with that deploy id only.
func (d *Drill) observe(ctx context.Context, deployID string) *observer {
	o := &observer{d: d, deployID: deployID, before: map[string]count.Counts{}}
	o.now = view{start: time.Now(), tellers: map[string]map[string]bool{}, trouble: map[string]string{}}
	initial, err := d.Kube.Phase(ctx, d.Namespace, d.Name)
	if err == nil {
		o.now.phase = initial
	}
	o.loop(ctx, phase, o.seePhase)
	o.loop(ctx, weight, o.seeWeight)
	o.loop(ctx, "canary pods", func(ctx context.Context) error { return o.seePods(ctx, d.Name) })
	o.loop(ctx, "primary pods", func(ctx context.Context) error { return o.seePods(ctx, d.Name+"-primary") })
	o.loop(ctx, "gatekeeper", o.seeRollout)
	o.loop(ctx, "receiver", o.seeMessages)
	return o
}

// wait returns when nothing looks any more, after the context has ended.
func (o *observer) wait() { o.loops.Wait() }

// loop looks at one thing again and again. A look that fails is tried again: the gatekeeper may be dead on purpose.
func (o *observer) loop(ctx context.Context, name string, look func(context.Context) error) {
	o.loops.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			call, cancel := context.WithTimeout(ctx, oneCall)
			err := look(call)
			cancel()
			o.mu.Lock()
			delete(o.now.trouble, name)
			if err != nil && ctx.Err() == nil {
				o.now.trouble[name] = err.Error()
			}
			o.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// view is what is known now.
func (o *observer) view() view {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.now
	v.events = slices.Clone(v.events)
	v.canary, v.primary = o.canary.Sum(), o.primary.Sum()
	v.tellers, v.trouble = map[string]map[string]bool{}, map[string]string{}
	for event, keys := range o.now.tellers {
		v.tellers[event] = map[string]bool{}
		for key := range keys {
			v.tellers[event][key] = true
		}
	}
	for name, text := range o.now.trouble {
		v.trouble[name] = text
	}
	return v
}

// await returns when s is seen, or with the context's error.
func (o *observer) await(ctx context.Context, s timeline.Sight) error {
	tick := time.NewTicker(every / 5)
	defer tick.Stop()
	for {
		if _, ok := s.In(o.view().events); ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// record adds an event.
func (o *observer) record(at time.Time, subject, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(at, subject, value)
}

func (o *observer) add(at time.Time, subject, value string) {
	o.now.events = append(o.now.events, timeline.Event{At: at, Subject: subject, Value: value})
}

func (o *observer) seePhase(ctx context.Context) error {
	is, err := o.d.Kube.Phase(ctx, o.d.Namespace, o.d.Name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if is != o.now.phase {
		o.now.phase = is
		o.add(time.Now(), phase, is)
	}
	return nil
}

func (o *observer) seeWeight(ctx context.Context) error {
	is, err := o.d.Kube.Weight(ctx, o.d.Namespace, o.d.Name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if is != o.now.weight {
		o.now.weight = is
		o.add(time.Now(), weight, strconv.Itoa(is))
	}
	return nil
}

// seePods reads the counters of one Deployment's pods, also of those that are shutting down, which still answer.
func (o *observer) seePods(ctx context.Context, deployment string) error {
	pods, err := o.d.Kube.Pods(ctx, o.d.Namespace, deployment)
	if err != nil {
		return err
	}
	var reading sync.WaitGroup
	for _, pod := range pods {
		isCanary := deployment == o.d.Name
		if isCanary && pod.DeployID != o.deployID {
			continue // still there from the release before
		}
		reading.Go(func() {
			text, err := o.d.Kube.Metrics(ctx, o.d.Namespace, pod.Name, appPort)
			if err != nil {
				return // not listening yet, or gone since the list: its last counts stand
			}
			if c, err := count.Parse(bytes.NewReader(text)); err == nil {
				o.counted(pod, c, isCanary)
			}
		})
	}
	reading.Wait()
	return nil
}

func (o *observer) counted(pod kube.Pod, c count.Counts, isCanary bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !isCanary {
		before, known := o.before[pod.Process]
		if !known {
			o.before[pod.Process], before = c, c
		}
		o.primary.Put(pod.Process, count.Counts{Good: c.Good - before.Good, Bad: c.Bad - before.Bad})
		return
	}
	o.canary.Put(pod.Process, c)
	if c.Bad > 0 {
		o.faulty(time.Now())
	}
}

// faulty takes in that the canary is bad from at on, unless it is known already.
func (o *observer) faulty(at time.Time) {
	if _, known := timeline.Seen(fault, "on").In(o.now.events); !known {
		o.add(at, fault, "on")
	}
}

func (o *observer) seeRollout(ctx context.Context) error {
	list, err := o.d.rollouts(ctx, o.deployID)
	if err != nil || len(list) == 0 {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r := list[0]
	if r.Verdict.Outcome != o.now.rollout.Verdict.Outcome {
		o.add(r.Verdict.At, verdict, r.Verdict.Outcome)
	}
	for _, why := range r.Verdict.Reasons {
		if !o.now.rollout.because(why.Kind) {
			o.add(time.Now(), reason, why.Kind)
		}
	}
	if r.Reported && !o.now.rollout.Reported {
		o.add(time.Now(), entry, "written")
	}
	o.now.rollout = r
	return nil
}

func (o *observer) seeMessages(ctx context.Context) error {
	messages, err := o.d.messages(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range messages {
		if m.Body.Data.Revision.DeployID != o.deployID {
			continue
		}
		keys := o.now.tellers[m.Body.Data.Event]
		if keys == nil {
			keys = map[string]bool{}
			o.now.tellers[m.Body.Data.Event] = keys
			o.add(m.At, told, m.Body.Data.Event)
		}
		keys[m.Key] = true
	}
	return nil
}
