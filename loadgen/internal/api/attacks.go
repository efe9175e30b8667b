// Package api starts, shows and stops attacks over HTTP, for people, programs and Flagger.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

const (
	keepEnded  = 100 // final states that stay readable
	maxRunning = 100 // attacks at one time; each costs memory however slow it is
)

// Config is what the operator allows. All fields but AllowedHosts and Proxy are
// needed; without allowed hosts every attack is refused.
type Config struct {
	AllowedHosts []string      // host names without port
	MaxRate      float64       // requests per second, of all running attacks together
	MaxDuration  time.Duration // of one attack
	Timeout      time.Duration // of one request
	Proxy        *url.URL      // for all requests; nil is none
}

// Request asks for one attack. Its name is its key: letters, digits, '.', '-'
// and '_'.
type Request struct {
	Name     string        `json:"name"`
	Targets  []fire.Target `json:"targets"`
	Rate     float64       `json:"rate"`     // per second
	Duration string        `json:"duration"` // "15m"
}

// State is an attack as it is shown. It is final once EndedAt is set; a stopped
// attack without it still waits for answers.
type State struct {
	Name      string     `json:"name"`
	Canary    string     `json:"canary"` // "namespace/name" when Flagger started it
	State     string     `json:"state"`  // running, done or stopped
	StartedAt time.Time  `json:"startedAt"`
	EndedAt   *time.Time `json:"endedAt"`
	tally.Summary
}

// attack is one entry of Attacks. The fields below the line are guarded by
// Attacks.mu.
type attack struct {
	name, canary string
	rate         float64
	started      time.Time
	cancel       context.CancelFunc
	done         chan struct{} // closed when ended is set

	tally   *tally.Tally // dropped at the end: its histogram is large
	stopped bool
	ended   *time.Time
	final   tally.Summary
}

// Attacks holds the running attacks and the last ended ones. The newest attack
// of a name is the one that the name stands for.
type Attacks struct {
	cfg     Config
	allowed hosts
	metrics *metrics
	log     *slog.Logger
	handler http.Handler
	firing  sync.WaitGroup

	mu      sync.Mutex
	list    []*attack // in the order of their start; guarded by mu
	closing bool      // guarded by mu; once true nothing starts
}

// New rejects a Config that lacks a limit. The registry is both written to and
// served; Run must be called for an orderly end.
func New(cfg Config, registry *prometheus.Registry, log *slog.Logger) (*Attacks, error) {
	allowed, err := newHosts(cfg.AllowedHosts)
	if err != nil {
		return nil, err
	}
	if cfg.MaxRate <= 0 || cfg.MaxDuration <= 0 || cfg.Timeout <= 0 {
		return nil, errors.New("limits: the highest rate, the longest duration and the timeout must be over 0")
	}
	a := &Attacks{cfg: cfg, allowed: allowed, log: log}
	a.metrics = newMetrics(registry, func() float64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		count, _ := a.load()
		return float64(count)
	})
	a.handler = a.routes(registry)
	return a, nil
}

// Run waits for ctx to end, stops every attack and returns when all their
// requests are counted, at the latest after one request timeout.
func (a *Attacks) Run(ctx context.Context) error {
	<-ctx.Done()
	a.mu.Lock()
	a.closing = true
	for _, atk := range a.list {
		atk.halt()
	}
	a.mu.Unlock()
	a.firing.Wait()
	return nil
}

