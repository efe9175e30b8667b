package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds how long a stopping process waits for its last spans: with
// the drain before it, it stays within the chart's termination grace period.
const flushTimeout = 3 * time.Second

// tracing is where spans go. The zero value sends none.
type tracing struct {
	provider *sdktrace.TracerProvider // nil when tracing is off
	log      *slog.Logger
}

// propagator reads and writes W3C trace context and baggage.
func propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// startTracing sends traces by OTLP when the environment names an endpoint. Which
// one, by which protocol, and whether at all is read here; the rest (service name,
// resource, sampler, batches, headers, TLS) the SDK reads itself, see
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
// No collector needs to be there: spans that can not be sent are dropped.
func startTracing(ctx context.Context, getenv func(string) string, revision, instance string, log *slog.Logger) (*tracing, error) {
	if !wanted(getenv) {
		return &tracing{log: log}, nil
	}
	exporter, err := newExporter(ctx, getenv)
	if err != nil {
		return nil, err
	}
	attributes, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "app"),
			attribute.String("service.version", version),
			attribute.String("service.instance.id", instance),
			attribute.String("k8s.pod.name", instance),
			attribute.String("rollout.revision", revision),
		),
		resource.WithFromEnv(), // last, so that it wins
	)
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// The SDK knows no other door for its errors than this global one.
	otel.SetErrorHandler(&complaints{log: log, now: time.Now})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(attributes))
	return &tracing{provider: provider, log: log}, nil
}

func wanted(getenv func(string) string) bool {
	endpoint := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	return endpoint != "" && !strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") && getenv("OTEL_TRACES_EXPORTER") != "none"
}

// newExporter does not wait for a connection.
func newExporter(ctx context.Context, getenv func(string) string) (sdktrace.SpanExporter, error) {
	name, protocol := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		name, protocol = "OTEL_EXPORTER_OTLP_PROTOCOL", getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	var exporter sdktrace.SpanExporter
	var err error
	switch protocol {
	case "", "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("choose trace exporter: %s is %q; use grpc or http/protobuf", name, protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("make trace exporter from OTEL_EXPORTER_OTLP_*: %w", err)
	}
	return exporter, nil
}

// tracer is what the service makes its spans with; nil when tracing is off.
func (t *tracing) tracer() trace.TracerProvider {
	if t.provider == nil {
		return nil // not a nil pointer in an interface
	}
	return t.provider
}

// stop sends the last spans, within a bound: lost spans are no reason to be killed.
func (t *tracing) stop() {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans were not sent", "err", err)
	}
}

// complaints logs the SDK's errors, at most one a minute: a collector that is away
// fails every batch.
type complaints struct {
	log *slog.Logger
	now func() time.Time

	mu         sync.Mutex
	quietUntil time.Time
	suppressed int
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Before(c.quietUntil) {
		c.suppressed++
		return
	}
	c.log.Warn("telemetry is not sent", "err", err, "suppressed", c.suppressed)
	c.quietUntil, c.suppressed = now.Add(time.Minute), 0
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
