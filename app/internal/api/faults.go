package api

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// maxSeed keeps a chosen seed exact in JSON readers that know only doubles.
const maxSeed = 1 << 53

// faults holds the one plan of this instance with the clock and the chance that
// the pure room chaos must not have, and does what a plan asks of the process.
// The zero plan does nothing.
type faults struct {
	now   func() time.Time
	crash func()
	log   *slog.Logger
	count func(chaos.Kind) // of faults injected

	change   sync.Mutex     // held while one plan gives way to another
	pressure sync.WaitGroup // what the plan in force does to the process; Go and Wait only under change

	mu    sync.Mutex // guards what follows; written by set and clear
	plan  chaos.Plan
	setAt time.Time
	draws *rand.Rand
	life  context.Context // ends with the plan
	end   func()          // ends life
}

func newFaults(cfg Config, count func(chaos.Kind)) *faults {
	f := &faults{now: cfg.Now, crash: cfg.Crash, log: cfg.Log, count: count}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// next names the fault for one request to route, and the life of the plan that
// asks for it.
func (f *faults) next(route string) (chaos.Fault, context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	elapsed := f.now().Sub(f.setAt)
	if !f.plan.Touches(route, elapsed) {
		return chaos.Fault{}, f.life
	}
	return f.plan.Pick(route, f.draws.Float64(), f.draws.Float64(), elapsed), f.life
}

// set puts p in the place of the plan before it, whole, and starts its life and
// its draws afresh. It returns once the pressure of the plan before it is released,
// so that two never add up. Life ends with the plan, by deadline when its time is over.
func (f *faults) set(p chaos.Plan) (inForce chaos.Plan, until time.Time, life context.Context) {
	p = seeded(p)
	f.change.Lock()
	defer f.change.Unlock()
	life, end := context.WithTimeout(context.Background(), p.TTL)
	f.replace(p, life, end)
	f.press(life, p)
	return p, f.setAt.Add(p.TTL), life
}

// seeded gives a plan without a seed one, which GET /chaos shows: every rehearsal can
// be repeated.
func seeded(p chaos.Plan) chaos.Plan {
	if p.Seed == 0 {
		p.Seed = 1 + rand.Uint64N(maxSeed-1)
	}
	return p
}

// clear ends the plan in force, if any, and returns once its pressure is released.
func (f *faults) clear() {
	f.change.Lock()
	defer f.change.Unlock()
	life, end := context.WithCancel(context.Background())
	f.replace(chaos.Plan{}, life, end)
}

// replace exchanges the plan and waits for the end of the old one's pressure. The
// caller holds change.
func (f *faults) replace(p chaos.Plan, life context.Context, end func()) {
	f.mu.Lock()
	f.end()
	f.plan, f.setAt, f.draws = p, f.now(), rand.New(rand.NewPCG(p.Seed, 0))
	f.life, f.end = life, end
	f.mu.Unlock()
	f.pressure.Wait()
}

// current returns the plan in force and how long it has left; false when there is
// none.
func (f *faults) current() (p chaos.Plan, until time.Time, left time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	until = f.setAt.Add(f.plan.TTL)
	return f.plan, until, max(until.Sub(f.now()), 0)
}

// active returns the plan in force, and the zero plan when there is none.
func (f *faults) active() chaos.Plan {
	if p, _, left := f.current(); left > 0 {
		return p
	}
	return chaos.Plan{}
}

// press starts what p asks of the whole process; it ends with life.
func (f *faults) press(life context.Context, p chaos.Plan) {
	if p.CrashAfter > 0 {
		f.pressure.Go(func() {
			if wait(life, p.CrashAfter) {
				f.count(chaos.Crash)
				f.log.Error("crashing, as the chaos plan asks", "after", p.CrashAfter.String())
				f.crash()
			}
		})
	}
	if p.Memory > 0 {
		f.count(chaos.Memory)
		f.pressure.Go(func() { hold(life, p.Memory) })
	}
	if p.CPU > 0 {
		f.count(chaos.CPU)
		for range min(p.CPU, runtime.GOMAXPROCS(0)) { // more would only queue up
			f.pressure.Go(func() { burn(life) })
		}
	}
}

// hold keeps n bytes of memory that is really there until life ends, and then
// gives it back to the system.
func hold(life context.Context, n int64) {
	const page = 4096
	ballast := make([]byte, n)
	for i := 0; i < len(ballast) && life.Err() == nil; i += page {
		ballast[i] = 1 // a page that was never written to costs nothing
	}
	<-life.Done()
	runtime.KeepAlive(ballast)
	debug.FreeOSMemory()
}

// burn keeps one core busy until life ends.
func burn(life context.Context) {
	for life.Err() == nil {
		for range 1 << 16 { // a fraction of a millisecond, so that the end is seen soon
		}
	}
}
