package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/peers"
)

// setVersion gives plan to all pods of its revision, whichever pod was asked: a
// fault set through a Service or the ingress hits them all, and only them.
func (a *API) setVersion(c *gin.Context, plan chaos.Plan) {
	ctx, by := c.Request.Context(), c.ClientIP()
	plan = seeded(plan) // here, so that all pods have the same
	a.tellVersion(c, http.MethodPut, plan, func(plan chaos.Plan) { a.applyPlan(ctx, plan, by) })
}

// clearVersion ends the plans of all pods of asked's revision.
func (a *API) clearVersion(c *gin.Context, asked chaos.Plan) {
	ctx, by := c.Request.Context(), c.ClientIP()
	a.tellVersion(c, http.MethodDelete, asked, func(plan chaos.Plan) { a.clearPlan(ctx, by, plan.Scope) })
}

// tellVersion passes plan on to its revision, by default that of this pod, and
// answers with what came of it. This pod is normally behind the addresses too; if
// it is not there yet, mine does the same without the network.
func (a *API) tellVersion(c *gin.Context, method string, plan chaos.Plan, mine func(chaos.Plan)) {
	if err := a.canTell(); err != nil {
		a.fail(c, err)
		return
	}
	if plan.Revision == "" {
		plan.Revision = a.cfg.Revision
	}
	out, err := a.tell(c.Request.Context(), method, plan, c.GetHeader("Authorization"))
	if err != nil {
		a.fail(c, err)
		return
	}
	self := a.cfg.Hostname
	if len(out.Failed) == 0 && plan.Revision == a.cfg.Revision && !slices.Contains(out.Applied, self) {
		mine(plan)
		out.Applied = append(out.Applied, self)
	}
	a.cfg.Log.InfoContext(c.Request.Context(), "chaos passed on", "by", c.ClientIP(), "method", method, "revision", plan.Revision,
		"applied", out.Applied, "otherRevision", len(out.Others), "failed", out.Failed)
	if method == http.MethodDelete {
		told(c, out, plan.Revision, gin.H{"active": false})
		return
	}
	told(c, out, plan.Revision, gin.H{"active": true, "plan": encodePlan(plan)})
}

// canTell names what this pod lacks to speak to its siblings.
func (a *API) canTell() error {
	switch {
	case a.fleet == nil:
		return &chaos.FieldError{Field: "scope", Reason: "version needs the addresses of the siblings: set APP_PEERS (the chart does with chaos.enabled)"}
	case a.cfg.Revision == "" || a.cfg.Revision == "none":
		return &chaos.FieldError{Field: "scope", Reason: "version needs a pod that knows its revision: set REVISION (pod-template-hash)"}
	}
	return nil
}

func (a *API) tell(ctx context.Context, method string, plan chaos.Plan, authorization string) (peers.Outcome, error) {
	header := http.Header{"Authorization": {authorization}}
	a.cfg.Propagator.Inject(ctx, propagation.HeaderCarrier(header))
	m := peers.Message{Method: method, Path: "/chaos", Revision: plan.Revision, Header: header}
	if method == http.MethodPut {
		var err error
		if m.Body, err = json.Marshal(encodePlan(plan)); err != nil {
			return peers.Outcome{}, fmt.Errorf("encode plan: %w", err)
		}
	}
	return a.fleet.Tell(ctx, m), nil
}

// told says who took what was passed on. Told in part is a failure, because a
// rehearsal on half of a version proves nothing.
func told(c *gin.Context, out peers.Outcome, revision string, body gin.H) {
	switch {
	case len(out.Failed) > 0:
		refuse(c, problem{
			Status: http.StatusBadGateway, Applied: out.Applied, OtherRevision: len(out.Others), Failed: out.Failed,
			Detail: fmt.Sprintf("%d pods of revision %s took it, %d addresses could not be reached (see failed); repeat the request, or end it with DELETE /chaos?scope=version&revision=%s",
				len(out.Applied), revision, len(out.Failed), revision),
		})
	case len(out.Applied) == 0:
		refuse(c, problem{
			Status: http.StatusNotFound, OtherRevision: len(out.Others), Revisions: out.Revisions(),
			Detail: fmt.Sprintf("no pod of revision %s was found; see revisions for those that exist", revision),
		})
	default:
		body["applied"], body["otherRevision"], body["failed"] = out.Applied, len(out.Others), []peers.Failure{}
		c.JSON(http.StatusOK, body)
	}
}
