package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/bench"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/detect"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
)

// detectVersion is the app's, in all releases: what they differ in is the deploy id.
const detectVersion = "1.0.0"

type detectCmd struct {
	Runs       int      `default:"10" help:"Releases with each fault for each judge."`
	Kinds      []string `enum:"half,few,crash" default:"half,few,crash" help:"Faults of the canary: half (50 % errors), few (5 % errors), crash (a crash loop)."`
	SideBySide bool     `help:"Also Flagger alone, by its own success rate, with three settings, in the same runs. A run then takes ten minutes."`
	Parallel   int      `default:"2" help:"Canaries of each judge at once, each in a namespace of its own. Nine Canaries with 100 requests a second take most of two processors."`
	Rate       float64  `default:"100" help:"Requests a second of each Canary's users."`
	Output     string   `enum:"text,json" default:"text" help:"text (Markdown) or json."`
}

// Validate says what can not be measured; kong asks before anything is done.
func (c detectCmd) Validate() error {
	if c.Runs < 1 || c.Parallel < 1 || c.Rate <= 0 {
		return errors.New("--runs and --parallel must be at least 1, --rate over 0")
	}
	return nil
}

// detect measures on lanes that all do the same at the same time. What was measured is also told when the rest fails.
func (l *lab) detect(ctx context.Context, stdout io.Writer) (err error) {
	c := l.Bench.Detect
	report := detect.Report{
		Machine: fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Engine:  l.stack.Engine.Name, Rate: c.Rate,
	}
	if c.SideBySide {
		if report.False, err = l.simulate(ctx); err != nil {
			return err
		}
	}
	ground, err := l.ground(ctx, l.stack.Steps())
	if err != nil {
		return err
	}
	var lanes []*drill.Lane
	defer func() {
		if l.stack.Engine.Remove == nil { // else the cluster goes as a whole
			for _, lane := range lanes {
				err = errors.Join(err, lane.Empty(context.WithoutCancel(ctx)))
			}
		}
	}()
	judges := detect.Gatekeeper()
	if c.SideBySide {
		judges = slices.Concat(judges, detect.Alone())
	}
	for range min(c.Parallel, c.Runs) {
		for _, judge := range judges {
			cfg := ground
			cfg.Namespace = fmt.Sprintf("detect-%d", len(lanes)+1)
			cfg.Host, cfg.Rate = cfg.Namespace+".example", c.Rate
			lane := drill.NewLane(cfg, judge)
			lanes = append(lanes, lane)
			if err := lane.Put(ctx, detectVersion); err != nil {
				return err
			}
		}
	}
	if err := readyAll(ctx, lanes); err != nil {
		return err
	}
	ground.Say("  %d Canaries serve", len(lanes))
	report.Samples, err = l.rounds(ctx, lanes, len(judges), ground.Say)
	if c.Output == "json" {
		return errors.Join(err, report.WriteJSON(stdout))
	}
	return errors.Join(err, report.WriteMarkdown(stdout))
}

func readyAll(ctx context.Context, lanes []*drill.Lane) error {
	var waiting sync.WaitGroup
	errs := make([]error, len(lanes))
	for i, lane := range lanes {
		waiting.Go(func() { errs[i] = lane.Ready(ctx) })
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// rounds runs each kind until each judge has its number of runs. Between the first weight and the fault is a random time, so
// that Flagger's looks fall anywhere.
func (l *lab) rounds(ctx context.Context, lanes []*drill.Lane, judges int, say func(string, ...any)) (all []detect.Sample, err error) {
	c := l.Bench.Detect
	for _, kind := range c.Kinds {
		for done, round := 0, 1; done < c.Runs; round++ {
			busy := lanes[:min(len(lanes), (c.Runs-done)*judges)]
			pause := 3*time.Second + rand.N(7*time.Second)
			samples, err := drill.Detect(ctx, busy, kind, round, pause)
			all = append(all, samples...)
			if err != nil {
				return all, err
			}
			for _, s := range samples {
				say("  %s", s)
			}
			done += len(busy) / judges
		}
	}
	return all, nil
}

// simulate lets the gatekeeper's own simulation say how often each judge brings back a healthy version at one request a
// second.
func (l *lab) simulate(ctx context.Context) (_ map[string]float64, err error) {
	dir, err := os.MkdirTemp("", "lab-bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return bench.FalseRollbacks(ctx, l.stack.Root, dir)
}
