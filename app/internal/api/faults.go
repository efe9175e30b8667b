package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// statusClientGone is what NGINX logs for a client that did not wait, so that
// both sides of the ingress count it alike. Nobody receives it.
const statusClientGone = 499

// maxSeed keeps a chosen seed exact in JSON readers that know only doubles.
const maxSeed = 1 << 53

// errOff refuses a start-up plan on a service whose chaos is off.
var errOff = errors.New("chaos is off; set APP_CHAOS_TOKEN_FILE or remove the plan")

// faults holds the one plan of this instance with the clock and the chance that
// the pure room chaos must not have. The zero plan does nothing.
type faults struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows; written by set and clear
	plan  chaos.Plan
	setAt time.Time
	draws *rand.Rand
}

// next names the fault for one request to route.
func (f *faults) next(route string) chaos.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	elapsed := f.now().Sub(f.setAt)
	if !f.plan.Touches(route, elapsed) {
		return chaos.Fault{}
	}
	return f.plan.Pick(route, f.draws.Float64(), elapsed)
}

// set replaces the plan and starts its life and its draws afresh. A plan without
// a seed gets one, which GET /chaos shows: every rehearsal can be repeated.
func (f *faults) set(p chaos.Plan) (inForce chaos.Plan, until time.Time) {
	if p.Seed == 0 {
		p.Seed = 1 + rand.Uint64N(maxSeed-1)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.setAt, f.draws = p, f.now(), rand.New(rand.NewPCG(p.Seed, 0))
	return p, f.setAt.Add(p.TTL)
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = chaos.Plan{}
}

// current returns the plan in force and when it ends; false when there is none.
func (f *faults) current() (p chaos.Plan, until time.Time, active bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	until = f.setAt.Add(f.plan.TTL)
	return f.plan, until, f.now().Before(until)
}

// inject stands before every business handler and does what the plan says.
func (a *API) inject(c *gin.Context) {
	fault := a.chaos.next(c.FullPath())
	if !wait(c.Request.Context(), fault.Delay) {
		c.AbortWithStatus(statusClientGone)
		return
	}
	if fault.Status != 0 {
		refuse(c, fault.Status, "fault injected by the plan in /chaos", "")
	}
}

// wait returns after d, or false at once when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// StartChaos applies a plan in JSON from the moment of the call, like PUT /chaos.
func (a *API) StartChaos(raw []byte) error {
	if a.cfg.ChaosToken == "" {
		return errOff
	}
	plan, err := decodePlan(raw, a.paths())
	if err != nil {
		return err
	}
	a.applyPlan(plan, "start-up")
	return nil
}

// applyPlan puts a valid plan in force and leaves the audit line.
func (a *API) applyPlan(plan chaos.Plan, by string) {
	for _, r := range a.routes() {
		a.metrics.expect(r.method, r.path, plan.Status) // seen by rate() from the first fault on
	}
	plan, until := a.chaos.set(plan)
	a.cfg.Log.Info("chaos plan set", "by", by, "plan", encodePlan(plan), "until", until.UTC())
}

func (a *API) showChaos(c *gin.Context) {
	plan, until, active := a.chaos.current()
	if !active {
		c.JSON(http.StatusOK, gin.H{"active": false})
		return
	}
	c.JSON(http.StatusOK, gin.H{"active": true, "plan": encodePlan(plan), "until": until.UTC()})
}

func (a *API) setChaos(c *gin.Context) {
	raw, err := c.GetRawData()
	if err != nil {
		a.fail(c, errors.Join(errMalformed, err))
		return
	}
	plan, err := decodePlan(raw, a.paths())
	if err != nil {
		a.fail(c, err)
		return
	}
	a.applyPlan(plan, c.ClientIP())
	a.showChaos(c)
}

func (a *API) clearChaos(c *gin.Context) {
	a.chaos.clear()
	a.cfg.Log.Info("chaos plan cleared", "by", c.ClientIP())
	a.showChaos(c)
}
