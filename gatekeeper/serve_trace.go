package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/export"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// exportInterval is how soon after its end a rollout's trace is sent.
const exportInterval = time.Second

// traceFlags are about links to traces. Where the gatekeeper's own go is said by the environment of OpenTelemetry, as for
// every program that has it.
type traceFlags struct {
	TraceURL string `name:"trace-url" env:"GATEKEEPER_TRACE_URL" placeholder:"URL" help:"Where people find a trace, with {trace_id} in it, such as https://jaeger.example/trace/{trace_id}; no links without it."`
}

// Validate refuses an address that leads nowhere.
func (f traceFlags) Validate() error {
	if f.TraceURL == "" {
		return nil
	}
	if err := trace.CheckURL(f.TraceURL); err != nil {
		return fmt.Errorf("--trace-url: %w", err)
	}
	return nil
}

// links are the ways to traces: to those of rollouts only where they are sent.
func (f traceFlags) links() trace.Links {
	return trace.Links{Template: f.TraceURL, Rollouts: wanted(os.Getenv)}
}

// traces sends those of rollouts, where the environment says so.
func (c serveCmd) traces(group *rungroup.Group, ctx context.Context, memory *store.Store, reg prometheus.Registerer, log *slog.Logger) error {
	if !wanted(os.Getenv) {
		return nil
	}
	to, err := newExporter(ctx, os.Getenv)
	if err != nil {
		return err
	}
	from, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "gatekeeper"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	traces, err := export.New(export.Config{Ledger: memory, Send: to.ExportSpans, From: from, Now: time.Now, Log: log.With("component", "traces")}, reg)
	if err != nil {
		return err
	}
	add(group, ctx, func(ctx context.Context) error { return traces.Run(ctx, exportInterval) })
	return nil
}

func wanted(getenv func(string) string) bool {
	endpoint := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	return endpoint != "" && !strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") && getenv("OTEL_TRACES_EXPORTER") != "none"
}

func newExporter(ctx context.Context, getenv func(string) string) (sdktrace.SpanExporter, error) {
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") + getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol == "grpc" {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}
