package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

func newDoor(t *testing.T, healthy error) (http.Handler, rollout.Rollout, Config) {
	t.Helper()
	dir := t.TempDir()
	memory, err := store.Open(t.Context(), filepath.Join(dir, "gatekeeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "podinfo"}, Revision: rollout.Revision{Hash: "abc", Image: "app:2"}, Policy: "default"}, now)
	r.Observe(rollout.Tick{At: now, Weight: 10, Canary: rollout.Counts{Good: 3, Bad: 1}, Age: 1500 * time.Millisecond, Answering: 1})
	tick := rollout.Judge(r.Latest, rollout.Verdict{Outcome: rollout.Hold})
	r.Tape = r.Tape.Add(tick)
	if err := memory.Save(t.Context(), rollout.Change{Rollout: r, Ticks: []rollout.JudgedTick{tick}}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Desk: memory, Conductor: &conductor{}, Now: time.Now, AlertTime: time.Hour, Policies: map[string]policy.Rules{"default": policy.Default()},
		Healthy: func() error { return healthy }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Access: Access{Anonymous: Viewer, Tokens: secrets(t)}, Rate: 1e6,
	}
	return New(cfg), r, cfg
}

// secrets are one token for each role.
func secrets(t testing.TB) *Tokens {
	t.Helper()
	tokens, err := NewTokens([]Token{{Viewer, "vic", "viewer-secret"}, {Operator, "ann", "operator-secret"}, {CI, "build", "ci-secret"}, {Alerts, "alertmanager", "alerts-secret"}, {Flagger, "flagger", "flagger-secret"}},
		"", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func get(h http.Handler, path string) (status int, body string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

func TestRolloutsAsJSON(t *testing.T) {
	h, r, _ := newDoor(t, nil)
	status, body := get(h, "/api/v1/rollouts?canary=demo/podinfo&result=open")
	var list struct {
		Rollouts []rollout.Brief
		Total    int
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK || list.Total != 1 || len(list.Rollouts) != 1 || list.Rollouts[0].ID != r.ID || list.Rollouts[0].Weight != 10 {
		t.Fatalf("status %d: %v: %s", status, err, body)
	}
	if status, body = get(h, "/api/v1/rollouts?canary=demo/other"); status != 200 || body != `{"rollouts":[],"total":0}` {
		t.Errorf("another Canary: %d %s", status, body)
	}
	status, body = get(h, "/api/v1/rollouts/"+r.ID)
	var got struct {
		ID      string
		Weight  int
		EndedAt *time.Time
		Latest  struct {
			Age    float64
			Canary rollout.Counts
		}
		Steps []struct {
			Weight int
			To     *time.Time
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %v: %s", status, err, body)
	}
	if got.ID != r.ID || got.Weight != 10 || got.EndedAt != nil || got.Latest.Age != 1.5 || got.Latest.Canary.Bad != 1 || got.Steps[0].To != nil {
		t.Errorf("got %s", body)
	}
	if status, body = get(h, "/api/v1/rollouts/nobody"); status != 404 || !strings.Contains(body, "not found") {
		t.Errorf("unknown id: %d %s", status, body)
	}
}

func TestWhatAListIsAskedFor(t *testing.T) {
	h, _, _ := newDoor(t, nil)
	for q, want := range map[string]int{
		"?limit=200&offset=3&since=2026-01-01&before=2026-01-31T12:00:00Z&q=app&deployId=x&result=rolled-back": 200,
		"?limit=0": 400, "?limit=201": 400, "?limit=many": 400, "?offset=-1": 400, "?offset=1000001": 400, "?since=yesterday": 400, "?before=2026-13-01": 400,
		"?result=lost": 400, "?canary=podinfo": 400, "?q=" + strings.Repeat("x", 201): 400, "?deployId=" + strings.Repeat("x", 301): 400,
	} {
		if status, body := get(h, "/api/v1/rollouts"+q); status != want || status == 400 && !strings.Contains(body, `"error"`) {
			t.Errorf("%s: %d %s, want %d", q, status, body, want)
		}
	}
}

func TestProbesAndUnknownPaths(t *testing.T) {
	h, _, _ := newDoor(t, errors.New("evaluator stands still"))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/": 200, "/nothing": 404, "/api/v1/rollouts/..%2f..": 404, "/hooks/v1/rollback": 404} {
		if status, body := get(h, path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}
