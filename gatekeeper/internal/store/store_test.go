package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// onBoth runs a test on an empty database of each kind.
func onBoth(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "gatekeeper.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, storetest.Postgres(t)) })
}

func mustOpen(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
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

func mustSave(t *testing.T, s *Store, changes ...rollout.Change) {
	t.Helper()
	if err := s.Save(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasSavedSurvivesReopening(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		r := example("abc", 0)
		book := rollout.Book{"uid": {Track: rollout.TrackCanary, Last: rollout.Counts{Good: 7, Bad: 1}, Start: 5, Counted: rollout.Counts{Good: 7, Bad: 1}, SeenAt: start}}
		s := mustOpen(t, dsn)
		mustSave(t, s, rollout.Change{Rollout: r, Book: book})
		if err := errors.Join(s.SaveMemo(t.Context(), "alerts", []byte("{}")), s.SavePolicy(t.Context(), "d1", []byte("rules")), s.Close()); err != nil {
			t.Fatal(err)
		}

		s = mustOpen(t, dsn)
		rollouts, books, err := s.Open(t.Context())
		if err != nil || len(rollouts) != 1 {
			t.Fatalf("%d open rollouts: %v", len(rollouts), err)
		}
		if !reflect.DeepEqual(rollouts[0], r) || !reflect.DeepEqual(books[0], book) {
			t.Errorf("got  %+v %+v\nwant %+v %+v", rollouts[0], books[0], r, book)
		}
		memo, memoErr := s.Memo(t.Context(), "alerts")
		rules, rulesErr := s.Policy(t.Context(), "d1")
		if string(memo) != "{}" || string(rules) != "rules" || memoErr != nil || rulesErr != nil {
			t.Errorf("memo %q %v, policy %q %v", memo, memoErr, rules, rulesErr)
		}
		r.Reported = true
		mustSave(t, s, rollout.Change{Rollout: r, Book: book})
		if rollouts, _, err = s.Open(t.Context()); err != nil || len(rollouts) != 0 {
			t.Errorf("%d open rollouts after the report: %v", len(rollouts), err)
		}
	})
}

func TestListAndGet(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		older, newer, other := example("a", 0), example("b", 10), example("c", 5)
		other.Canary.Name, other.ID = "other", "other-id"
		mustSave(t, s, rollout.Change{Rollout: newer}, rollout.Change{Rollout: older}, rollout.Change{Rollout: other})
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
		for _, id := range []string{"nobody", "no\x00body", "\xff"} {
			if _, err := s.Get(t.Context(), id); !errors.Is(err, rollout.ErrNotFound) {
				t.Errorf("unknown id %q: %v", id, err)
			}
		}
	})
}

func TestFind(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		for i, change := range []func(*rollout.Rollout){
			func(r *rollout.Rollout) { r.Revision.Image = "registry/Shop_API:1%" },
			func(r *rollout.Rollout) { r.Revision.DeployID = "run-17\x00" },
			func(r *rollout.Rollout) { r.Canary.Name = "other" },
			func(r *rollout.Rollout) { r.End(rollout.Promoted, rollout.Succeeded, start.Add(time.Hour)) },
		} {
			r := example(fmt.Sprint("h", i), 60*i)
			change(&r)
			mustSave(t, s, rollout.Change{Rollout: r})
		}
		for name, c := range map[string]struct {
			q     rollout.Query
			want  string // hashes
			total int
		}{
			"all, newest first":     {rollout.Query{}, "h3 h2 h1 h0", 4},
			"a page":                {rollout.Query{Limit: 2, Offset: 1}, "h2 h1", 4},
			"of a Canary":           {rollout.Query{Canary: "demo/other"}, "h2", 1},
			"of a deploy id":        {rollout.Query{DeployID: "run-17\x00"}, "h1", 1},
			"of another":            {rollout.Query{DeployID: "run-1"}, "", 0},
			"promoted":              {rollout.Query{Result: rollout.Promoted}, "h3", 1},
			"under way":             {rollout.Query{Result: rollout.Open}, "h2 h1 h0", 3},
			"since":                 {rollout.Query{Since: start.Add(time.Minute)}, "h3 h2 h1", 3},
			"before":                {rollout.Query{Before: start.Add(time.Minute)}, "h0", 1},
			"words in any case":     {rollout.Query{Text: "shop_api"}, "h0", 1},
			"a sign is only a sign": {rollout.Query{Text: "1%"}, "h0", 1},
			"no pattern":            {rollout.Query{Text: "sho%api"}, "", 0},
			"part of a deploy id":   {rollout.Query{Text: "RUN-1"}, "h1", 1},
			"two conditions":        {rollout.Query{Text: "app", Canary: "demo/podinfo", Result: rollout.Open}, "h1", 1},
		} {
			page, total, err := s.Find(t.Context(), c.q)
			var got []string
			for _, b := range page {
				got = append(got, b.Revision.Hash)
			}
			if err != nil || strings.Join(got, " ") != c.want || total != c.total {
				t.Errorf("%s: got %v of %d, want %s of %d: %v", name, got, total, c.want, c.total, err)
			}
		}
	})
}

