package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crash"
)

type crashCmd struct {
	Kills    int    `default:"200" help:"How often a gatekeeper is killed."`
	Rollouts int    `default:"50" help:"Rollouts that are under way at once."`
	Database string `enum:"sqlite,postgres" default:"sqlite" help:"sqlite: one gatekeeper; postgres: two that share a server, which is started for it from Debian's package."`
	Seed     uint64 `help:"Of all that is random; another one each time without it."`
}

// crash needs no cluster. Progress goes to stderr, so that stdout has the result alone.
func (c *cli) crash(ctx context.Context, stdout, stderr io.Writer) (err error) {
	begun := time.Now()
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return fmt.Errorf("find root: %w", err)
	}
	dir, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := crash.Build(ctx, root, dir); err != nil {
		return err
	}
	cfg := crash.Config{
		Program: filepath.Join(dir, "gatekeeper"), Dir: dir, Kills: c.Crash.Kills, Rollouts: c.Crash.Rollouts, Seed: c.Crash.Seed, Replicas: 1,
		Say: func(text string) { fmt.Fprintf(stderr, "%4.0fs %s\n", time.Since(begun).Seconds(), text) },
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if c.Crash.Database == "postgres" {
		dsn, stop, err := crash.StartPostgres(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		cfg.Database, cfg.Replicas = dsn, 2
	}
	cfg.Say(fmt.Sprintf("seed %d", cfg.Seed))
	result, err := crash.Run(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(result.WriteText(stdout), result.Err())
}
