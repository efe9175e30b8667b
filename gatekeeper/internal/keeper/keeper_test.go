package keeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// cluster is a Canary whose state the test moves.
type cluster struct {
	mu     sync.Mutex
	canary rollout.Canary
	gone   bool
}

func (c *cluster) Synced() bool { return true }

func (c *cluster) Canaries() ([]rollout.Canary, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, nil
	}
	return []rollout.Canary{c.canary}, nil
}

// house is a keeper on a real ledger, a real meter and real pods, with a clock that the test moves.
type house struct {
	t       *testing.T
	dir     string
	dsn     string // of the ledger; "": a SQLite file in dir
	cluster *cluster
	now     time.Time
	wall    time.Duration // by how much the wall's clock was set since the process began
	store   *store.Store
	keeper  *keeper.Keeper
	metrics *prometheus.Registry // of the process
	told    []rollout.Happening  // what people were told so far
	good    atomic.Int64         // of the canary pod
	bad     atomic.Int64
	lab     func(*policy.Rules) // changes the policy of the Canary
	change  func(*keeper.Config)
}

var key = rollout.Key{Namespace: "demo", Name: "podinfo"}

func newHouse(t *testing.T, furnish ...func(*house)) *house {
	h := &house{t: t, dir: t.TempDir(), cluster: &cluster{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	h.cluster.canary = rollout.Canary{Key: key, Phase: rollout.Succeeded, Policy: "lab", Revision: revision("v1"), Stable: revision("p1"), Interval: 10 * time.Second, Next: 100}
	for _, f := range furnish {
		f(h)
	}
	h.open()
	return h
}

func revision(hash string) rollout.Revision {
	return rollout.Revision{Hash: hash, Image: "registry.example/app:" + hash}
}

func (h *house) open() {
	var err error
	dsn := h.dsn
	if dsn == "" {
		dsn = filepath.Join(h.dir, "gatekeeper.db")
	}
	if h.store, err = store.Open(h.t.Context(), dsn); err != nil {
		h.t.Fatal(err)
	}
	if err := h.store.Lead(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = h.store.Close() })
	h.t.Cleanup(h.verifies)
	lab := policy.Default()
	lab.Name, lab.Bake = "lab", policy.Bake{First: 20 * time.Second, Step: 10 * time.Second}
	if h.lab != nil {
		h.lab(&lab)
	}
	h.metrics = prometheus.NewRegistry()
	config := keeper.Config{
		Cluster: h.cluster, Meter: count.New(time.Second, nil), Ledger: h.store,
		Route:    func(policy.Rules, rollout.News) []string { return []string{"pager"} },
		Policies: map[string]policy.Rules{"lab": lab, "default": policy.Default()},
		Metrics:  keeper.NewMetrics(h.metrics),
		Log:      slog.New(slog.DiscardHandler), Now: func() time.Time { return h.now }, Wall: func() time.Time { return h.now.Add(h.wall) },
	}
	if h.change != nil {
		h.change(&config)
	}
	h.keeper, err = keeper.New(h.t.Context(), config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.metrics.MustRegister(h.keeper)
}

// verifies fails when the ledger of a house, at the end of its test, does not fit together.
func (h *house) verifies() {
	file := &bytes.Buffer{}
	if err := h.store.WriteLedger(context.Background(), file); err != nil {
		return // the test closed it
	}
	v := ledger.NewVerifier("")
	for line, err := range ledger.Read(file) {
		if err = errors.Join(err, v.Take(line)); err != nil {
			h.t.Errorf("the ledger: %v", err)
			return
		}
	}
	if sum, err := v.Close(); err != nil || len(sum.Notes) > 0 {
		h.t.Errorf("the ledger: %v %v", sum.Notes, err)
	}
}

// restart ends the process without a word and starts the next one on the same volume.
func (h *house) restart() {
	if err := h.store.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

// release lets Flagger detect a revision, with one canary pod that answers.
func (h *house) release(hash string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "http_requests_total{status=\"200\"} %d\nhttp_requests_total{status=\"500\"} %d\n", h.good.Load(), h.bad.Load())
	}))
	h.t.Cleanup(server.Close)
	h.good.Store(0)
	h.bad.Store(0)
	h.set(func(c *rollout.Canary) {
		c.Phase, c.Revision, c.Weight = rollout.Progressing, revision(hash), 0
		c.Pods = []rollout.Pod{{UID: hash, Name: hash, Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Hash: hash, Ready: true, CreatedAt: h.now}}
	})
}

