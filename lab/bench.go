package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/bench"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
)

type benchCmd struct {
	Parts  []string `arg:"" optional:"" help:"What to measure: load (loadgen's speed and cost), truth (what it reports against what was), app (what telemetry costs). All without it."`
	Rounds int      `default:"5" help:"Pairs of each comparison."`
	Output string   `enum:"text,json" default:"text" help:"text or json."`
}

// bench needs no cluster. Progress goes to stderr, so that stdout has the result alone.
func (c *cli) bench(ctx context.Context, stdout, stderr io.Writer) (err error) {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return fmt.Errorf("find root: %w", err)
	}
	dir, err := os.MkdirTemp("", "lab-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	say := func(text string) { fmt.Fprintln(stderr, text) }
	cache := within(root, c.Cache)
	b, err := bench.Prepare(ctx, bench.Config{
		Root: root, Cache: filepath.Join(cache, "bench"), Dir: dir, Rounds: c.Bench.Rounds, Say: say,
		Finder: packages.Finder{Dir: filepath.Join(cache, "packages"), Say: say, Env: os.Getenv},
	})
	if err != nil {
		return err
	}
	report, err := b.Run(ctx, c.Bench.Parts)
	if err != nil {
		return err
	}
	if c.Bench.Output == "json" {
		return report.WriteJSON(stdout)
	}
	return report.WriteText(stdout)
}
