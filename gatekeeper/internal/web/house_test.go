package web

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // or each test lists the routes
	os.Exit(m.Run())
}

// house is the people's door in front of a real keeper on a real ledger, with Canaries and a clock that the test moves.
type house struct {
	t      *testing.T
	store  *store.Store
	keeper *keeper.Keeper
	cfg    Config
	door   http.Handler

	mu       sync.Mutex
	canaries []rollout.Canary
	now      time.Time
	bad      uint64 // of 100 responses of the canary in each second
	served   map[string]rollout.Counts
}

var podinfo = rollout.Key{Namespace: "demo", Name: "podinfo"}

func newHouse(t *testing.T, furnish ...func(*Config)) *house {
	h := &house{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), served: map[string]rollout.Counts{}}
	h.canaries = []rollout.Canary{{Key: podinfo, Phase: rollout.Succeeded, Policy: "lab", Revision: revision("v1"), Stable: revision("v1"), Interval: 10 * time.Second, Next: 100}}
	var err error
	if h.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "gatekeeper.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.store.Close() })
	lab := policy.Default()
	lab.Name, lab.Bake, lab.Gates.Approval = "lab", policy.Bake{First: 20 * time.Second, Step: 10 * time.Second}, policy.ApproveStart
	policies := policy.Set{"lab": lab, "default": policy.Default()}
	h.keeper, err = keeper.New(t.Context(), keeper.Config{
		Cluster: h, Meter: h, Ledger: h.store, Route: func(policy.Rules, rollout.News) []string { return []string{"pager"} }, Policies: policies,
		Metrics: keeper.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: h.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg = Config{
		Desk: h.store, Conductor: h.keeper, Now: h.clock, AlertTime: time.Hour, Policies: policies, Healthy: func() error { return nil },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Access: Access{Anonymous: Viewer, Tokens: secrets(t)},
	}
	for _, f := range furnish {
		f(&h.cfg)
	}
	h.door = New(h.cfg)
	h.pass(1)
	return h
}

func revision(id string) rollout.Revision {
	return rollout.Revision{Hash: "hash-" + id, DeployID: id, Image: "registry.example/app:" + id}
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) Synced() bool { return true }

func (h *house) Canaries() ([]rollout.Canary, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.canaries), nil
}

// Read lets the canary serve 100 requests since the last look while it has traffic.
func (h *house) Read(_ context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, _ rollout.Book, _ rollout.SLI) rollout.Tick {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Weight > 0 {
		h.served[r.ID] = h.served[r.ID].Add(rollout.Counts{Good: 100 - h.bad, Bad: h.bad})
	}
	return rollout.Tick{
		At: now, Phase: c.Phase, Weight: c.Weight, Next: c.Next, Canary: h.served[r.ID], Primary: rollout.Counts{Good: 1000}, Answering: 1, Health: rollout.Health{Pods: 1, Ready: 1},
	}
}

// set changes the first Canary.
func (h *house) set(change func(c *rollout.Canary)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.canaries[0])
}

// pass lets seconds go by, with an evaluation at each.
func (h *house) pass(seconds int) {
	h.t.Helper()
	for range seconds {
		h.mu.Lock()
		h.now = h.now.Add(time.Second)
		h.mu.Unlock()
		if err := h.keeper.Tick(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// release lets a revision be deployed and Flagger begin with it, and returns the id of its rollout.
func (h *house) release(id string) string {
	h.t.Helper()
	h.set(func(c *rollout.Canary) { c.Revision, c.Phase, c.Weight = revision(id), rollout.Progressing, 0 })
	h.pass(2)
	s, err := h.keeper.Why(podinfo)
	if err != nil || s.Rollout == nil || s.Rollout.Revision.DeployID != id {
		h.t.Fatalf("no rollout of %s has begun: %+v %v", id, s, err)
	}
	return s.Rollout.ID
}

func (h *house) weight(percent int) { h.set(func(c *rollout.Canary) { c.Weight = percent }) }

// ends lets Flagger come to rest.
func (h *house) ends(phase rollout.Phase) {
	h.t.Helper()
	h.set(func(c *rollout.Canary) {
		c.Phase, c.Weight = phase, 0
		if phase == rollout.Succeeded {
			c.Stable = c.Revision
		}
	})
	h.pass(2)
}

func (h *house) verdict(query string) Verdict { return verdictOf(h.t, h.door, query) }

func verdictOf(t *testing.T, door http.Handler, query string) (v Verdict) {
	t.Helper()
	rec := ask(t, door, http.MethodGet, "/api/v1/verdict?"+query, "", "")
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusOK {
		t.Errorf("%s: %d %s: %v", query, rec.Code, rec.Body, err)
	}
	return v
}

// event is one of a stream.
type event struct{ id, name, data string }

// listener reads a stream of events from a real server.
type listener struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
}

func listen(t *testing.T, server *httptest.Server, path, lastID string) *listener {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &listener{t, resp, bufio.NewScanner(resp.Body)}
}

// next is the stream's next event, ok is false at its end.
func (l *listener) next() (e event, ok bool) {
	for l.lines.Scan() {
		name, value, _ := strings.Cut(l.lines.Text(), ":")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e, true
			}
		}
	}
	return event{}, false
}
