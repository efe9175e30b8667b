package main

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// propagator reads and writes W3C trace context and baggage.
func propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// traced is a log handler that adds the trace and span of the context, so that a
// log line leads to its trace and back. The names are OpenTelemetry's, which log
// collectors know: https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		for _, id := range []struct{ name, value string }{{"trace_id", span.TraceID().String()}, {"span_id", span.SpanID().String()}} {
			r.AddAttrs(slog.String(id.name, id.value))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
