package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// scene is the people's door before a real keeper and a real store. The test moves the clock, the Canaries and what their
// pods have counted.
type scene struct {
	t        testing.TB
	store    *store.Store
	keeper   *keeper.Keeper
	policies policy.Set
	door     http.Handler

	mu       sync.Mutex // guards what follows: the door's requests read it
	now      time.Time
	canaries map[rollout.Key]rollout.Canary
	counted  map[rollout.Key][2]rollout.Counts // of canary and primary
}

var (
	podinfo = rollout.Key{Namespace: "demo", Name: "podinfo"}
	cart    = rollout.Key{Namespace: "shop", Name: "cart"}
	search  = rollout.Key{Namespace: "shop", Name: "search"}
)

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, now: time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC), canaries: map[rollout.Key]rollout.Canary{}, counted: map[rollout.Key][2]rollout.Counts{}}
	var err error
	if s.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "gatekeeper.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	careful := policy.Default()
	careful.Name, careful.Gates.Approval = "careful", policy.ApprovePromotion
	careful.Bake = policy.Bake{First: 20 * time.Second, Step: 10 * time.Second}
	office := policy.Default()
	office.Name, office.Gates.Freeze = "office", []policy.Freeze{{From: "Wed 08:00", To: "Thu 08:00", Zone: "Europe/Berlin"}}
	policies := policy.Set{"default": policy.Default(), "careful": careful, "office": office}
	s.keeper, err = keeper.New(t.Context(), keeper.Config{
		Cluster: s, Meter: s, Ledger: s.store, Route: func(policy.Rules, rollout.News) []string { return nil }, Policies: policies,
		Metrics: keeper.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler), Now: s.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.policies = policies
	s.open(Access{Anonymous: Viewer, Tokens: secrets(t)})
	return s
}

// open makes the door anew, for others.
func (s *scene) open(access Access) { s.door = New(s.config(access)) }

func (s *scene) config(access Access) Config {
	return Config{
		Desk: s.store, Conductor: s.keeper, Policies: s.policies, Healthy: func() error { return nil }, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.DiscardHandler), Now: s.clock, AlertTime: time.Hour, Access: access, Rate: 1e6,
		Links: trace.Links{Template: "https://traces.example/{trace_id}", Rollouts: true},
	}
}

func (s *scene) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scene) Synced() bool { return true }

func (s *scene) Canaries() ([]rollout.Canary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []rollout.Canary
	for _, c := range s.canaries {
		all = append(all, c)
	}
	return all, nil
}

func (s *scene) Read(_ context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, _ rollout.Book, _ rollout.SLI) rollout.Tick {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counted[r.Canary]
	var failing []rollout.Failing
	if counts[0].Bad > 0 && len(r.Failing) == 0 {
		failing = []rollout.Failing{{Trace: strings.Repeat("ab", 16), At: now, Route: "/" + r.Canary.Name, Status: "500", Seconds: .0125}}
	}
	return rollout.Tick{
		Failing: failing,
		At:      now, Phase: c.Phase, Weight: c.Weight, Next: c.Next, Canary: counts[0], Primary: counts[1], Answering: 2, Health: rollout.Health{Pods: 2, Ready: 2},
	}
}

// canary sets how the cluster has a Canary: its phase, its weight and the next one, and the versions.
func (s *scene) canary(key rollout.Key, policyName string, phase rollout.Phase, weight, next int, stable, revision string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := func(v string) rollout.Revision {
		return rollout.Revision{Hash: "6f7c" + v[:1] + "d9b", Image: "registry.example/" + key.Name + ":" + v, DeployID: "build-" + v}
	}
	s.canaries[key] = rollout.Canary{Key: key, Phase: phase, Policy: policyName, Weight: weight, Next: next, Interval: 10 * time.Second, Stable: version(stable), Revision: version(revision)}
}

// pass lets seconds go by, with an evaluation at each, and so many responses of a Canary's new version in each.
func (s *scene) pass(seconds int, key rollout.Key, good, bad uint64) {
	s.t.Helper()
	for range seconds {
		s.mu.Lock()
		s.now = s.now.Add(time.Second)
		counts := s.counted[key]
		s.counted[key] = [2]rollout.Counts{counts[0].Add(rollout.Counts{Good: good, Bad: bad}), counts[1].Add(rollout.Counts{Good: 8 * good})}
		s.mu.Unlock()
		if err := s.keeper.Tick(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// id is the rollout of a Canary that is under way.
func (s *scene) id(key rollout.Key) string {
	s.t.Helper()
	standing, err := s.keeper.Why(key)
	if err != nil || standing.Rollout == nil {
		s.t.Fatalf("no rollout of %s is under way: %v", key, err)
	}
	return standing.Rollout.ID
}

// ended is the newest rollout of a Canary whose rollout is over.
func (s *scene) ended(key rollout.Key) string {
	s.t.Helper()
	all, err := s.store.List(s.t.Context(), key.String(), 1)
	if err != nil || len(all) != 1 || all[0].Result == "" {
		s.t.Fatalf("no rollout of %s has ended: %v", key, err)
	}
	return all[0].ID
}

// decisions are what was said about a Canary's rollout, as it is remembered.
func (s *scene) decisions(key rollout.Key) []rollout.Decision {
	s.t.Helper()
	r, err := s.store.Get(s.t.Context(), s.id(key))
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Decisions
}

// play is a morning: a release that waits for the approval of its promotion, one that is frozen, one that came back.
func (s *scene) play() {
	s.canary(search, "default", rollout.Succeeded, 0, 100, "4.1.0", "4.1.0")
	s.pass(1, search, 0, 0)
	s.canary(search, "default", rollout.Progressing, 0, 10, "4.1.0", "4.2.0")
	s.pass(2, search, 0, 0)
	s.canary(search, "default", rollout.Progressing, 10, 25, "4.1.0", "4.2.0")
	s.pass(12, search, 16, 4)
	s.canary(search, "default", rollout.Failed, 0, 10, "4.1.0", "4.2.0")
	s.pass(25, search, 0, 0)

	s.canary(cart, "office", rollout.Succeeded, 0, 10, "7.0.2", "7.0.2")
	s.canary(podinfo, "careful", rollout.Succeeded, 0, 10, "1.9.4", "1.9.4")
	s.pass(1, podinfo, 0, 0)
	s.canary(cart, "office", rollout.Waiting, 0, 10, "7.0.2", "7.1.0")
	s.canary(podinfo, "careful", rollout.Progressing, 0, 10, "1.9.4", "2.0.0")
	s.pass(3, podinfo, 0, 0)
	for _, step := range [][2]int{{10, 25}, {25, 50}, {50, 100}} {
		s.canary(podinfo, "careful", rollout.Progressing, step[0], step[1], "1.9.4", "2.0.0")
		s.pass(40, podinfo, 20, 0)
		s.pass(1, podinfo, 20, 1)
	}
	s.canary(podinfo, "careful", rollout.WaitingPromotion, 50, 100, "1.9.4", "2.0.0")
	s.pass(20, podinfo, 40, 0)
}

// serve lets browsers come.
func (s *scene) serve() *httptest.Server {
	server := httptest.NewServer(s.door)
	s.t.Cleanup(server.Close)
	return server
}
