package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// databaseFlags say where the ledger is.
type databaseFlags struct {
	Database     string `env:"GATEKEEPER_DATABASE" placeholder:"DSN" help:"PostgreSQL database of the ledger (postgres://… or keywords); a SQLite file in the data folder without it."`
	DatabaseFile string `env:"GATEKEEPER_DATABASE_FILE" type:"existingfile" help:"File with that DSN."`
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