func (h *house) set(change func(c *rollout.Canary)) {
	h.cluster.mu.Lock()
	defer h.cluster.mu.Unlock()
	change(&h.cluster.canary)
}

func (h *house) weight(w int) { h.set(func(c *rollout.Canary) { c.Weight = w }) }

// pass lets seconds go by, with an evaluation at each and responses of the canary in each.
func (h *house) pass(seconds int, good, bad int64) {
	h.t.Helper()
	for range seconds {
		h.now = h.now.Add(time.Second)
		h.good.Add(good)
		h.bad.Add(bad)
		if err := h.keeper.Tick(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) want(hook rollout.Hook, yes bool) {
	h.t.Helper()
	got, why, err := h.keeper.Ask(hook, key)
	if err != nil || got != yes {
		h.t.Fatalf("%s: %v %q %v, want %v", hook, got, why, err, yes)
	}
}

// ends lets Flagger bring the Canary to rest and tell of it, and returns the newest rollout once it is reported.
func (h *house) ends(phase rollout.Phase) rollout.Rollout {
	h.t.Helper()
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = phase, 0, nil })
	if err := h.keeper.Finished(h.t.Context(), key, phase); err != nil {
		h.t.Fatal(err)
	}
	h.pass(2, 0, 0)
	return h.newest()
}

func (h *house) newest() rollout.Rollout {
	h.t.Helper()
	all := h.all()
	if len(all) == 0 {
		h.t.Fatal("no rollout was recorded")
	}
	return all[0]
}

func (h *house) all() []rollout.Rollout {
	all, err := h.store.List(h.t.Context(), key.String(), 100)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// wantNews compares what people were told, in order.
func (h *house) wantNews(want ...rollout.Happening) {
	h.t.Helper()
	for { // a rollout's messages come one after the other
		due, err := h.store.Due(h.t.Context(), h.now)
		if err != nil {
			h.t.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		if err := h.store.Delivered(h.t.Context(), due[0].News.Key(), due[0].Sink, ""); err != nil {
			h.t.Fatal(err)
		}
		h.told = append(h.told, due[0].News.Event)
	}
	if fmt.Sprint(h.told) != fmt.Sprint(want) {
		h.t.Errorf("people were told %v, want %v", h.told, want)
	}
}

func (h *house) wantOneEntry() {
	h.t.Helper()
	entries, err := h.store.Entries(h.t.Context(), 0, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	closing, last := 0, rollout.Entry{}
	for _, e := range entries {
		if e.Previous != last.Hash || e.Seq != last.Seq+1 || e.Hash != e.Sum() {
			h.t.Errorf("entry %d does not follow %d", e.Seq, last.Seq)
		}
		if last = e; e.Kind == rollout.EntryRollout {
			closing++
		}
	}
	if closing != 1 {
		h.t.Errorf("the ledger has %d closing entries, want 1", closing)
	}
}

func TestAGoodReleaseGoesUpStepByStepAndIsPromoted(t *testing.T) {
	h := newHouse(t)
	h.pass(3, 0, 0)
	h.want(rollout.ConfirmRollout, true)
	h.release("v2")
	h.pass(2, 0, 0)
	h.want(rollout.PreRollout, true)
	h.want(rollout.ConfirmTrafficIncrease, true) // to the first weight

	h.weight(10)
	h.pass(20, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, false) // the 20th second is not over
	h.pass(1, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.weight(100)
	h.pass(10, 20, 0)
	h.want(rollout.ConfirmPromotion, false)
	h.pass(1, 20, 0)
	h.want(rollout.ConfirmPromotion, true)
	h.want(rollout.Rollback, false)

	h.set(func(c *rollout.Canary) { c.Phase = rollout.Promoting })
	h.pass(3, 20, 0)
	r := h.ends(rollout.Succeeded)
	if r.Result != rollout.Promoted || !r.Reported || r.Latest.Canary != (rollout.Counts{Good: 20 * 35}) || len(r.Steps) != 2 {
		t.Errorf("got %+v", r)
	}
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.Promoted))
	h.wantOneEntry()
}

func TestABadReleaseIsRolledBackAndTold(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(4, 20, 5)
	h.want(rollout.Rollback, false) // one block, which may be one burst
	h.pass(1, 20, 5)
	h.want(rollout.Rollback, true)
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.want(rollout.ConfirmPromotion, false)
	h.pass(60, 1000, 0) // later success does not undo it
	h.want(rollout.Rollback, true)

	r := h.ends(rollout.Failed)
	if r.Result != rollout.RolledBack || r.Verdict.Outcome != rollout.Fail {
		t.Errorf("got %+v", r)
	}
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack))
	h.wantOneEntry()
	h.want(rollout.Rollback, false) // it is over
}

