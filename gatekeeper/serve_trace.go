package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

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

// traces sends those of rollouts, where the environment names a collector, and says how people come to traces. Now is the
// clock that the ends of rollouts are written down by: their age must not change when another is set.
func (c serveCmd) traces(group *rungroup.Group, ctx context.Context, memory *store.Store, now func() time.Time, reg prometheus.Registerer, log *slog.Logger) (trace.Links, error) {
	links := trace.Links{Template: c.TraceURL}
	log = log.With("component", "traces")
	to, from, err := telemetry.Exporter(ctx, telemetry.Program{Name: "gatekeeper", Version: version}, log)
	if err != nil || to == nil {
		return links, err
	}
	links.Rollouts = true
	traces, err := export.New(export.Config{Ledger: memory, Send: to.ExportSpans, From: from, Now: now, Log: log}, reg)
	if err != nil {
		return links, err
	}
	add(group, ctx, func(ctx context.Context) error {
		err := traces.Run(ctx, exportInterval)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		_ = to.Shutdown(deadline) // it holds nothing back: what was not sent is sent after the next start
		return err
	})
	return links, nil
}
