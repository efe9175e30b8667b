package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/seen"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/telemetry"
)

// runCommand is one attack from the command line.
type runCommand struct {
	Shape     string         `default:"constant" enum:"constant,ramp,steps,sine,top-up" help:"How the rate goes: ${enum}."`
	Rate      *float64       `help:"Requests per second; 0.2 is one in five seconds. Of top-up the highest, of sine the mean (default 50)."`
	To        float64        `help:"Ramp: requests per second at the end."`
	Steps     string         `sep:"none" placeholder:"10x30s,50x1m" help:"Steps: rate x duration, one after the other."`
	Amplitude float64        `help:"Sine: how far the rate swings around --rate."`
	Period    time.Duration  `help:"Sine: from one peak to the next."`
	Samples   uint64         `help:"Top-up: requests there should be at the end, others' included."`
	Duration  *time.Duration `help:"How long to send (default 10s)."`

	SeenQuery  string `placeholder:"PROMQL" help:"Top-up: how many samples others have sent since the start; $$elapsed stands for the time since then."`
	Prometheus string `env:"LOADGEN_PROMETHEUS_URL" placeholder:"URL" help:"Prometheus to ask the --seen-query."`

	Method  string   `default:"GET" help:"HTTP method."`
	Header  []string `sep:"none" placeholder:"'K: V'" help:"Header to send; may be repeated."`
	Host    string   `help:"Host to ask for, when it is not the one in the URL."`
	Body    string   `help:"Body to send."`
	Targets string   `placeholder:"FILE" help:"JSON targets instead of URL, method, header, host and body; - is standard input."`

	Timeout     time.Duration `default:"10s" help:"How long one request may take."`
	MaxInFlight int           `default:"10000" help:"Most requests under way at a time."`
	Connections int           `help:"Most connections to one host; 0 is no limit."`
	KeepAlive   bool          `default:"true" negatable:"" help:"Use connections again."`
	HTTP        string        `name:"http" default:"auto" enum:"auto,1.1,2" help:"HTTP version: ${enum}; 2 is with prior knowledge over http://."`
	Insecure    bool          `help:"Do not check the server's certificate."`
	CAFile      string        `name:"ca-file" placeholder:"FILE" help:"Certificates to trust instead of the system's, PEM."`
	Proxy       *url.URL      `env:"LOADGEN_PROXY" placeholder:"URL" help:"Send everything through this proxy, http:// or socks5h://; the usual proxy variables are not read."`

	Progress     bool           `help:"Report progress every 10 s also when nobody watches; on a terminal it is always there."`
	Output       string         `default:"text" enum:"text,json" help:"Form of the summary: ${enum}."`
	HDR          string         `name:"hdr" placeholder:"FILE" help:"Write the distribution of latencies, in milliseconds, for HdrHistogram's plotters."`
	Save         string         `placeholder:"FILE" help:"Write every result, for vegeta report and vegeta plot."`
	MaxErrorRate *float64       `help:"Largest share of requests not answered 2xx, 0 to 1. More gives exit code 2."`
	MaxP99       *time.Duration `name:"max-p99" help:"Largest p99 of the latency. More gives exit code 2."`
	URL          string         `arg:"" optional:"" help:"Where to send it."`
}

// gcPercent lets the heap of this short-lived process grow to nine times what is
// live, some MB, before it is collected: at the usual 100 the collector runs many
// times a second, over every worker's stack, for an eighth of the processor time.
const gcPercent = 800

// Run sends the load, then prints the summary also when it was interrupted: it
// is true for what was sent.
func (c *runCommand) Run(ctx context.Context, std streams) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	options, endTracing, err := c.options(ctx, std)
	if err != nil {
		return err
	}
	defer endTracing()
	plan, planned, err := c.plan(std, options)
	if err != nil {
		return err
	}
	// The files are made before anything is sent: a path that can not be written must
	// not cost a whole run.
	files, err := c.create()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()

	sum := tally.New()
	attack := plan.Attack()
	stopProgress := c.progress(std.err, sum, attack, planned)
	var saving error
	attack.Run(ctx, func(r fire.Result) {
		if r.Unfinished {
			sum.AddUnfinished()
		} else {
			sum.Add(r.Code, r.Latency, r.Error)
		}
		if saving == nil {
			saving = files.save(r)
		}
	})
	stopProgress()

	summary := sum.Summary()
	write := summary.WriteText
	if c.Output == "json" {
		write = summary.WriteJSON
	}
	if err := write(std.out); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	if err := errors.Join(saving, files.hdr(sum)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after %d of %d requests", summary.Requests+summary.Unfinished, planned.Hits())
	}
	return summary.Check(tally.Thresholds{ErrorRate: c.MaxErrorRate, P99: c.MaxP99})
}