func TestARestartForgetsNothing(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(8, 20, 5)
	h.restart()
	h.wantUnknown(rollout.ConfirmTrafficIncrease) // before the first tick the Canary is not known: no
	h.now = h.now.Add(3 * time.Second)
	h.good.Add(60)
	h.bad.Add(15) // responses while nobody looked
	h.pass(1, 20, 5)
	h.want(rollout.Rollback, true)
	h.restart() // a fail survives too
	h.pass(1, 0, 0)
	h.want(rollout.Rollback, true)

	r := h.ends(rollout.Failed)
	if r.Latest.Canary != (rollout.Counts{Good: 240, Bad: 60}) {
		t.Errorf("counted %+v, want 240 good and 60 bad", r.Latest.Canary)
	}
	if len(h.all()) != 1 {
		t.Errorf("%d rollouts, want 1", len(h.all()))
	}
	h.restart()
	h.pass(3, 0, 0)
	h.wantOneEntry()
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.RolledBack))
}

// wantUnknown asks about a Canary that the keeper has not seen yet.
func (h *house) wantUnknown(hook rollout.Hook) {
	h.t.Helper()
	if yes, _, err := h.keeper.Ask(hook, key); yes || !errors.Is(err, rollout.ErrUnknownCanary) {
		h.t.Fatalf("%s: %v %v, want an unknown Canary", hook, yes, err)
	}
}

func TestALostPostRolloutIsMadeUpForByTheCanarysStatus(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = rollout.Failed, 0, nil })
	h.pass(2, 0, 0)
	r := h.newest()
	if r.Result != rollout.RolledBack || !strings.Contains(r.Summary(), "by Flagger itself") {
		t.Errorf("got %s: %s", r.Result, r.Summary())
	}
	h.wantOneEntry()
}

func TestAPostRolloutAloneEndsNothing(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	if err := h.keeper.Finished(t.Context(), key, rollout.Failed); err != nil {
		t.Fatal(err)
	}
	h.pass(5, 0, 0) // the Canary still is Progressing: the message was early, or forged
	if r := h.newest(); r.Result != "" || len(h.all()) != 1 {
		t.Errorf("%d rollouts, the newest %q", len(h.all()), r.Result)
	}
	h.set(func(c *rollout.Canary) { c.Phase = rollout.Failed })
	h.pass(1, 0, 0)
	h.release("v2") // the same revision once more, for good reasons
	h.pass(2, 0, 0)
	if len(h.all()) != 2 {
		t.Errorf("%d rollouts, want 2", len(h.all()))
	}
}

func TestBackToTheCandidateBefore(t *testing.T) {
	h := newHouse(t)
	for _, hash := range []string{"a", "b", "a"} {
		h.release(hash)
		h.pass(3, 0, 0)
		h.want(rollout.PreRollout, true)
	}
	if all := h.all(); len(all) != 3 || all[0].Revision.Hash != "a" || all[0].Result != "" {
		t.Errorf("got %+v", all)
	}
}

func TestANewRevisionSupersedesAndIsJudgedOnItsOwn(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(50)
	h.pass(12, 20, 5)
	h.want(rollout.Rollback, true)
	h.release("v3")
	h.weight(50) // Flagger sets it back at its next tick only
	h.pass(5, 0, 0)
	h.want(rollout.Rollback, false)
	h.weight(0)
	h.pass(2, 0, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	h.weight(10)
	h.pass(20, 20, 0)
	h.want(rollout.ConfirmTrafficIncrease, false) // the first weight bakes its full time
	all := h.all()
	if len(all) != 2 || all[1].Result != rollout.Superseded || len(all[0].Steps) != 1 || all[0].Latest.Canary != (rollout.Counts{Good: 400}) {
		t.Errorf("got %+v", all)
	}
	h.wantNews(rollout.HasStarted, rollout.Happening(rollout.Superseded), rollout.HasStarted)
}

func TestAPushDuringThePromotionIsNotPromoted(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(100)
	h.pass(30, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Revision = rollout.Promoting, revision("v3") })
	h.pass(3, 0, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = rollout.Succeeded, 0, nil })
	h.pass(2, 0, 0)
	all := h.all()
	if len(all) != 1 || all[0].Revision.Hash != "v2" || all[0].Result != rollout.Promoted {
		t.Errorf("got %+v", all)
	}
}

