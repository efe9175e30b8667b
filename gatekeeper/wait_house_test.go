package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

// gatekeeper is a real keeper on a real ledger behind the real door, on an address that survives it. It evaluates a
// hundred times a second, each time for a second of its own clock, and a Canary does what the test says.
type gatekeeper struct {
	t       *testing.T
	dir     string
	address string
	end     func()

	mu     sync.Mutex
	canary rollout.Canary
	now    time.Time
	bad    uint64 // of 100 responses of the canary in each second
	served map[string]rollout.Counts
}

func revisionOf(id string) rollout.Revision {
	return rollout.Revision{Hash: "hash-" + id, DeployID: id, Image: "registry.example/app:" + id}
}

// newGatekeeper looks at a Canary whose last release, v1, was promoted.
func newGatekeeper(t *testing.T) *gatekeeper {
	g := &gatekeeper{t: t, dir: t.TempDir(), address: "127.0.0.1:0", now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), served: map[string]rollout.Counts{}}
	g.canary = rollout.Canary{
		Key: rollout.Key{Namespace: "demo", Name: "shop"}, Phase: rollout.Succeeded, Policy: "lab", Next: 100, Interval: 10 * time.Second,
		Revision: revisionOf("v1"), Stable: revisionOf("v1"), Settled: g.now.Add(-time.Hour),
	}
	g.open()
	t.Cleanup(func() { g.end() })
	return g
}

func (g *gatekeeper) open() {
	g.t.Helper()
	memory, err := store.Open(context.Background(), filepath.Join(g.dir, "gatekeeper.db"))
	if err != nil {
		g.t.Fatal(err)
	}
	lab := policy.Default()
	lab.Name, lab.Bake = "lab", policy.Bake{First: 20 * time.Second, Step: 10 * time.Second}
	policies := policy.Set{"lab": lab, "default": policy.Default()}
	conductor, err := keeper.New(context.Background(), keeper.Config{
		Cluster: g, Meter: g, Ledger: memory, Route: func(policy.Rules, rollout.News) []string { return nil }, Policies: policies,
		Metrics: keeper.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: g.clock,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	tokens, err := web.NewTokens([]web.Token{{Role: web.CI, Name: "pipeline", Secret: "a-pipeline's-token"}}, "", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		g.t.Fatal(err)
	}
	stopping := make(chan struct{})
	door := web.New(web.Config{
		Desk: memory, Conductor: conductor, Now: g.clock, AlertTime: time.Hour, Policies: policies, Healthy: func() error { return nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Stopping: stopping,
		Access: web.Access{Anonymous: web.Viewer, Tokens: tokens}, Rate: 1e6,
	})
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.address = listener.Addr().String()
	server := &http.Server{Handler: door, ReadHeaderTimeout: time.Second}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(listener) })
	work.Go(func() {
		for {
			select {
			case <-stopping:
				return
			case <-time.After(10 * time.Millisecond):
				g.mu.Lock()
				g.now = g.now.Add(time.Second)
				g.mu.Unlock()
				if err := conductor.Tick(context.Background()); err != nil {
					g.t.Error(err)
				}
			}
		}
	})
	g.end = func() { // as by kill -9: open answers are cut off
		close(stopping)
		_ = server.Close()
		work.Wait()
		if err := memory.Close(); err != nil {
			g.t.Error(err)
		}
		g.end = func() {}
	}
}

func (g *gatekeeper) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func (g *gatekeeper) Synced() bool { return true }

func (g *gatekeeper) Canaries() ([]rollout.Canary, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return []rollout.Canary{g.canary}, nil
}

// Read lets the canary serve 100 requests since the last look while it has traffic.
func (g *gatekeeper) Read(_ context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, _ rollout.Book, _ rollout.SLI) rollout.Tick {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.Weight > 0 {
		g.served[r.ID] = g.served[r.ID].Add(rollout.Counts{Good: 100 - g.bad, Bad: g.bad})
	}
	return rollout.Tick{
		At: now, Phase: c.Phase, Weight: c.Weight, Next: c.Next, Canary: g.served[r.ID], Primary: rollout.Counts{Good: 1000}, Answering: 1, Health: rollout.Health{Pods: 1, Ready: 1},
	}
}

func (g *gatekeeper) set(change func(c *rollout.Canary)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.canary)
}

// deployed is what helm upgrade to v2 does: the target changes, and for a while the Canary says what it said.
func (g *gatekeeper) deployed() {
	g.set(func(c *rollout.Canary) { c.Revision = revisionOf("v2") })
}

func (g *gatekeeper) flows(id string, bad uint64) {
	g.set(func(c *rollout.Canary) {
		c.Revision, c.Phase, c.Weight, c.Settled = revisionOf(id), rollout.Progressing, 10, time.Time{}
		g.bad = bad
	})
}

func (g *gatekeeper) rests(phase rollout.Phase) {
	g.set(func(c *rollout.Canary) {
		c.Phase, c.Weight, c.Settled = phase, 0, g.now
		if phase == rollout.Succeeded {
			c.Stable = c.Revision
		}
	})
}

