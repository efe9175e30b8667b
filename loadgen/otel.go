package main

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/telemetry"
)

// program is who the spans are from.
func program() telemetry.Program { return telemetry.Program{Name: "loadgen", Version: version} }

// parent reads a W3C traceparent and tracestate; what is not valid is no parent.
func parent(carrier propagation.TextMapCarrier) trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
