// Package telemetry sends a program's spans to where the OTEL_* environment says.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// lastSpans bounds how long a stopping program waits for its last spans: with what
// drains before, it stays within a pod's termination grace period.
const lastSpans = 2 * time.Second

// Program is who sends.
type Program struct {
	Name, Version string
	Attributes    []attribute.KeyValue // more that tells it from others; may be nil
}

// Tracing is where spans go. One that is off sends none.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil when it is off
	log      *slog.Logger
}

// Start sends spans by OTLP when the environment names an endpoint; else the tracing
// is off. Which endpoint, by which protocol, and whether at all is read here; the rest
// (service name, resource, sampler, batches, headers, TLS) the SDK reads itself, see
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
// No collector needs to be there: spans that can not be sent are dropped. The error
// names the variable that is wrong. Stop must be called.
func Start(ctx context.Context, p Program, log *slog.Logger) (*Tracing, error) {
	exporter, about, err := Exporter(ctx, p, log)
	if err != nil || exporter == nil {
		return &Tracing{log: log}, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &Tracing{provider: provider, log: log}, nil
}

// Provider is what spans are made with; nil when tracing is off.
func (t *Tracing) Provider() trace.TracerProvider {
	if t.provider == nil {
		return nil // not a nil pointer in an interface
	}
	return t.provider
}

// Stop sends the last spans, within a bound: lost spans are no reason to be killed.
func (t *Tracing) Stop() {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans were not sent", "error", err)
	}
}

// Exporter is for a program that makes its spans itself, from what it has recorded: the
// exporter that Start would use, and the resource that its spans belong to. Both are nil
// when the environment names no endpoint. It does not wait for a connection; who asked
// for it shuts it down.
func Exporter(ctx context.Context, p Program, log *slog.Logger) (sdktrace.SpanExporter, *resource.Resource, error) {
	if !wanted() {
		return nil, nil, nil
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, nil, err
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", p.Name), attribute.String("service.version", p.Version)),
		resource.WithAttributes(p.Attributes...),
		resource.WithFromEnv(), // last, so that it wins
	)
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// The SDK knows no other door for its errors than this global one.
	otel.SetErrorHandler(&complaints{log: log, now: time.Now})
	return exporter, about, nil
}

func wanted() bool {
	endpoint := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	return endpoint != "" && !strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if os.Getenv(name) == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	var exporter sdktrace.SpanExporter
	var err error
	switch protocol := os.Getenv(name); protocol {
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
