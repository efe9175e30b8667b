package main

import (
	"context"
	"log/slog"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/archive"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// archiveInterval is how soon after its end a rollout has its files.
const archiveInterval = time.Second

// archive keeps the report files beside the SQLite file. With a database for several replicas there are none: whoever led
// next would have to make all of them again, and what is in them comes from the API.
func (c serveCmd) archive(group *rungroup.Group, ctx context.Context, memory *store.Store, links trace.Links, reg prometheus.Registerer, log *slog.Logger) error {
	if c.onServer() {
		log.Info("no report files are written with a database: report, charts and sidecars come from the API", "report", "/deployment_report.md")
		return nil
	}
	files, err := archive.New(archive.Config{Folder: c.Data, Ledger: memory, Keep: c.KeepTicks, Links: links, Now: time.Now, Log: log.With("component", "archive")}, reg)
	if err != nil {
		return err
	}
	add(group, ctx, func(ctx context.Context) error { return files.Run(ctx, archiveInterval) })
	return nil
}
