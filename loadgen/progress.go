package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

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
	wipe, width := "", 1000
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		before, after, every = "\r\x1b[K", "", 200*time.Millisecond
		wipe, width = before, lineWidth
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
				fmt.Fprint(w, before, cut(line(attack.Progress(), sum.Summary(), planned), width), after)
			}
		}
	})
	return func() {
		cancel()
		writer.Wait()
	}
}

// lineWidth is what fits a terminal of 80 columns: a longer line wraps, and then only its end is written over.
const lineWidth = 79

// line tells how far an attack is.
func line(p fire.Progress, s tally.Summary, planned shape.Shape) string {
	text := fmt.Sprintf("%s/%s  %.4g/s  %d/%d  %.2f%% ok  p50 %s p95 %s p99 %s  %d open",
		p.Elapsed.Round(time.Second), planned.Duration(), p.Rate, p.Sent, planned.Hits(), 100*s.Success,
		short(s.Latency.P50), short(s.Latency.P95), short(s.Latency.P99), p.InFlight)
	if p.Asked {
		text += fmt.Sprintf("  %d by others", p.Seen)
	}
	if p.SeenError != nil {
		text += " (an old number)"
	}
	return text
}

// cut is as much of text as has room in width columns.
func cut(text string, width int) string {
	return string([]rune(text)[:min(width, utf8.RuneCountInString(text))])
}

// short is a latency with about three digits.
func short(d tally.Duration) time.Duration {
	switch exact := time.Duration(d); {
	case exact >= time.Second:
		return exact.Round(10 * time.Millisecond)
	case exact >= 10*time.Millisecond:
		return exact.Round(100 * time.Microsecond)
	case exact >= time.Millisecond:
		return exact.Round(10 * time.Microsecond)
	default:
		return exact
	}
}
