package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

// progress rewrites one line on w while the load runs, if a person watches; else,
// if it was asked for, it writes a line every 10 s. The function it returns comes
// back when nothing writes any more.
func (c *runCommand) progress(w io.Writer, sum *tally.Tally, attack *fire.Attack, planned shape.Shape) (stop func()) {
	before, after, every := "", "\n", 10*time.Second
	wipe := ""
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		before, after, every = "\r\x1b[K", "", 200*time.Millisecond
		wipe = before
	} else if !c.Progress {
		return func() {}
	}
	var writer sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	writer.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				fmt.Fprint(w, wipe)
				return
			case <-ticker.C:
				fmt.Fprint(w, before, line(attack.Progress(), sum.Summary(), planned), after)
			}
		}
	})
	return func() {
		cancel()
		writer.Wait()
	}
}

// line tells in under 120 characters how far an attack is.
func line(p fire.Progress, s tally.Summary, planned shape.Shape) string {
	text := fmt.Sprintf("%s of %s  %.4g/s  %d of %d sent  %.2f %% ok  p50 %s p95 %s p99 %s  %d in flight",
		p.Elapsed.Round(time.Second), planned.Duration(), p.Rate, p.Sent, planned.Hits(), 100*s.Success,
		s.Latency.P50, s.Latency.P95, s.Latency.P99, p.InFlight)
	if p.Asked {
		text += fmt.Sprintf("  %d by others", p.Seen)
	}
	if p.SeenError != nil {
		text += " (an old number)"
	}
	return text
}