func TestAKillBetweenTheSavesOfASupersede(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(3, 0, 0)
	h.release("v3")
	h.now = h.now.Add(time.Second)
	newer := rollout.New(h.cluster.canary, h.now)
	newer.PolicyDigest = h.newest().PolicyDigest
	if err := h.store.Save(t.Context(), rollout.Change{Rollout: newer, Book: rollout.Book{}}); err != nil { // v3's begin was saved with a decision about it, before v2's end
		t.Fatal(err)
	}
	h.restart()
	h.pass(3, 0, 0)
	if all := h.all(); len(all) != 2 || all[0].Result != "" || all[1].Result != rollout.Superseded {
		t.Errorf("got %+v", all)
	}
}

func TestWhatCanNotBeRecordedMayNotGoOn(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.want(rollout.ConfirmTrafficIncrease, true)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.weight(10)
	for range 15 {
		h.now = h.now.Add(time.Second)
		h.bad.Add(30)
		if err := h.keeper.Tick(t.Context()); err == nil {
			t.Fatal("an evaluation that could not be saved succeeded")
		}
	}
	h.want(rollout.ConfirmTrafficIncrease, false)
	h.want(rollout.Rollback, true) // going back needs no record
}

func TestTheLastResponsesAreWaitedFor(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods[0].Terminating = rollout.Failed, 0, true })
	h.pass(3, 1, 0)
	if h.newest().Reported {
		t.Fatal("the report was closed while a canary pod still answered")
	}
	h.set(func(c *rollout.Canary) { c.Pods = nil })
	h.pass(1, 0, 0)
	if r := h.newest(); !r.Reported || r.Latest.Canary.Good != 103 {
		t.Errorf("reported %v, counted %+v, want 103", r.Reported, r.Latest.Canary)
	}
}

func TestFlaggersEventsMakeTheTimeline(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	for _, text := range []string{"Advance podinfo.demo canary weight 10", "Rollback hook abort not signaling a rollback", "Confirm-traffic-increase check step passed"} {
		if err := h.keeper.Heard(t.Context(), key, text); err != nil {
			t.Fatal(err)
		}
	}
	line, err := json.Marshal(h.newest().Timeline)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(line), "canary weight 10") || strings.Contains(string(line), "not signaling") || strings.Contains(string(line), "check step") {
		t.Errorf("timeline %s", line)
	}
}

func TestADeletedCanaryEndsItsRollout(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.pass(2, 0, 0)
	h.cluster.mu.Lock()
	h.cluster.gone = true
	h.cluster.mu.Unlock()
	h.pass(2, 0, 0)
	if r := h.newest(); r.Result != rollout.Aborted || !r.Reported {
		t.Errorf("got %s, reported %v", r.Result, r.Reported)
	}
}

func TestHealthy(t *testing.T) {
	h := newHouse(t)
	if err := h.keeper.Healthy(10 * time.Second); err == nil {
		t.Error("healthy before the first evaluation")
	}
	h.pass(1, 0, 0)
	if err := h.keeper.Healthy(10 * time.Second); err != nil {
		t.Error(err)
	}
	h.now = h.now.Add(11 * time.Second)
	if err := h.keeper.Healthy(10 * time.Second); err == nil {
		t.Error("healthy though the evaluator stands still")
	}
}

// Flagger sets the weight back within seconds and climbs anew: the verdicts of the newer rollout must come out of its own
// ticks again, which is what the ledger's check at the end of each test asks.
func TestASupersedingRolloutIsJudgedAgainFromItsTicks(t *testing.T) {
	h := newHouse(t)
	h.release("v2")
	h.weight(30)
	h.pass(5, 20, 0)
	h.release("v3")
	h.weight(30)
	h.pass(3, 20, 0)
	h.weight(0)
	h.pass(3, 0, 0)
	h.weight(10)
	h.pass(5, 20, 0)
	h.set(func(c *rollout.Canary) { c.Phase, c.Weight, c.Pods = rollout.Succeeded, 0, nil })
	h.pass(2, 0, 0)
	if r := h.newest(); r.Result != rollout.Promoted || len(r.Steps) != 1 {
		t.Errorf("got %s with %+v", r.Result, r.Steps)
	}
}