// start begins the attack, or reports false and the state of the one that runs
// under its name already.
func (a *Attacks) start(req Request, canary string) (State, bool, error) {
	plan, err := a.plan(req)
	if err != nil {
		return State{}, false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.find(req.Name); old != nil && old.runs() {
		return old.state(), false, nil
	}
	if err := a.room(req.Rate); err != nil {
		return State{}, false, err
	}
	// The attack outlives the request that asked for it.
	ctx, cancel := context.WithCancel(context.Background())
	atk := &attack{
		name: req.Name, canary: canary, rate: req.Rate, started: time.Now().UTC(),
		cancel: cancel, done: make(chan struct{}), tally: tally.New(),
	}
	a.list = append(a.list, atk)
	a.metrics.expect(atk.name)
	sum := atk.tally
	a.firing.Go(func() {
		plan.Run(ctx, func(r fire.Result) {
			sum.Add(r.Code, r.Latency, r.Error)
			a.metrics.observe(atk.name, r)
		})
		a.end(atk)
	})
	a.log.Info("attack started", "attack", atk.name, "rate", req.Rate, "duration", req.Duration)
	return atk.state(), true, nil
}

// plan checks everything about req that does not depend on other attacks.
func (a *Attacks) plan(req Request) (fire.Plan, error) {
	if !validName(req.Name, true) {
		return fire.Plan{}, refuse(invalid, "name %q: 1 to 253 letters, digits, '.', '-' and '_'", req.Name)
	}
	duration, err := time.ParseDuration(req.Duration)
	if err != nil {
		return fire.Plan{}, refuse(invalid, "duration %q: write it like 15m or 90s", req.Duration)
	}
	constant, err := shape.NewConstant(req.Rate, duration)
	if err != nil {
		return fire.Plan{}, refuse(invalid, "%v", err)
	}
	plan, err := fire.NewPlan(req.Name, req.Targets, constant, a.cfg.Timeout)
	if err != nil {
		return fire.Plan{}, refuse(invalid, "%v", err)
	}
	for _, target := range req.Targets {
		if err := a.allowed.check(target.URL); err != nil {
			return fire.Plan{}, err
		}
	}
	if duration > a.cfg.MaxDuration {
		return fire.Plan{}, refuse(forbidden, "duration %s: at most %s is allowed", duration, a.cfg.MaxDuration)
	}
	return plan.Through(a.cfg.Proxy), nil
}

// room says whether one more attack of this rate fits; the caller holds mu.
func (a *Attacks) room(rate float64) error {
	if a.closing {
		return refuse(closing, "the load generator is shutting down: try again when it is back")
	}
	count, sum := a.load()
	if rate+sum > a.cfg.MaxRate {
		return refuse(forbidden, "rate %v: with the %v per second of running attacks it is over the allowed %v", rate, sum, a.cfg.MaxRate)
	}
	if count >= maxRunning {
		return refuse(forbidden, "%d attacks are running: stop one first", count)
	}
	return nil
}

// stop ends the firing of the newest attack of that name, if there is one, and
// does not wait for its last answers: its done channel tells when they are in.
func (a *Attacks) stop(name string) *attack {
	a.mu.Lock()
	defer a.mu.Unlock()
	atk := a.find(name)
	if atk != nil && atk.runs() {
		atk.halt()
		a.log.Info("attack stopped", "attack", name)
	}
	return atk
}

// end fixes the final state of atk and drops what is over the number kept.
func (a *Attacks) end(atk *attack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now().UTC()
	atk.final, atk.ended, atk.tally = atk.tally.Summary(), &now, nil
	atk.cancel()
	close(atk.done)
	a.log.Info("attack ended", "attack", atk.name, "state", atk.state().State,
		"requests", atk.final.Requests, "success", atk.final.Success)
	a.prune()
}

// prune forgets the one that ended first when too many are kept; the caller holds mu.
func (a *Attacks) prune() {
	ended := slices.DeleteFunc(slices.Clone(a.list), func(k *attack) bool { return k.ended == nil })
	if len(ended) <= keepEnded {
		return
	}
	old := slices.MinFunc(ended, func(x, y *attack) int { return x.ended.Compare(*y.ended) })
	a.list = slices.DeleteFunc(a.list, func(k *attack) bool { return k == old })
	if a.find(old.name) == nil {
		a.metrics.forget(old.name)
	}
}

// find returns the newest attack of that name, or nil; the caller holds mu.
func (a *Attacks) find(name string) *attack {
	for _, atk := range slices.Backward(a.list) {
		if atk.name == name {
			return atk
		}
	}
	return nil
}

// show returns the state of one attack.
func (a *Attacks) show(atk *attack) State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return atk.state()
}

// all returns the state of every attack that is kept, the newest first.
func (a *Attacks) all() []State {
	a.mu.Lock()
	defer a.mu.Unlock()
	states := make([]State, 0, len(a.list))
	for _, atk := range slices.Backward(a.list) {
		states = append(states, atk.state())
	}
	return states
}

// load counts the attacks that send requests and adds up their rates; the caller
// holds mu.
func (a *Attacks) load() (count int, rate float64) {
	for _, atk := range a.list {
		if atk.runs() {
			count, rate = count+1, rate+atk.rate
		}
	}
	return count, rate
}

// The methods of attack are for those who hold Attacks.mu.

func (k *attack) runs() bool { return k.ended == nil && !k.stopped }

func (k *attack) halt() {
	if k.runs() {
		k.stopped = true
		k.cancel()
	}
}

func (k *attack) state() State {
	s := State{Name: k.name, Canary: k.canary, State: "running", StartedAt: k.started, EndedAt: k.ended, Summary: k.final}
	if k.ended == nil {
		s.Summary = k.tally.Summary()
	}
	switch {
	case k.stopped:
		s.State = "stopped"
	case k.ended != nil:
		s.State = "done"
	}
	return s
}

// validName keeps names fit for a path, a label and a log line.
func validName(name string, dots bool) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		inside := i > 0 && i < len(name)-1 && (c == '-' || c == '_' || c == '.' && dots)
		if !letter && !inside {
			return false
		}
	}
	return true
}
