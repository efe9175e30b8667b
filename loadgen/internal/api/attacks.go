// Package api starts, shows and stops attacks over HTTP, for people, programs and Flagger.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

// keepEnded is how many final states stay readable.
const keepEnded = 100

// Seen is a consumer contract: how many samples others have sent since an attack
// began, elapsed ago, by this query. It is asked from several goroutines.
type Seen func(ctx context.Context, query string, elapsed time.Duration) (uint64, error)

// Config is what the operator allows. The limits are needed; without allowed hosts
// every attack is refused.
type Config struct {
	AllowedHosts []string             // host names without port
	MaxRate      float64              // requests per second, of all running attacks together
	MaxDuration  time.Duration        // of one attack
	MaxInFlight  int                  // requests under way at a time, of all running attacks together
	MaxAttacks   int                  // running at a time; each costs memory however slow it is
	Timeout      time.Duration        // of one request
	Proxy        *url.URL             // for all requests; nil is none
	Seen         Seen                 // nil: a seenQuery is refused
	Tracing      trace.TracerProvider // nil: requests have no spans
}

// State is an attack as it is shown. It is final once EndedAt is set; a stopped
// attack without it still waits for answers.
type State struct {
	Name      string     `json:"name"`
	Canary    string     `json:"canary"` // "namespace/name" when Flagger started it
	Shape     string     `json:"shape"`
	State     string     `json:"state"` // running, done or stopped
	StartedAt time.Time  `json:"startedAt"`
	EndedAt   *time.Time `json:"endedAt"`
	RateNow   float64    `json:"rateNow"`             // per second, as the shape wants it; 0 when it does not run
	Due       uint64     `json:"due"`                 // requests that should have been sent until now
	Sent      uint64     `json:"sent"`                // of those, the ones that were; all are answered or unfinished at the end
	Seen      *uint64    `json:"seen,omitempty"`      // samples of others, for a top-up that asks
	SeenError string     `json:"seenError,omitempty"` // why seen is older than it should be
	tally.Summary
}

// attack is one entry of Attacks. The fields below the line are guarded by
// Attacks.mu.
type attack struct {
	name, canary, shape string
	rate                float64 // the highest
	inFlight            int     // at most
	started             time.Time
	cancel              context.CancelFunc
	done                chan struct{} // closed when ended is set

	// These three are dropped at the end: targets and histogram are large.
	request Request
	firing  *fire.Attack
	tally   *tally.Tally

	stopped bool
	ended   *time.Time
	final   tally.Summary
	last    fire.Progress
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
	if cfg.MaxRate <= 0 || cfg.MaxDuration <= 0 || cfg.Timeout <= 0 || cfg.MaxInFlight <= 0 || cfg.MaxAttacks <= 0 {
		return nil, errors.New("limits: rate, duration, requests in flight, attacks and the timeout must be over 0")
	}
	a := &Attacks{cfg: cfg, allowed: allowed, log: log}
	locked := func(number func() float64) func() float64 {
		return func() float64 {
			a.mu.Lock()
			defer a.mu.Unlock()
			return number()
		}
	}
	a.metrics = newMetrics(registry, locked(func() float64 { return float64(a.load(nil).attacks) }), locked(a.rateNow))
	a.handler = a.routes(registry)
	return a, nil
}

// Run waits for ctx to end, stops every attack and returns when all their
// requests are counted or cut off, well within a second.
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
// under its name already with the same request. With another request it depends
// on who asks: Flagger (canary is set) means the next rollout, so the old attack
// stops; for anybody else it is a conflict.
func (a *Attacks) start(req Request, canary string, parent trace.SpanContext) (State, bool, error) {
	w, err := a.plan(req, parent)
	if err != nil {
		return State{}, false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.find(req.Name)
	if old != nil && old.runs() {
		different := differs(old.request, req)
		if len(different) == 0 {
			return old.state(), false, nil
		}
		if canary == "" {
			return State{}, false, refuse(conflict, "attack %s runs with another %s: stop it first", req.Name, strings.Join(different, ", "))
		}
	}
	if err := a.room(w, old); err != nil {
		return State{}, false, err
	}
	if old != nil && old.runs() {
		old.halt()
		a.log.Info("attack replaced", "attack", old.name)
	}
	// The attack outlives the request that asked for it.
	ctx, cancel := context.WithCancel(context.Background())
	atk := &attack{
		name: req.Name, canary: canary, shape: req.kind(), rate: w.rate, inFlight: w.inFlight, started: time.Now().UTC(),
		cancel: cancel, done: make(chan struct{}), request: req, firing: w.plan.Attack(), tally: tally.New(),
	}
	a.list = append(a.list, atk)
	sum, firing, count := atk.tally, atk.firing, a.metrics.observer(atk.name)
	a.firing.Go(func() {
		firing.Run(ctx, func(r fire.Result) {
			if r.Unfinished {
				sum.AddUnfinished()
			} else {
				sum.Add(r.Code, r.Latency, r.Error)
			}
			count(r)
		})
		a.end(atk)
	})
	a.log.Info("attack started", "attack", atk.name, "shape", atk.shape, "highestRate", atk.rate)
	return atk.state(), true, nil
}

// room says whether one more attack fits, in the place of old if that runs; the
// caller holds mu.
func (a *Attacks) room(w wanted, old *attack) error {
	if a.closing {
		return refuse(conflict, "the load generator is shutting down: try again when it is back")
	}
	others := a.load(old)
	switch {
	case w.rate+others.rate > a.cfg.MaxRate:
		return refuse(forbidden, "rate %v: with the %v per second of running attacks it is over the allowed %v", w.rate, others.rate, a.cfg.MaxRate)
	case w.inFlight+others.inFlight > a.cfg.MaxInFlight:
		return refuse(forbidden, "in flight: this attack may need %d requests under way and those that run %d, together over the allowed %d",
			w.inFlight, others.inFlight, a.cfg.MaxInFlight)
	case others.attacks >= a.cfg.MaxAttacks:
		return refuse(forbidden, "%d attacks are running: stop one first", others.attacks)
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
	atk.final, atk.last, atk.ended = atk.tally.Summary(), atk.firing.Progress(), &now
	atk.tally, atk.firing, atk.request = nil, nil, Request{}
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

// used is what running attacks take of the operator's limits.
type used struct {
	attacks, inFlight int
	rate              float64
}

// load adds up the attacks that send requests, but one; the caller holds mu.
func (a *Attacks) load(but *attack) (u used) {
	for _, atk := range a.list {
		if atk != but && atk.runs() {
			u.attacks, u.inFlight, u.rate = u.attacks+1, u.inFlight+atk.inFlight, u.rate+atk.rate
		}
	}
	return u
}

// rateNow adds up what the shapes want now; the caller holds mu.
func (a *Attacks) rateNow() (rate float64) {
	for _, atk := range a.list {
		if atk.runs() {
			rate += atk.firing.Progress().Rate
		}
	}
	return rate
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
	sum, p := k.final, k.last
	if k.ended == nil {
		sum, p = k.tally.Summary(), k.firing.Progress()
	}
	s := State{
		Name: k.name, Canary: k.canary, Shape: k.shape, State: "running", StartedAt: k.started, EndedAt: k.ended,
		Due: p.Due, Sent: p.Sent, Summary: sum,
	}
	if p.Asked {
		s.Seen = &p.Seen
	}
	if p.SeenError != nil {
		s.SeenError = p.SeenError.Error()
	}
	switch {
	case k.stopped:
		s.State = "stopped"
	case k.ended != nil:
		s.State = "done"
	default:
		s.RateNow = p.Rate
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