func toPager(n rollout.News) rollout.News {
	n.Sinks = []string{"pager"}
	return n
}

func TestOutbox(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		ctx, r := t.Context(), example("abc", 0)
		news := r.News(rollout.HasStarted, start)
		later := r.News(rollout.Happening(rollout.RolledBack), start.Add(time.Second))
		both := toPager(news)
		both.Sinks = []string{"pager", "chat"}
		mustSave(t, s, rollout.Change{Rollout: r, News: []rollout.News{both, toPager(later)}})
		mustSave(t, s, rollout.Change{Rollout: r, News: []rollout.News{both}}) // the same news again
		due := func(at time.Time) string {
			t.Helper()
			all, err := s.Due(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			var text []string
			for _, m := range all {
				text = append(text, fmt.Sprintf("%s to %s in %q after %d", m.News.Event, m.Sink, m.Thread, m.Attempts))
			}
			return strings.Join(text, ", ")
		}
		want := func(at time.Time, want string) {
			t.Helper()
			if got := due(at); got != want {
				t.Fatalf("due: %s\nwant: %s", got, want)
			}
		}
		want(start.Add(-time.Hour), `started to pager in "" after 0, started to chat in "" after 0`) // at once, also when the clock was set back
		if all, err := s.Due(ctx, start); err != nil || !reflect.DeepEqual(all[0].News, news) {
			t.Fatalf("got %+v %v, want %+v", all[0].News, err, news)
		}
		if err := s.Retry(ctx, news.Key(), "pager", "receiver down\x00", start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		want(start.Add(2*time.Second), `started to chat in "" after 0`) // what waits holds back what comes after it, elsewhere not
		want(start.Add(time.Minute), `started to pager in "" after 1, started to chat in "" after 0`)
		want(start.Add(-time.Hour), `started to pager in "" after 1, started to chat in "" after 0`) // or a retry would wait for the clock
		if err := errors.Join(s.Delivered(ctx, news.Key(), "pager", "C1/17.5"), s.Refused(ctx, news.Key(), "chat", "410")); err != nil {
			t.Fatal(err)
		}
		want(start.Add(time.Minute), `rolled-back to pager in "C1/17.5" after 0`)
		if err := s.Delivered(ctx, later.Key(), "pager", ""); err != nil {
			t.Fatal(err)
		}
		want(start.Add(time.Hour), ``)
	})
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

// Every write of a leader whose successor has begun is refused, and changes nothing.
func TestOnlyTheLeaderWrites(t *testing.T) {
	dsn := storetest.Postgres(t)
	first, second := mustOpen(t, dsn), mustOpen(t, dsn) // the second leads
	r := example("abc", 0)
	writes := map[string]func(*Store) error{
		"Save":       func(s *Store) error { return s.Save(t.Context(), rollout.Change{Rollout: r}) },
		"SavePolicy": func(s *Store) error { return s.SavePolicy(t.Context(), "d", nil) },
		"SaveMemo":   func(s *Store) error { return s.SaveMemo(t.Context(), "m", nil) },
		"Delivered":  func(s *Store) error { return s.Delivered(t.Context(), "k", "s", "t") },
		"Refused":    func(s *Store) error { return s.Refused(t.Context(), "k", "s", "w") },
		"Retry":      func(s *Store) error { return s.Retry(t.Context(), "k", "s", "w", start) },
		"Prune":      func(s *Store) error { _, err := s.Prune(t.Context(), start, time.Hour); return err },
	}
	standby, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	for name, write := range writes {
		for who, s := range map[string]*Store{"the leader before": first, "a standby": standby} {
			if err := write(s); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s by %s: %v", name, who, err)
			}
			over, stop := context.WithTimeout(t.Context(), time.Second)
			if err := s.Deposed(over); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s by %s tells nobody that it does not lead: %v", name, who, err)
			}
			stop()
		}
	}
	if all, err := first.List(t.Context(), "", 9); err != nil || len(all) != 0 {
		t.Errorf("written all the same: %d rollouts, %v", len(all), err)
	}
	for name, write := range writes {
		if err := write(second); err != nil {
			t.Errorf("%s by the leader: %v", name, err)
		}
		if len(second.deposed) > 0 {
			t.Errorf("%s by the leader deposes it", name)
		}
	}
	if all, err := standby.List(t.Context(), "", 9); err != nil || len(all) != 1 {
		t.Errorf("a standby reads %d rollouts: %v", len(all), err)
	}
}

func TestNoPasswordInErrors(t *testing.T) {
	for _, dsn := range []string{
		"postgres://gatekeeper:s3cret@127.0.0.1:1/ledger?connect_timeout=1", "host=127.0.0.1 port=1 password=s3cret dbname=ledger connect_timeout=1",
		"postgres://gatekeeper:s3cret@[::1", "host=127.0.0.1 password=s3cret port=s3cret",
	} {
		s, err := Open(t.Context(), dsn)
		if err == nil {
			_ = s.Close()
			t.Fatalf("opened %s", dsn)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is told: %v", err)
		}
	}
}
