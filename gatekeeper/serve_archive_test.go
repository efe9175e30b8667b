package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

func TestReportFilesAreWrittenBesideSQLiteOnly(t *testing.T) {
	memory, err := store.Open(t.Context(), filepath.Join(t.TempDir(), databaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for name, c := range map[string]struct {
		database databaseFlags
		files    bool
	}{
		"SQLite":                  {databaseFlags{}, true},
		"PostgreSQL":              {databaseFlags{Database: "postgres://db/ledger"}, false},
		"PostgreSQL, by a Secret": {databaseFlags{DatabaseFile: "/etc/gatekeeper/database/dsn"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			folder, told := t.TempDir(), &strings.Builder{}
			serve := serveCmd{Data: folder, databaseFlags: c.database}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var group rungroup.Group
			if err := serve.archive(&group, ctx, memory, trace.Links{}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(told, nil))); err != nil {
				t.Fatal(err)
			}
			written := func() bool {
				files, err := os.ReadDir(folder)
				return err == nil && len(files) > 0
			}
			if c.files {
				add(&group, ctx, func(ctx context.Context) error {
					for !written() && ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
					return nil
				})
			}
			if err := group.Run(); err != nil { // a group without parts ends at once
				t.Fatal(err)
			}
			if written() != c.files {
				t.Errorf("files are written: %v, want %v", written(), c.files)
			}
			if strings.Contains(told.String(), "come from the API") == c.files {
				t.Errorf("told: %s", told)
			}
		})
	}
}
