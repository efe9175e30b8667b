// Package drill releases versions on a cluster, breaks some of them, and compares what must happen with what does.
package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// patience ends a scenario whose windows never open. It is longer than any scenario should take.
const patience = 10 * time.Minute

// ErrMissed says that something that had to be seen was not, or not in time.
var ErrMissed = errors.New("missed: the lines above say what")

// Installer is the drill's consumer contract with whoever installs charts and clears namespaces. Upgrade does not wait
// for what it installs; Empty leaves no such namespace.
type Installer interface {
	Upgrade(ctx context.Context, r chart.Release) error
	Empty(ctx context.Context, namespace, name string) error
	Namespace(ctx context.Context, name string) error
	// Rules starts Prometheus anew, with the accelerated rules or with the real ones, and with no memory.
	Rules(ctx context.Context, accelerated bool) error
}

// Config is what a Drill works on; all fields but Values, Sets and Users are needed.
type Config struct {
	Kube    *kube.Client
	Install Installer

	Namespace  string   // made empty before the first scenario
	Name       string   // of the Helm release, the Canary and all that belongs to it
	System     string   // namespace of gatekeeper, loadgen and receiver
	Chart      string   // of the app
	Values     []string // files for it
	Sets       []string // key=value for it, taken as text
	Repository string   // image of the app, without tag
	Commit     string   // that is released
	Traces     bool     // traces come to the receiver, and are compared with what happened

	Monitoring string // namespace of Prometheus
	Operator   string // token of who may reject
	Gatekeeper string // its program, for the commands of pipelines

	Target string  // URL of the ingress as loadgen sees it
	Host   string  // the app's, in the ingress
	Rate   float64 // requests a second
	Users  string  // load generator that plays them

	Say func(format string, args ...any) // one line to whoever watches
}

// Drill runs scenarios one after the other; it is not safe for concurrent use.
type Drill struct {
	Config
	run     string   // makes deploy ids and attack names of this run unlike those of others
	token   string   // of /chaos
	entries []string // rollouts of this run that must stay in the report
	heard   int      // number of the last hook call before the scenario
	panels  *panels  // nil: nobody looks at dashboards and rules
}

// New returns a Drill for cfg.
func New(cfg Config) *Drill {
	now := time.Now().UTC()
	return &Drill{Config: cfg, run: now.Format("0102-150405"), token: randomToken()}
}

// Choose returns the scenarios with these numbers in their order, all for none.
func Choose(numbers []int) ([]Scenario, error) {
	all := Scenarios()
	if len(numbers) == 0 {
		return all, nil
	}
	numbers = slices.Compact(slices.Sorted(slices.Values(numbers)))
	var chosen []Scenario
	for _, s := range all {
		if slices.Contains(numbers, s.Number) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) != len(numbers) {
		return nil, fmt.Errorf("scenarios are numbered 1 to %d, not %v", len(all), numbers)
	}
	return chosen, nil
}

// Watch makes Prove look at dashboards and rules too.
func (d *Drill) Watch(s Sights) (err error) {
	d.panels, err = d.newPanels(s)
	return err
}

// Prove runs the scenarios. One that misses does not stop those after it: each starts from a version that serves, and
// where none does, one is installed anew.
func (d *Drill) Prove(ctx context.Context, scenarios []Scenario) Outcome {
	var o Outcome
	looked := false
	for i, s := range scenarios {
		d.Say("  %d %s", s.Number, s.Name)
		printed := 0
		result := d.attempt(ctx, s, i == 0, func(v view) {
			for _, e := range v.events[printed:] {
				d.Say("    %6.1fs %s %s", e.At.Sub(v.start).Seconds(), e.Subject, e.Value)
			}
			printed = len(v.events)
		})
		d.Say("%s", result)
		o.add(result)
		looked = looked || s.looks != ""
		if ctx.Err() != nil {
			return o
		}
	}
	if d.panels != nil && looked {
		err := d.lookBack(ctx)
		m := d.panels.tally()
		if err != nil {
			m.Misses = append(m.Misses, err.Error())
		}
		d.Say("%s", m)
		o.Monitoring = &m
	}
	return o
}

