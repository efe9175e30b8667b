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
	Ratios ratiosCmd `cmd:"" default:"withargs" help:"Measure loadgen and the app against other programs, as ratios. Needs Go; best on a machine that does nothing else."`
	Detect detectCmd `cmd:"" help:"Bring everything up and measure how soon faults of a canary are found and what they cost."`
}

type ratiosCmd struct {
	Parts  []string `arg:"" optional:"" help:"What to measure: load (loadgen's speed and cost), truth (what it reports against what was), app (what telemetry costs). All without it."`
	Rounds int      `default:"5" help:"Pairs of each comparison."`
	Output string   `enum:"text,json" default:"text" help:"text or json."`
}

// ratios needs no cluster. Progress goes to stderr, so that stdout has the result alone.
func (c *cli) ratios(ctx context.Context, stdout, stderr io.Writer) (err error) {
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
		Root: root, Cache: filepath.Join(cache, "bench"), Dir: dir, Rounds: c.Bench.Ratios.Rounds, Say: say,
		Finder: packages.Finder{Dir: filepath.Join(cache, "packages"), Say: say, Env: os.Getenv},
	})
	if err != nil {
		return err
	}
	report, err := b.Run(ctx, c.Bench.Ratios.Parts)
	if err != nil {
		return err
	}
	if c.Bench.Ratios.Output == "json" {
		return report.WriteJSON(stdout)
	}
	return report.WriteText(stdout)
}
