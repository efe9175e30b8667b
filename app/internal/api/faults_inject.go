package api

import (
	"context"
	"fmt"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// Statuses of requests that got no answer. statusClientGone is what NGINX logs for
// a client that did not wait, so that both sides of the ingress count it alike.
// statusNoAnswer is a connection that we closed; load generators count it so too.
const (
	statusClientGone = 499
	statusNoAnswer   = 0
)

// inject stands before every business handler and does what the plan says.
func (a *API) inject(c *gin.Context) {
	fault, life := a.chaos.next(c.FullPath())
	if fault == (chaos.Fault{}) {
		return
	}
	a.mark(c, fault)
	if !wait(c.Request.Context(), fault.Delay) {
		c.AbortWithStatus(statusClientGone)
		return
	}
	switch fault.End {
	case chaos.Error:
		refuse(c, problem{Status: fault.Status, Detail: "fault injected by the plan in /chaos"})
	case chaos.Abort:
		a.cut(c)
	case chaos.Hang:
		if !a.hang(c.Request.Context(), life) {
			c.AbortWithStatus(statusClientGone)
			return
		}
		a.cut(c)
	}
}

// mark counts the fault by its kinds and names the worst one in the request's span.
func (a *API) mark(c *gin.Context, fault chaos.Fault) {
	kind := fault.End
	if fault.Delay > 0 {
		a.countFault(chaos.Latency)
		if kind == "" {
			kind = chaos.Latency
		}
	}
	if fault.Jitter != 0 {
		a.countFault(chaos.Jitter)
	}
	if fault.End != "" {
		a.countFault(fault.End)
	}
	trace.SpanFromContext(c.Request.Context()).SetAttributes(attribute.String("chaos.fault", string(kind)))
}

// hang waits for whatever comes first: the end of the plan, the drain, which a
// request without an answer must not hold up, or the longest time. It returns
// false when the client left before.
func (a *API) hang(client, life context.Context) bool {
	timer := time.NewTimer(chaos.MaxHang)
	defer timer.Stop()
	select {
	case <-client.Done():
		return false
	case <-life.Done():
	case <-a.draining.Done():
	case <-timer.C:
	}
	return true
}

// cut resets the connection without an answer, as a crashed server does.
func (a *API) cut(c *gin.Context) {
	conn, _, err := c.Writer.Hijack()
	if err != nil {
		a.fail(c, fmt.Errorf("take over the connection to cut it: %w", err))
		return
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // with it Close sends RST; without it a FIN, which is no answer either
	}
	_ = conn.Close() // it is being destroyed: there is nothing to lose
	c.Writer = unanswered{c.Writer}
	c.Abort()
}

// unanswered tells the counting and tracing around a handler that nothing was sent.
type unanswered struct{ gin.ResponseWriter }

func (unanswered) Status() int { return statusNoAnswer }

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
