package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger/ledgertest"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store/storetest"
)

// A database from before the ledger: one rollout that has ended and one under way, ticks by time, one message that waits.
func TestADatabaseFromBeforeTheLedgerIsTakenUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatekeeper.db")
	db, err := place{file: file}.open()
	if err != nil {
		t.Fatal(err)
	}
	provider, err := migrations(db, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	do := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	closed, open := ledgertest.Closed("old", start, 0, ""), ledgertest.Open("open", start.Add(time.Hour), 0, "")
	for reported, c := range []rollout.Change{open, closed} {
		r := c.Rollout
		r.Tape, r.JudgedBy = rollout.Tape{}, nil
		record, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		do(`INSERT INTO rollouts (id, canary, started_at, reported, record, counters) VALUES (?, ?, ?, ?, ?, '{}')`, r.ID, r.Canary.String(), r.StartedAt.UnixMilli(), reported, string(record))
		for _, tick := range c.Ticks {
			text, err := json.Marshal(tick.Tick)
			if err != nil {
				t.Fatal(err)
			}
			do(`INSERT INTO ticks (rollout, at, tick, outcome, reason, digest) VALUES (?, ?, ?, ?, ?, ?)`, r.ID, tick.Tick.At.UnixNano(), string(text), tick.Outcome, tick.Reason, tick.Digest)
		}
	}
	news := open.Rollout.News(rollout.HasStarted, start)
	body, err := json.Marshal(news)
	if err != nil {
		t.Fatal(err)
	}
	do(`INSERT INTO outbox (key, news, due_at) VALUES (?, ?, ?)`, news.Key(), string(body), start.UnixMilli())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := mustOpen(t, file)
	if page, total, err := s.Find(t.Context(), rollout.Query{Result: rollout.Promoted, DeployID: "run-old"}); err != nil || total != 1 || page[0].ID != closed.Rollout.ID {
		t.Errorf("found %+v of %d: %v", page, total, err)
	}
	if ids, err := s.Adopted(t.Context()); err != nil || !slices.Equal(ids, []string{closed.Rollout.ID}) {
		t.Errorf("closed before the ledger: %v %v", ids, err)
	}
	rollouts, _, err := s.Open(t.Context())
	if err != nil || len(rollouts) != 1 || rollouts[0].Tape != open.Rollout.Tape {
		t.Fatalf("taken up %+v: %v", rollouts, err)
	}
	if ticks, err := s.Ticks(t.Context(), open.Rollout.ID); err != nil || !reflect.DeepEqual(ticks, open.Ticks) {
		t.Errorf("%d ticks: %v", len(ticks), err)
	}
	longer, next := ticked(rollouts[0], 2)
	mustSave(t, s, rollout.Change{Rollout: longer, Ticks: next})
	if due, err := s.Due(t.Context(), start); err != nil || len(due) != 1 || due[0].Sink != "webhook" || due[0].News.Rollout != open.Rollout.ID {
		t.Errorf("due %+v: %v", due, err)
	}
	sum, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteBackup(t.Context(), to) })
	if err != nil || sum.Open != 2 {
		t.Errorf("verify: %+v %v", sum, err)
	}
}

func TestADatabaseOfANewerVersionIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		if _, err := s.db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(t.Context(), dsn); !errors.Is(err, ErrNewer) {
			t.Errorf("opened %v: %v", s, err)
		}
	})
}

func TestReplicasThatStartTogetherMakeOneSchema(t *testing.T) {
	dsn := storetest.Postgres(t)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			s, err := Open(t.Context(), dsn)
			if err == nil {
				err = s.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestOpenToRead(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		if s, err := OpenToRead(t.Context(), dsn); err == nil {
			_ = s.Close()
			t.Error("opened what is not there")
		}
		first := mustOpen(t, dsn)
		fill(t, first)
		if first.lite {
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s, err := OpenToRead(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if sum, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) }); err != nil || sum.Rollouts != 2 {
			t.Errorf("verify: %+v %v", sum, err)
		}
		if err := s.SaveMemo(t.Context(), "m", nil); err == nil {
			t.Error("written to what was opened to read")
		}
		if err := s.Lead(t.Context()); err == nil {
			t.Error("led what was opened to read")
		}
	})
}
