package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
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

// lastSpans is how long the end waits for spans that are not exported yet.
const lastSpans = 2 * time.Second

// startTracing exports spans by OTLP when the environment names an endpoint, as
// the OpenTelemetry specification says; else the provider is nil and nothing is
// traced. End sends the last spans and must be called. Sampler, batches, headers
// and TLS are the SDK's own environment.
func startTracing(ctx context.Context, log *slog.Logger) (provider trace.TracerProvider, end func(), err error) {
	first := func(names ...string) (name, value string) {
		for _, name = range names {
			if value = os.Getenv(name); value != "" {
				return name, value
			}
		}
		return name, ""
	}
	_, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, func() {}, nil
	}
	var exporter sdktrace.SpanExporter
	switch name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol {
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	case "", "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	default:
		return nil, nil, fmt.Errorf("%s %q: must be grpc or http/protobuf", name, protocol)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start the OTLP exporter: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "loadgen"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the environment has the last word
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// The SDK has one handler for the whole process and no other way to hear of a
	// failed export.
	otel.SetErrorHandler(&exportErrors{log: log})
	sdk := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return sdk, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		if err := sdk.Shutdown(limited); err != nil {
			log.Warn("last spans not exported", "error", err)
		}
	}, nil
}

// exportErrors logs at most one failure a minute: while a collector is away there
// is one for every batch.
type exportErrors struct {
	log *slog.Logger

	mu         sync.Mutex
	last       time.Time // guarded by mu
	suppressed int       // since last; guarded by mu
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.last) < time.Minute {
		e.suppressed++
	} else {
		e.log.Warn("telemetry", "error", err, "suppressed", e.suppressed)
		e.last, e.suppressed = now, 0
	}
}

// parent reads a W3C traceparent and tracestate; what is not valid is no parent.
func parent(carrier propagation.TextMapCarrier) trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
