package main

import (
	"context"
	"errors"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crash"
)

// A short run of lab crash: docs/high-availability.md has the figures of a long one.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes: make test runs it without -short")
	}
	dir := t.TempDir()
	if err := crash.Build(t.Context(), "..", dir); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(context.Context) (string, func() error, error){"sqlite": nil, "postgres": crash.StartPostgres} {
		t.Run(name, func(t *testing.T) {
			cfg := crash.Config{Program: dir + "/gatekeeper", Dir: t.TempDir(), Kills: 10, Rollouts: 8, Seed: 1, Replicas: 1, Say: func(text string) { t.Log(text) }}
			if start != nil {
				dsn, stop, err := start(t.Context())
				if errors.Is(err, crash.ErrNoPostgres) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := stop(); err != nil {
						t.Error(err)
					}
				})
				cfg.Database, cfg.Replicas = dsn, 2
			}
			result, err := crash.Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := result.Err(); err != nil {
				t.Error(err)
			}
			if err := result.WriteText(t.Output()); err != nil {
				t.Error(err)
			}
		})
	}
}
