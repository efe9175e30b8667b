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
// nobody reads, and for attributes that tell no two spans apart.
func (a *API) traced() gin.HandlerFunc {
	tracer := a.cfg.Tracer.Tracer("github.com/rollout-monitoring/microservice_rollout_monitoring/app")
	paths := a.paths()
	return func(c *gin.Context) {
		route := c.FullPath()
		if !slices.Contains(paths, route) {
			return
		}
		ctx := a.cfg.Propagator.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
		ctx, span := tracer.Start(ctx, c.Request.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
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
