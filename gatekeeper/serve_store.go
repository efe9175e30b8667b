package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// databaseFlags say where the ledger is.
type databaseFlags struct {
	Database     string `env:"GATEKEEPER_DATABASE" placeholder:"DSN" help:"PostgreSQL database of the ledger (postgres://… or keywords); a SQLite file in the data folder without it."`
	DatabaseFile string `env:"GATEKEEPER_DATABASE_FILE" type:"existingfile" help:"File with that DSN."`
}

// onServer reports whether the ledger is a database that others share, and not a file of this process.
func (f databaseFlags) onServer() bool { return f.Database != "" || f.DatabaseFile != "" }

// retentionFlags say what is deleted.
type retentionFlags struct {
	KeepTicks time.Duration `default:"720h" env:"GATEKEEPER_KEEP_TICKS" help:"How long a rollout's ticks and its sidecar are kept after its end, and messages that were delivered; 0: for ever. Entries and rollouts are kept for ever."`
}

// Validate refuses a time in which nobody could look at what happened.
func (f retentionFlags) Validate() error {
	if f.KeepTicks != 0 && f.KeepTicks < time.Hour {
		return fmt.Errorf("--keep-ticks %s: must be 0 or at least 1h", f.KeepTicks)
	}
	return nil
}

// pruneInterval is how often what is too old is looked for.
const pruneInterval = time.Hour

// prune deletes what is too old, at the start and then every hour, until ctx ends. A failure delays it.
func (f retentionFlags) prune(ctx context.Context, memory *store.Store, log *slog.Logger) error {
	if f.KeepTicks == 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(pruneInterval)
	defer ticker.Stop()
	for {
		n, err := memory.Prune(ctx, time.Now(), f.KeepTicks)
		if err != nil && ctx.Err() == nil {
			log.Warn("what is too old could not be deleted, next try follows", "error", err)
		}
		if n > 0 {
			log.Info("old ticks deleted, the ledger says whose", "rollouts", n, "keep", f.KeepTicks)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// databaseName is the SQLite file in the data folder.
const databaseName = "gatekeeper.db"

// judge is this gatekeeper as one that judges: by other versions, or on another processor, a verdict may be another one.
func judge() string { return version + "/" + runtime.GOARCH }

// ledger opens the database for the replica that leads: from now on no other one writes.
func (f databaseFlags) ledger(ctx context.Context, data string) (*store.Store, error) {
	dsn, err := secret(f.Database, f.DatabaseFile)
	if err != nil {
		return nil, err
	}
	if dsn == "" {
		memory, err := store.Open(ctx, filepath.Join(data, databaseName))
		if err != nil {
			return nil, fmt.Errorf("%w; the folder %s must be a writable volume", err, data)
		}
		return memory, nil
	}
	memory, err := store.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if err := memory.Lead(ctx); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return memory, nil
}
