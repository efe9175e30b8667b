package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/export"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/telemetry"
)

// exportInterval is how soon after its closing entry a rollout's trace is sent.
const exportInterval = time.Second

// traceFlags are about links to traces. Where the gatekeeper's own go is said by OTEL_*, as for every program.
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

// collector is where the gatekeeper's own traces go; the zero value is nowhere.
type collector struct {
	spans sdktrace.SpanExporter
	about *resource.Resource
}

// collector reads the OTEL_* environment. It is read on every replica before any leads: else a wrong word in it would end
// each lead, and releases would wait for the sake of telemetry.
func (traceFlags) collector(ctx context.Context, log *slog.Logger) (collector, error) {
	spans, about, err := telemetry.Exporter(ctx, telemetry.Program{Name: "gatekeeper", Version: version}, log.With("component", "traces"))
	if err != nil {
		return collector{}, fmt.Errorf("where traces go: %w", err)
	}
	return collector{spans, about}, nil
}

// traces sends those of rollouts, where there is a collector, and says how people come to traces. Now is the
// clock that the ends of rollouts are written down by: their age must not change when another is set.
func (c serveCmd) traces(group *rungroup.Group, ctx context.Context, to collector, memory *store.Store, now func() time.Time, reg prometheus.Registerer, log *slog.Logger) (trace.Links, error) {
	links := trace.Links{Template: c.TraceURL}
	if to.spans == nil {
		return links, nil
	}
	links.Rollouts = true
	traces, err := export.New(export.Config{Ledger: memory, Send: to.spans.ExportSpans, From: to.about, Now: now, Log: log.With("component", "traces")}, reg)
	if err != nil {
		return links, err
	}
	add(group, ctx, func(ctx context.Context) error {
		err := traces.Run(ctx, exportInterval)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		_ = to.spans.Shutdown(deadline) // it holds nothing back: what was not sent is sent after the next start
		return err
	})
	return links, nil
}
