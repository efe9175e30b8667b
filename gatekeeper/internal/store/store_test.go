package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func mustOpen(t *testing.T, file string) *Store {
	t.Helper()
	s, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func example(hash string, second int) rollout.Rollout {
	c := rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "podinfo"}, Revision: rollout.Revision{Hash: hash, Image: "app:2"}, Policy: "default"}
	now := start.Add(time.Duration(second) * time.Second)
	r := rollout.New(c, now)
	r.Observe(rollout.Tick{At: now.Add(time.Second), Weight: 10, Canary: rollout.Counts{Good: 7, Bad: 1}, Answering: 2})
	r.Judge(rollout.Verdict{Outcome: rollout.Hold, At: now, Reasons: []rollout.Reason{{Kind: "baking", Text: "9s left", Values: map[string]float64{"left": 9}}}})
	return r
}

func TestWhatWasSavedSurvivesReopening(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatekeeper.db")
	r := example("abc", 0)
	book := rollout.Book{"uid": {Track: rollout.TrackCanary, Last: rollout.Counts{Good: 7, Bad: 1}, Start: 5, Counted: rollout.Counts{Good: 7, Bad: 1}, SeenAt: start}}
	s := mustOpen(t, file)
	if err := s.Save(t.Context(), rollout.Change{Rollout: r, Book: book}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = mustOpen(t, file)
	rollouts, books, err := s.Open(t.Context())
	if err != nil || len(rollouts) != 1 {
		t.Fatalf("%d open rollouts: %v", len(rollouts), err)
	}
	if !reflect.DeepEqual(rollouts[0], r) || !reflect.DeepEqual(books[0], book) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", rollouts[0], books[0], r, book)
	}
	r.Reported = true
	if err := s.Save(t.Context(), rollout.Change{Rollout: r, Book: book}); err != nil {
		t.Fatal(err)
	}
	if rollouts, _, err = s.Open(t.Context()); err != nil || len(rollouts) != 0 {
		t.Errorf("%d open rollouts after the report: %v", len(rollouts), err)
	}
}

func TestListAndGet(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "gatekeeper.db"))
	older, newer := example("a", 0), example("b", 10)
	other := example("c", 5)
	other.Canary.Name, other.ID = "other", "other-id"
	for _, r := range []rollout.Rollout{newer, older, other} {
		if err := s.Save(t.Context(), rollout.Change{Rollout: r}); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(canary string, limit int) string {
		all, err := s.List(t.Context(), canary, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range all {
			ids = append(ids, r.ID)
		}
		return strings.Join(ids, " ")
	}
	if got, want := ids("", 9), newer.ID+" other-id "+older.ID; got != want {
		t.Errorf("all: got %s, want %s", got, want)
	}
	if got, want := ids("demo/podinfo", 1), newer.ID; got != want {
		t.Errorf("one Canary, limited: got %s, want %s", got, want)
	}
	if _, err := s.Get(t.Context(), "nobody"); !errors.Is(err, rollout.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
}

func toPager(n rollout.News) rollout.News {
	n.Sinks = []string{"pager"}
	return n
}

func TestOutbox(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "gatekeeper.db"))
	ctx, r := t.Context(), example("abc", 0)
	news := r.News(rollout.HasStarted, start)
	later := r.News(rollout.Happening(rollout.RolledBack), start.Add(time.Second))
	if err := s.Save(ctx, rollout.Change{Rollout: r, News: []rollout.News{toPager(news), toPager(later)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx, rollout.Change{Rollout: r, News: []rollout.News{toPager(news)}}); err != nil { // the same news again
		t.Fatal(err)
	}
	due := func(at time.Time) []rollout.Message {
		t.Helper()
		m, err := s.Due(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := due(start); len(got) != 1 || !reflect.DeepEqual(got[0].News, news) {
		t.Fatalf("due at start: %+v", got)
	}
	if err := s.Retry(ctx, news.Key(), "receiver down", start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := due(start.Add(2 * time.Second)); len(got) != 1 || got[0].News.Event != rollout.Happening(rollout.RolledBack) {
		t.Fatalf("a message that waits is not due: %+v", got)
	}
	if got := due(start.Add(time.Minute)); len(got) != 2 || got[0].Attempts != 1 {
		t.Fatalf("due after the wait: %+v", got)
	}
	if err := errors.Join(s.Delivered(ctx, news.Key()), s.Refused(ctx, later.Key(), "410")); err != nil {
		t.Fatal(err)
	}
	if got := due(start.Add(time.Hour)); len(got) != 0 {
		t.Errorf("due after delivery and refusal: %+v", got)
	}
}

func TestAFileThatIsNoDatabaseStopsTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatekeeper.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(context.Background(), file); err == nil {
		_ = s.Close()
		t.Error("a gatekeeper that starts with an empty memory has forgotten its verdicts")
	}
}

func TestASecondGatekeeperIsKeptOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatekeeper.db")
	first := mustOpen(t, file)
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if second, err := Open(ctx, file); err == nil {
		_ = second.Close()
		t.Error("two gatekeepers write to one ledger")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, file)
}