// plan checks the flags before anything is sent.
func (c *runCommand) plan(std streams, options fire.Options) (fire.Plan, shape.Shape, error) {
	if c.MaxErrorRate != nil && !(*c.MaxErrorRate >= 0 && *c.MaxErrorRate <= 1) {
		return fire.Plan{}, nil, errors.New("--max-error-rate: must be between 0 and 1")
	}
	spec := shape.Spec{
		Kind: c.Shape, To: c.To, Steps: c.Steps, Amplitude: c.Amplitude, Period: c.Period, Samples: c.Samples,
	}
	if c.Shape != "steps" { // which have both in them
		spec.Rate, spec.Duration = 50, 10*time.Second
	}
	if c.Rate != nil {
		spec.Rate = *c.Rate
	}
	if c.Duration != nil {
		spec.Duration = *c.Duration
	}
	planned, err := shape.New(spec)
	if err != nil {
		return fire.Plan{}, nil, err
	}
	targets, err := c.targets(std.in)
	if err != nil {
		return fire.Plan{}, nil, err
	}
	plan, err := fire.NewPlan("", targets, planned, options)
	return plan, planned, err
}

func (c *runCommand) targets(stdin io.Reader) ([]fire.Target, error) {
	switch {
	case (c.URL == "") == (c.Targets == ""):
		return nil, errors.New("where to: give a URL or --targets, one of them")
	case c.Targets == "-":
		return fire.ReadTargets(stdin)
	case c.Targets != "" && (c.Method != http.MethodGet || len(c.Header) > 0 || c.Host != "" || c.Body != ""):
		return nil, errors.New("--targets: method, header, host and body are in the file, not in flags")
	case c.Targets != "":
		file, err := os.Open(c.Targets)
		if err != nil {
			return nil, fmt.Errorf("--targets: %w", err)
		}
		defer file.Close()
		return fire.ReadTargets(file)
	}
	header := http.Header{}
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q: write it as 'Name: value'", line)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if c.Host != "" {
		header.Set("Host", c.Host)
	}
	return []fire.Target{{Method: c.Method, URL: c.URL, Header: header, Body: c.Body}}, nil
}

// options are how requests are sent; end must be called when all are.
func (c *runCommand) options(ctx context.Context, std streams) (o fire.Options, end func(), err error) {
	o = fire.Options{
		Timeout: c.Timeout, InFlight: c.MaxInFlight, Connections: c.Connections, NoKeepAlive: !c.KeepAlive,
		HTTP: c.HTTP, Proxy: c.Proxy,
		Parent: parent(propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE")}),
	}
	if c.MaxInFlight < 1 {
		return o, nil, errors.New("--max-in-flight: must be at least 1")
	}
	if c.Insecure || c.CAFile != "" {
		o.TLS = &tls.Config{InsecureSkipVerify: c.Insecure}
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return o, nil, fmt.Errorf("--ca-file: %w", err)
		}
		if o.TLS.RootCAs = x509.NewCertPool(); !o.TLS.RootCAs.AppendCertsFromPEM(text) {
			return o, nil, fmt.Errorf("--ca-file %s: has no certificate in PEM form", c.CAFile)
		}
	}
	if c.SeenQuery != "" {
		asker, err := seen.New(c.Prometheus, c.Proxy)
		if err != nil {
			return o, nil, fmt.Errorf("--prometheus: %w", err)
		}
		o.Seen = func(ctx context.Context, elapsed time.Duration) (uint64, error) {
			return asker.Query(ctx, c.SeenQuery, elapsed)
		}
	}
	tracing, err := telemetry.Start(ctx, program(), slog.New(slog.NewTextHandler(std.err, nil)))
	if err != nil {
		return o, nil, err
	}
	o.Tracing = tracing.Provider()
	return o, tracing.Stop, nil
}

// files are what a run writes beside its summary. A nil one was not asked for.
type files struct {
	results, latencies *os.File
	buffer             *bufio.Writer
	record             func(fire.Result) error
}

func (c *runCommand) create() (*files, error) {
	f := &files{}
	var err error
	if c.Save != "" {
		if f.results, err = os.Create(c.Save); err != nil {
			return nil, fmt.Errorf("--save: %w", err)
		}
		f.buffer = bufio.NewWriterSize(f.results, 1<<16)
		f.record = fire.Recorder(f.buffer)
	}
	if c.HDR != "" {
		if f.latencies, err = os.Create(c.HDR); err != nil {
			return nil, errors.Join(fmt.Errorf("--hdr: %w", err), f.close())
		}
	}
	return f, nil
}

func (f *files) save(r fire.Result) error {
	if f.record == nil {
		return nil
	}
	if err := f.record(r); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

func (f *files) hdr(sum *tally.Tally) error {
	if f.latencies == nil {
		return nil
	}
	if err := sum.WriteHDR(f.latencies); err != nil {
		return fmt.Errorf("--hdr: %w", err)
	}
	return nil
}

// close makes both whole on disk, as far as the system says.
func (f *files) close() error {
	var all []error
	if f.buffer != nil {
		all = append(all, f.buffer.Flush(), f.results.Close())
	}
	if f.latencies != nil {
		all = append(all, f.latencies.Close())
	}
	return errors.Join(all...)
}
