package bench

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// evenRate is the rate at which latency is compared, in requests a second: far from what any of them can do at most,
// where queues would hide the difference.
const evenRate = 2000

// candidate is a server that answers GET /api/items.
type candidate struct {
	name  string
	start func(ctx context.Context, collector string) (*server, error)
}

// service compares the app with and without its telemetry, and with a bare Gin handler.
func (b *Bench) service(ctx context.Context) ([]Table, error) {
	collector, err := b.spawnPeer(ctx, clientCPU, b.peers, "sink")
	if err != nil {
		return nil, err
	}
	defer collector.stop()
	rate := Table{Title: "the app's requests a second at full speed", Unit: "requests/s", Base: telemetryOff, Higher: true}
	cpu := Table{Title: "the app's processor time for 100,000 requests", Unit: "s", Base: telemetryOff}
	late := Table{Title: fmt.Sprintf("the app's p99 at %d requests a second", evenRate), Unit: "ms", Base: telemetryOff}
	for round := range b.Rounds {
		for _, c := range rotated(b.candidates(), round) {
			got, err := b.serve(ctx, c, collector.url)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			rate.add(c.name, got.rate)
			cpu.add(c.name, got.cpu.Seconds()/got.requests*100_000)
			late.add(c.name, float64(got.p99)/float64(time.Millisecond))
			b.Say(fmt.Sprintf("app %d/%d %s: %.0f requests/s, p99 %s", round+1, b.Rounds, c.name, got.rate, got.p99))
		}
	}
	return []Table{rate, cpu, late}, nil
}

const telemetryOff = "metrics and traces off"

func (b *Bench) candidates() []candidate {
	app := func(env []string, args ...string) func(context.Context, string) (*server, error) {
		return func(ctx context.Context, collector string) (*server, error) {
			addr, err := freeAddress(ctx)
			if err != nil {
				return nil, err
			}
			if env != nil {
				env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector)
			}
			return b.spawn(ctx, serverCPU, "http://"+addr, "/readyz", env, b.app, append([]string{"serve", "--listen", addr}, args...)...)
		}
	}
	return []candidate{
		{telemetryOff, app(nil, "--no-metrics")},
		{"metrics on", app(nil)},
		{"metrics on, every 10th request traced", app([]string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.1"})},
		{"metrics on, every request traced", app([]string{"OTEL_TRACES_SAMPLER=parentbased_always_on"})},
		{"plain Gin handler", func(ctx context.Context, _ string) (*server, error) {
			return b.spawnPeer(ctx, serverCPU, b.plain)
		}},
	}
}

// served is what a candidate did.
type served struct {
	rate     float64       // requests a second at full speed
	p99      time.Duration // at the even rate
	requests float64       // in all
	cpu      time.Duration // for all of them, the start of the process included
}

// serve starts a candidate and asks it at full speed, then evenly.
func (b *Bench) serve(ctx context.Context, c candidate, collector string) (served, error) {
	s, err := c.start(ctx, collector)
	if err != nil {
		return served{}, err
	}
	defer s.stop()
	var got served
	if got.rate, err = b.fullSpeed(ctx, s.url+"/api/items"); err != nil {
		return served{}, err
	}
	said, err := b.even(ctx, evenRate, b.seconds, s.url+"/api/items")
	if err != nil {
		return served{}, err
	}
	if said.success < 1 {
		return served{}, fmt.Errorf("%.3f %% of the requests were answered 2xx", 100*said.success)
	}
	got.p99, got.requests, got.cpu = said.p99, got.rate*b.seconds.Seconds()+said.requests, s.stop()
	return got, nil
}

var (
	wrkPattern      = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkErrorPattern = regexp.MustCompile(`Non-2xx or 3xx responses: \d+`)
)

// fullSpeed is what wrk gets through, or hey where there is no wrk. Both say it in the same words.
func (b *Bench) fullSpeed(ctx context.Context, url string) (float64, error) {
	program, args := b.wrk, []string{"-t", "1", "-c", "32", "-d", fmt.Sprintf("%.0fs", b.seconds.Seconds()), url}
	if b.wrk == "" {
		program, args = b.hey, []string{"-z", b.seconds.String(), "-c", "32", url}
	}
	took, err := b.measure(ctx, b.wrkEnv, program, args...)
	if err != nil {
		return 0, err
	}
	if bad := wrkErrorPattern.FindString(took.output); bad != "" {
		return 0, fmt.Errorf("ask at full speed: %s", bad)
	}
	found := wrkPattern.FindStringSubmatch(took.output)
	if found == nil {
		return 0, fmt.Errorf("there is no rate in the report: %s", took.output)
	}
	return strconv.ParseFloat(found[1], 64)
}