// output is what a command has printed so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// waiting is a wait for v2 that runs beside the test.
type waiting struct {
	t        *testing.T
	out, err printed
	code     chan int
}

func (g *gatekeeper) wait(ctx context.Context, more ...string) *waiting {
	w := &waiting{t: g.t, code: make(chan int, 1)}
	go func() {
		err := run(ctx, append([]string{"wait", "--deploy-id", "v2", "--server", "http://" + g.address}, more...), &w.out, &w.err)
		code := 0
		if err != nil {
			code = exitCode(err)
			fmt.Fprintln(&w.err, "gatekeeper:", err)
		}
		w.code <- code
	}()
	return w
}

// until waits until the command has said it.
func (w *waiting) until(says string) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(w.out.String()+w.err.String(), says) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it did not say %q:\n%s%s", says, w.out.String(), w.err.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *waiting) ends(code int, says string) {
	w.t.Helper()
	select {
	case got := <-w.code:
		if said := w.out.String() + w.err.String(); got != code || !strings.Contains(said, says) {
			w.t.Errorf("exit %d, want %d and %q:\n%s", got, code, says, said)
		}
	case <-time.After(30 * time.Second):
		w.t.Fatalf("it does not end:\n%s%s", w.out.String(), w.err.String())
	}
}

// The whole way of a release, awaited from before it is deployed: all the time until Flagger looks at it the Canary says
// that it succeeded, with the release before (flagger-facts §0.17).
func TestWaitFollowsOneReleaseThroughTheGatekeeper(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*gatekeeper, *waiting)
		code int
		says string
	}{
		"promoted": {func(g *gatekeeper, w *waiting) {
			g.flows("v2", 0)
			w.until(" 10 %  ")
			w.until("pass  ")
			g.rests(rollout.Succeeded)
		}, 0, "v2 (hash-v2) of demo/shop was promoted"},
		"rolled back": {func(g *gatekeeper, w *waiting) {
			g.flows("v2", 50)
			w.until("fail  ")
			g.rests(rollout.Failed)
		}, 2, "gatekeeper: "},
		"superseded": {func(g *gatekeeper, w *waiting) {
			g.flows("v2", 0)
			w.until(" 10 %  ")
			g.flows("v3", 0)
		}, 4, "superseded by a newer revision"},
		"the gatekeeper dies and comes back": {func(g *gatekeeper, w *waiting) {
			g.flows("v2", 0)
			w.until(" 10 %  ")
			g.end()
			w.until("asking again")
			g.rests(rollout.Succeeded) // while nobody looks
			g.open()
			w.until("answers again")
		}, 0, "was promoted"},
		"the Canary is made anew": {func(g *gatekeeper, w *waiting) {
			g.flows("v2", 0)
			w.until(" 10 %  ")
			g.set(func(c *rollout.Canary) { c.Phase, c.Weight = rollout.Initialized, 0 })
		}, 2, "was aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGatekeeper(t)
			w := g.wait(t.Context(), "--canary", "demo/shop", "--timeout", "1m")
			w.until("nothing carries the deploy id v2 yet")
			g.deployed()
			w.until("Flagger has not begun with it (phase Succeeded)")
			c.then(g, w)
			w.ends(c.code, c.says)
		})
	}
}

func TestWaitOfWhatIsThereAlready(t *testing.T) {
	t.Parallel()
	g := newGatekeeper(t)
	g.set(func(c *rollout.Canary) {
		c.Phase, c.Revision, c.Stable = rollout.Initialized, revisionOf("v2"), revisionOf("v2")
	})
	g.wait(t.Context()).ends(4, "runs the deploy id v2 already")
}

func TestWaitGivesTheReportToGitHub(t *testing.T) {
	t.Parallel()
	g := newGatekeeper(t)
	summary, outputs := filepath.Join(t.TempDir(), "summary"), filepath.Join(t.TempDir(), "outputs")
	w := g.wait(t.Context(), "--in-actions", "--summary-file", summary, "--output-file", outputs)
	g.flows("v2", 50)
	w.until("fail  ")
	g.rests(rollout.Failed)
	w.ends(2, "::error title=release v2%3A rolled-back::")
	text, err := os.ReadFile(summary)
	if err != nil || !strings.Contains(string(text), "was rolled back to") || !strings.Contains(string(text), "| 10 % |") {
		t.Errorf("%v, the summary is\n%s", err, text)
	}
}

func TestACancelledWaitAbortsInTheGatekeeper(t *testing.T) {
	t.Parallel()
	g := newGatekeeper(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	w := g.wait(ctx, "--abort-on-cancel", "--token", "a-pipeline's-token")
	g.flows("v2", 0)
	w.until(" 10 %  ")
	cancel(errors.New("by GitHub"))
	w.ends(130, "interrupted; the release was sent back")
	again := g.wait(t.Context())
	again.until("aborted by pipeline: the pipeline that waited for it was cancelled")
	g.rests(rollout.Failed)
	again.ends(2, "aborted by pipeline")
}
