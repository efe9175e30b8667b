package api

import (
	"slices"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced makes a server span of every request on a business route, and of nothing
// else: probes and scrapes would be most of all traces. Names and attributes are
// https://opentelemetry.io/docs/specs/semconv/http/http-spans/. It stands here
// instead of otelgin because that allocates three times as much: for metrics that
// nobody reads, and for attributes that tell no two spans apart. Most requests are
// not sampled, so what they do not need is not made for them.
func (a *API) traced() gin.HandlerFunc {
	tracer := a.cfg.Tracer.Tracer("github.com/rollout-monitoring/microservice_rollout_monitoring/app")
	paths, server := a.paths(), trace.WithSpanKind(trace.SpanKindServer)
	return func(c *gin.Context) {
		route, ctx, sent := c.FullPath(), c.Request.Context(), c.Request.Header
		if !slices.Contains(paths, route) {
			return
		}
		followed := len(sent["Traceparent"]) > 0 || len(sent["Baggage"]) > 0
		if followed {
			ctx = a.cfg.Propagator.Extract(ctx, propagation.HeaderCarrier(sent))
		}
		ctx, span := tracer.Start(ctx, c.Request.Method+" "+route, server)
		defer span.End()
		if !followed && !span.IsRecording() {
			return // nobody has or will have this trace: its id would lead nowhere
		}
		c.Request = c.Request.WithContext(ctx)
		c.Next()
		if !span.IsRecording() {
			return
		}
		status := c.Writer.Status()
		span.SetAttributes(
			attribute.String("http.request.method", c.Request.Method),
			attribute.String("http.route", route),
			attribute.String("url.path", c.Request.URL.Path),
			attribute.String("url.scheme", "http"), // TLS ends at the ingress
			attribute.Int("http.response.status_code", status),
		)
		if status >= 500 || status == statusNoAnswer {
			span.SetStatus(codes.Error, "")
		}
	}
}
