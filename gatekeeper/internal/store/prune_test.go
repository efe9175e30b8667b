package store

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger/ledgertest"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestPruneDeletesOldTicksAndSaysSo(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		good, bad, open := fill(t, s) // they ended at minute 1 and 61, and not at all
		now := start.Add(100 * 24 * time.Hour)
		prune := func(keep time.Duration, want int) {
			t.Helper()
			if n, err := s.Prune(t.Context(), now, keep); err != nil || n != want {
				t.Fatalf("pruned %d, want %d: %v", n, want, err)
			}
		}
		ticks := func() string {
			var n []int
			for _, c := range []rollout.Change{good, bad, open} {
				all, err := s.Ticks(t.Context(), c.Rollout.ID)
				if err != nil {
					t.Fatal(err)
				}
				n = append(n, len(all))
			}
			return fmt.Sprint(n)
		}
		prune(101*24*time.Hour, 0)
		prune(now.Sub(start.Add(time.Hour)), 1)
		if got := ticks(); got != "[0 60 60]" {
			t.Errorf("ticks left %s, want those of the older one gone", got)
		}
		prune(time.Hour, 1)
		prune(time.Hour, 0) // nothing is left to say
		if got := ticks(); got != "[0 0 60]" {
			t.Errorf("ticks left %s, want those of the one under way", got)
		}
		sum, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteBackup(t.Context(), to) })
		if err != nil || sum.Pruned != 2 || sum.Verdicts != 0 || sum.Entries != 8 {
			t.Errorf("verify: %+v %v", sum, err)
		}
		if due, err := s.Due(t.Context(), now); err != nil || len(due) != 1 {
			t.Errorf("what waits must stay: %+v %v", due, err)
		}
		var messages int
		if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM outbox`).Scan(&messages); err != nil || messages != 1 {
			t.Errorf("%d messages are left, want the one that waits: %v", messages, err)
		}
		var thread string
		if err := s.db.QueryRowContext(t.Context(), `SELECT max(thread) FROM threads HAVING count(*) = 1`).Scan(&thread); err != nil || thread != "C1/17" {
			t.Errorf("the thread left is %q, want that of the rollout under way alone: %v", thread, err)
		}
	})
}

func TestPruneGoesOnUntilNothingIsLeft(t *testing.T) {
	s := mustOpen(t, t.TempDir()+"/gatekeeper.db")
	for i := range 2*rolloutsAtOnce + 1 {
		mustSave(t, s, ledgertest.Closed(fmt.Sprint("h", i), start.Add(time.Duration(i)*time.Minute), 0, judges))
	}
	if n, err := s.Prune(t.Context(), start.Add(24*time.Hour), time.Hour); err != nil || n != 2*rolloutsAtOnce+1 {
		t.Fatalf("pruned %d: %v", n, err)
	}
	if sum, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) }); err != nil || sum.Pruned != 2*rolloutsAtOnce+1 {
		t.Errorf("%+v %v", sum, err)
	}
}

// Ticks that are missing without a word are a misfit also when others were pruned.
func TestPrunedTicksAreNoAlibi(t *testing.T) {
	s := mustOpen(t, t.TempDir()+"/gatekeeper.db")
	_, bad, _ := fill(t, s)
	if _, err := s.Prune(t.Context(), start.Add(time.Hour), time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.ExecContext(t.Context(), `DELETE FROM ticks WHERE rollout = $1`, bad.Rollout.ID); err != nil {
		t.Fatal(err)
	}
	_, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) })
	var misfit *ledger.Misfit
	if !errors.As(err, &misfit) || misfit.Rollout != bad.Rollout.ID {
		t.Errorf("got %v", err)
	}
}
