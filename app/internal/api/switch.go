package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/peers"
)

// errOff refuses a start-up plan on a service whose chaos is off.
var errOff = errors.New("chaos is off; set APP_CHAOS_TOKEN_FILE or remove the plan")

// StartChaos applies a plan in JSON from the moment of the call, like PUT /chaos,
// but to this pod alone: every pod of a version is started with the same plan.
func (a *API) StartChaos(raw []byte) error {
	if a.cfg.ChaosToken == "" {
		return errOff
	}
	plan, err := decodePlan(raw, a.paths())
	if err != nil {
		return err
	}
	if plan.Scope != chaos.ScopePod {
		return &chaos.FieldError{Field: "scope", Reason: "must be pod in a start-up plan: each pod of the version has it anyway"}
	}
	a.applyPlan(context.Background(), plan, "start-up")
	return nil
}

// follow continues the trace of whoever asks, so that the audit lines name it, and
// says who answers.
func (a *API) follow(c *gin.Context) {
	c.Request = c.Request.WithContext(a.cfg.Propagator.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header)))
	c.Header(peers.PodHeader, a.cfg.Hostname)
	c.Header(peers.RevisionHeader, a.cfg.Revision)
	// Before the token is looked at: another revision may have another one.
	if wanted := passedOn(c); wanted != "" && wanted != a.cfg.Revision {
		a.fail(c, errOtherRevision)
	}
}

// passedOn is the revision that a sibling means, and "" in a request of somebody else.
func passedOn(c *gin.Context) string { return c.GetHeader(peers.RevisionHeader) }

// authorize lets only the holder of the token pass.
func (a *API) authorize(c *gin.Context) {
	sent, found := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
	if !found || !sameToken(sent, a.cfg.ChaosToken) {
		c.Header("WWW-Authenticate", "Bearer")
		a.fail(c, errUnauthorized)
	}
}

// sameToken takes the same time whatever differs; hashing first hides the length too.
func sameToken(sent, token string) bool {
	x, y := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// applyPlan puts a valid plan in force in this pod and leaves the audit line.
func (a *API) applyPlan(ctx context.Context, plan chaos.Plan, by string) {
	for _, r := range a.routes() { // seen by rate() from the first fault on
		a.metrics.expect(r.method, r.path, plan.Status)
		if plan.AbortRate > 0 || plan.HangRate > 0 {
			a.metrics.expect(r.method, r.path, statusNoAnswer)
		}
	}
	plan, until, life := a.chaos.set(plan)
	a.cfg.Log.InfoContext(ctx, "chaos plan set", "by", by, "plan", encodePlan(plan), "until", until.UTC(), "scope", plan.Scope)
	context.AfterFunc(life, func() {
		if errors.Is(life.Err(), context.DeadlineExceeded) {
			a.cfg.Log.InfoContext(ctx, "chaos plan ended", "by", "ttl", "plan", encodePlan(plan))
		}
	})
}

// state is what GET /chaos shows: the plan in force, if any, and whose it is.
func (a *API) state() gin.H {
	shown := gin.H{
		"active": false,
		"pod":    gin.H{"name": a.cfg.Hostname, "version": a.cfg.Version, "revision": a.cfg.Revision},
	}
	if plan, until, left := a.chaos.current(); left > 0 {
		shown["active"], shown["plan"], shown["until"], shown["remaining"] = true, encodePlan(plan), until.UTC(), left.String()
	}
	return shown
}

func (a *API) showChaos(c *gin.Context) { c.JSON(http.StatusOK, a.state()) }

// setChaos answers PUT /chaos. A plan that a sibling passed on is for this pod, so
// that it never travels in circles.
func (a *API) setChaos(c *gin.Context) {
	raw, err := c.GetRawData()
	if err != nil {
		a.fail(c, fmt.Errorf("%w: %w", errMalformed, err))
		return
	}
	plan, err := decodePlan(raw, a.paths())
	if err != nil {
		a.fail(c, err)
		return
	}
	if plan.Scope == chaos.ScopeVersion && passedOn(c) == "" {
		a.setVersion(c, plan)
		return
	}
	a.applyPlan(c.Request.Context(), plan, c.ClientIP())
	a.showChaos(c)
}

// clearChaos answers DELETE /chaos?scope=&revision=.
func (a *API) clearChaos(c *gin.Context) {
	for name := range c.Request.URL.Query() {
		if name != "scope" && name != "revision" {
			a.fail(c, &fieldError{name, "is no parameter; use scope, revision"})
			return
		}
	}
	asked := a.toClear(c)
	if err := asked.Validate(nil); err != nil {
		a.fail(c, err)
		return
	}
	if asked.Scope == chaos.ScopeVersion && passedOn(c) == "" {
		a.clearVersion(c, asked)
		return
	}
	a.clearPlan(c.Request.Context(), c.ClientIP(), asked.Scope)
	a.showChaos(c)
}

// toClear is whose plans to end, as an otherwise empty plan. Without a scope it is
// that of the plan in force: what was set for a version ends for all of it.
func (a *API) toClear(c *gin.Context) chaos.Plan {
	asked := chaos.Plan{
		Status: chaos.DefaultStatus, TTL: chaos.MaxTTL, Scope: chaos.Scope(c.Query("scope")), Revision: c.Query("revision"),
	}
	if asked.Scope == "" {
		asked.Scope = chaos.ScopePod
		if plan := a.chaos.active(); plan.Scope == chaos.ScopeVersion && asked.Revision == "" {
			asked.Scope, asked.Revision = plan.Scope, plan.Revision
		}
	}
	return asked
}

// clearPlan ends the plan of this pod, if any, and leaves the audit line.
func (a *API) clearPlan(ctx context.Context, by string, scope chaos.Scope) {
	a.chaos.clear()
	a.cfg.Log.InfoContext(ctx, "chaos plan cleared", "by", by, "scope", scope)
}
