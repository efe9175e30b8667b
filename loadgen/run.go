package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

// runCommand is one attack from the command line.
type runCommand struct {
	Rate         float64       `default:"50" help:"Requests per second; 0.2 is one in five seconds."`
	Duration     time.Duration `default:"10s" help:"How long to send."`
	Method       string        `default:"GET" help:"HTTP method."`
	Header       []string      `sep:"none" placeholder:"'K: V'" help:"Header to send; may be repeated."`
	Host         string        `help:"Host to ask for, when it is not the one in the URL."`
	Body         string        `help:"Body to send."`
	Timeout      time.Duration `default:"10s" help:"How long one request may take."`
	Proxy        *url.URL      `env:"LOADGEN_PROXY" placeholder:"URL" help:"Send everything through this proxy, http:// or socks5h://; the usual proxy variables are not read."`
	Output       string        `default:"text" enum:"text,json" help:"Form of the summary: ${enum}."`
	MaxErrorRate *float64      `help:"Largest share of requests not answered 2xx, 0 to 1. More gives exit code 2."`
	URL          string        `arg:"" help:"Where to send it."`
}

// Run sends the load, then prints the summary also when it was interrupted: it
// is true for what was sent.
func (c *runCommand) Run(ctx context.Context, std streams) error {
	plan, constant, err := c.plan()
	if err != nil {
		return err
	}
	sum := tally.New()
	stopProgress := c.progress(std.err, sum, constant.Hits())
	plan.Run(ctx, func(r fire.Result) { sum.Add(r.Code, r.Latency, r.Error) })
	stopProgress()

	summary := sum.Summary()
	write := summary.WriteText
	if c.Output == "json" {
		write = summary.WriteJSON
	}
	if err := write(std.out); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after %d of %d requests", summary.Requests, constant.Hits())
	}
	if c.MaxErrorRate != nil {
		return summary.Check(*c.MaxErrorRate)
	}
	return nil
}

// plan checks the flags before anything is sent.
func (c *runCommand) plan() (fire.Plan, shape.Constant, error) {
	if c.MaxErrorRate != nil && !(*c.MaxErrorRate >= 0 && *c.MaxErrorRate <= 1) {
		return fire.Plan{}, shape.Constant{}, errors.New("--max-error-rate: must be between 0 and 1")
	}
	constant, err := shape.NewConstant(c.Rate, c.Duration)
	if err != nil {
		return fire.Plan{}, shape.Constant{}, err
	}
	header := http.Header{}
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fire.Plan{}, shape.Constant{}, fmt.Errorf("--header %q: write it as 'Name: value'", line)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if c.Host != "" {
		header.Set("Host", c.Host)
	}
	target := fire.Target{Method: c.Method, URL: c.URL, Header: header, Body: c.Body}
	plan, err := fire.NewPlan("", []fire.Target{target}, constant, c.Timeout)
	return plan.Through(c.Proxy), constant, err
}

// progress rewrites one line on w while the load runs, if a person watches. The
// function it returns wipes the line and comes back when nothing writes any more.
func (c *runCommand) progress(w io.Writer, sum *tally.Tally, planned uint64) (stop func()) {
	if f, ok := w.(*os.File); !ok || !isatty.IsTerminal(f.Fd()) {
		return func() {}
	}
	var writer sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	writer.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				fmt.Fprint(w, "\r\x1b[K")
				return
			case now := <-ticker.C:
				s := sum.Summary()
				fmt.Fprintf(w, "\r\x1b[K%s of %s   %d of %d requests   %.2f %% ok   p99 %s",
					now.Sub(began).Round(time.Second), c.Duration, s.Requests, planned, 100*s.Success, s.Latency.P99)
			}
		}
	})
	return func() {
		cancel()
		writer.Wait()
	}
}