// attempt is one scenario from its start to its result. Live is called again and again with what is known so far.
func (d *Drill) attempt(ctx context.Context, s Scenario, fresh bool, live func(view)) Result {
	begin := time.Now()
	result := Result{Number: s.Number, Name: s.Name, Misses: []string{}}
	err := d.play(ctx, s, fresh, live, &result)
	if err != nil {
		result.Misses = append(result.Misses, err.Error())
	}
	result.OK = len(result.Misses) == 0
	result.Seconds = seconds(time.Since(begin))
	return result
}

// play fills result; an error means that the scenario could not be played to its end.
func (d *Drill) play(ctx context.Context, s Scenario, fresh bool, live func(view), result *Result) error {
	if !fresh {
		// An earlier scenario may have left nothing that serves, or nothing at all.
		serves, err := d.serves(ctx)
		fresh = err != nil || !serves
	}
	if fresh {
		if err := d.install(ctx, s.base); err != nil {
			return err
		}
	}
	if err := d.scale(ctx, s); err != nil {
		return err
	}
	if s.instead != nil {
		return s.instead(ctx, d, result)
	}
	stable, err := d.Kube.Release(ctx, d.Namespace, d.Name+"-primary")
	if err != nil {
		return err
	}
	if s.tapped {
		before, err := d.calls(ctx, 0)
		if err != nil {
			return err
		}
		if len(before) > 0 {
			d.heard = before[len(before)-1].Number
		}
	}
	if d.panels != nil && s.looks == panel.UnderWay {
		if err := d.look(ctx, panel.Before, func() bool { return true }); err != nil {
			return err
		}
	}
	users, err := d.startUsers(ctx, strconv.Itoa(s.Number), patience+time.Minute)
	if err != nil {
		return err
	}
	defer func() { _, _ = users.stop(ctx) }() // for a scenario that is broken off, where nobody asks for the counts
	pipe, err := d.startPipeline(ctx, d.deployID(s))
	if err != nil {
		return err
	}
	defer pipe.stop()
	seen, err := d.watch(ctx, s, users, live)
	if err != nil {
		return err
	}
	load, err := users.stop(ctx)
	if err != nil {
		return err
	}
	result.take(seen, load)
	misses, err := d.facts(ctx, s, seen, load, stable, result)
	result.Misses = append(result.Misses, misses...)
	waited, wrong := pipe.end(s.result)
	result.Waited = &waited
	if wrong != "" {
		result.Misses = append(result.Misses, wrong)
	}
	if err == nil && d.panels != nil && s.looks == panel.Broken {
		err = d.lookAfter(ctx)
	}
	return err
}

// watch makes the release, lets happen to it what the scenario wants, and looks on until every window has closed.
func (d *Drill) watch(ctx context.Context, s Scenario, load users, live func(view)) (view, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	eyes := d.observe(ctx, d.deployID(s))
	defer eyes.wait()
	var acting sync.WaitGroup
	defer acting.Wait()
	defer stop()
	if err := d.upgrade(ctx, s, d.deployID(s)); err != nil {
		return view{}, err
	}
	acted := make(chan error, 1)
	if s.act != nil {
		acting.Go(func() { acted <- s.act(ctx, d, eyes) })
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	check := time.NewTicker(5 * time.Second)
	defer check.Stop()
	for {
		v := eyes.view()
		live(v)
		if _, done := timeline.Judge(s.wants, v.events, v.start, time.Now()); done {
			return v, nil
		}
		select {
		case err := <-acted:
			if err != nil {
				return v, err
			}
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return v, ctx.Err()
			}
			open := timeline.Open(s.wants, v.events, v.start, time.Now())
			return v, fmt.Errorf("gave up after %s: %s", patience, strings.Join(open, "; "))
		case <-check.C:
			if err := load.lost(ctx); err != nil {
				return v, err
			}
		case <-tick.C:
		}
	}
}

func (d *Drill) deployID(s Scenario) string { return fmt.Sprintf("lab-%s-%d", d.run, s.Number) }
