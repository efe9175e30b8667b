package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

const (
	// hookRate is that of 1,000 Canaries, of which Flagger asks three things every ten seconds.
	hookRate = 300
	// settling is how long evaluations run before anything is measured.
	settling = 10 * time.Second
	// watching is how long each crowd is measured.
	watching = 20 * time.Second
)

// canaries measures one gatekeeper with ever more Canaries under analysis. The made-up cluster and pods run on the same
// processors, so a real gatekeeper has a little more to itself.
func (b *Bench) canaries(ctx context.Context) ([]Table, error) {
	program := filepath.Join(b.Dir, "gatekeeper")
	build := sh.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Dir, build.Env = filepath.Join(b.Root, "gatekeeper"), []string{"GOWORK=off", "CGO_ENABLED=0"}
	b.Say("building gatekeeper")
	if err := build.Run(ctx); err != nil {
		return nil, fmt.Errorf("build gatekeeper: %w", err)
	}
	tables := []Table{
		{Title: "a hook's p99, asked 300 times a second", Unit: "ms"},
		{Title: "one evaluation of all Canaries, every second", Unit: "ms"},
		{Title: "the latest an evaluation ended after its rhythm", Unit: "ms"},
		{Title: "processor time, of one processor", Unit: "%"},
		{Title: "processor time per Canary", Unit: "ms/s"},
		{Title: "resident memory", Unit: "MiB"},
	}
	for range b.Rounds {
		for _, n := range []int{1, 100, 1000} {
			got, err := b.crowd(ctx, program, n)
			if err != nil {
				return nil, err
			}
			for i, value := range got {
				tables[i].add(fmt.Sprintf("%d Canaries", n), value)
			}
		}
	}
	return tables, nil
}

// crowd measures with n Canaries; the values are in the order of the tables.
func (b *Bench) crowd(ctx context.Context, program string, n int) ([]float64, error) {
	b.Say(fmt.Sprintf("gatekeeper with %d Canaries", n))
	cluster, err := crowd.New(ctx, n)
	if err != nil {
		return nil, err
	}
	defer cluster.Close()
	dir, err := os.MkdirTemp(b.Dir, "crowd-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(cluster.Kubeconfig()), 0o600); err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	hooks, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	people, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	// Not on one processor: the gatekeeper is to be seen as it runs on two.
	keeper := &Bench{Config: b.Config}
	s, err := keeper.spawn(ctx, "", "http://"+people, "/healthz", nil, program, "serve", "--hook-listen", hooks, "--listen", people, "--data", dir, "--kubeconfig", kubeconfig)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := b.crowded(ctx, s.url, n); err != nil {
		return nil, errors.Join(err, errors.New(s.log.String()))
	}
	return b.watchKeeper(ctx, s, "http://"+hooks, n)
}

// crowded waits until all Canaries are under analysis.
func (b *Bench) crowded(ctx context.Context, url string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		m, err := figures(ctx, url)
		if err == nil && int(m["gatekeeper_rollouts_under_way"]) == n {
			return pause(ctx, settling)
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("wait for %d Canaries under analysis, there are %v: %w", n, m["gatekeeper_rollouts_under_way"], err)
		}
	}
}

func (b *Bench) watchKeeper(ctx context.Context, s *server, hooks string, n int) ([]float64, error) {
	before, err := figures(ctx, s.url)
	if err != nil {
		return nil, err
	}
	type answer struct {
		p99 float64
		err error
	}
	asked := make(chan answer, 1)
	go func() {
		p99, err := b.ask(ctx, hooks, n)
		asked <- answer{p99, err}
	}()
	var lag, memory float64
	begin := time.Now()
	for time.Since(begin) < watching {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		m, err := figures(ctx, s.url)
		if err != nil {
			return nil, err
		}
		lag, memory = max(lag, m["gatekeeper_evaluation_lag_seconds"]), max(memory, m["process_resident_memory_bytes"])
	}
	after, err := figures(ctx, s.url)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin).Seconds()
	got := <-asked
	if got.err != nil {
		return nil, got.err
	}
	rise := func(name string) float64 { return after[name] - before[name] }
	cpu := rise("process_cpu_seconds_total") / took
	return []float64{
		got.p99, 1000 * rise("gatekeeper_evaluation_duration_seconds_sum") / rise("gatekeeper_evaluation_duration_seconds_count"),
		1000 * lag, 100 * cpu, 1000 * cpu / float64(n), memory / (1 << 20),
	}, nil
}

// ask sends hooks as Flagger does, a new connection for each, and returns the p99 of the answers in milliseconds.
func (b *Bench) ask(ctx context.Context, hooks string, n int) (float64, error) {
	var targets strings.Builder
	for i := range n {
		for _, hook := range []string{"rollback", "rollout", "confirm-traffic-increase"} {
			body := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"name":%q,"namespace":%q,"phase":"Progressing"}`, crowd.Name(i), crowd.Namespace))
			fmt.Fprintf(&targets, `{"method":"POST","url":"%s/hooks/v1/%s","body":%q}`+"\n", hooks, hook, body)
		}
	}
	file, err := b.write("hooks.json", targets.String())
	if err != nil {
		return 0, err
	}
	results := filepath.Join(b.Dir, "hooks.bin")
	attack := sh.Command(b.vegeta, "attack", "-format=json", "-targets="+file, "-rate="+strconv.Itoa(hookRate), "-duration="+watching.String(), "-keepalive=false", "-output="+results)
	if err := attack.Run(ctx); err != nil {
		return 0, err
	}
	text, err := sh.Command(b.vegeta, "report", "-type=json", results).Output(ctx)
	if err != nil {
		return 0, err
	}
	var report struct {
		Latencies struct {
			P99 float64 `json:"99th"`
		} `json:"latencies"`
		Codes map[string]int `json:"status_codes"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return 0, fmt.Errorf("read vegeta's report: %w", err)
	}
	for code, times := range report.Codes {
		if code != "200" && code != "403" { // yes and no; all else is no answer
			return 0, fmt.Errorf("%d hooks were answered with %s", times, code)
		}
	}
	return report.Latencies.P99 / 1e6, nil
}

// figures are the samples of a metrics page without labels.
func figures(ctx context.Context, url string) (map[string]float64, error) {
	page, err := fetch(ctx, http.MethodGet, url+"/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(page) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil {
			all[name] = value
		}
	}
	return all, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
