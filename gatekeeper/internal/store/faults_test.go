package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store/storetest"
)

// PostgreSQL crashes while ticks and entries are saved, one after the other. What was acknowledged is there, what was not is
// saved again, and nothing is there twice.
func TestAServerThatCrashesWhileWeWriteLosesNothing(t *testing.T) {
	const saves = 400
	server := storetest.Own(t)
	s := mustOpen(t, server.DSN())
	crashes := make(chan error, 1)
	progress := make(chan int, saves)
	go func() {
		var err error
		for n := range progress {
			if n%100 == 50 {
				server.Stop()
				err = errors.Join(err, server.Start())
			}
		}
		crashes <- err
	}()
	r, failures := example("abc", 0), 0
	for n := range saves {
		longer, ticks := ticked(r, 1)
		change := rollout.Change{Rollout: longer, Ticks: ticks, Entries: []rollout.Entry{entry("", rollout.EntryAlerts, n, `{}`)}}
		for s.Save(t.Context(), change) != nil {
			if failures++; t.Context().Err() != nil {
				t.Fatal("the server did not come back")
			}
		}
		if got, err := s.Get(t.Context(), r.ID); err == nil && got.Tape != longer.Tape {
			t.Fatalf("acknowledged is %+v, there is %+v", longer.Tape, got.Tape)
		}
		r = longer
		progress <- n
	}
	close(progress)
	if err := <-crashes; err != nil {
		t.Fatal(err)
	}
	entries, err := s.Entries(t.Context(), 0, 2*saves)
	if err != nil || len(entries) != saves {
		t.Errorf("%d entries, want %d: %v", len(entries), saves, err)
	}
	if ticks, err := s.Ticks(t.Context(), r.ID); err != nil || len(ticks) != saves {
		t.Errorf("%d ticks, want %d: %v", len(ticks), saves, err)
	}
	if _, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteBackup(t.Context(), to) }); err != nil {
		t.Error(err)
	}
	t.Logf("%d saves failed", failures)
}

// Each page of the file in turn is overwritten. Either the gatekeeper does not start and says what to do, or verify names
// what does not fit, or the page held nothing that counts: then all that is remembered is as before.
func TestADamagedFileIsNeverTakenForAGoodOne(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gatekeeper.db")
	s := mustOpen(t, file)
	fill(t, s)
	backup := &bytes.Buffer{}
	if err := errors.Join(s.WriteBackup(t.Context(), backup), s.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	refused, named, idle := 0, 0, 0
	for at := 0; at < len(whole); at += page {
		damaged := bytes.Clone(whole)
		copy(damaged[at:], bytes.Repeat([]byte("damaged!"), page/8))
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		found, same := damage(t, file, backup.Bytes())
		var misfit *ledger.Misfit
		switch {
		case errors.Is(found, ErrDamaged) && strings.Contains(found.Error(), "restore a backup"):
			refused++
		case errors.As(found, &misfit):
			named++
		case found == nil && same:
			idle++
		default:
			t.Errorf("page %d: %v, all as before: %v", at/page, found, same)
		}
	}
	t.Logf("of %d pages: the start refused with %d, verify named %d, %d held nothing that counts", len(whole)/page, refused, named, idle)
	if refused+named == 0 {
		t.Error("the test damaged nothing")
	}

	// The way out.
	for _, leftover := range []string{file, file + "-wal"} {
		if err := os.Rename(leftover, leftover+".damaged"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, file)
	if sum, err := s.Restore(t.Context(), backup, judges); err != nil || sum.Rollouts != 2 {
		t.Errorf("restore: %+v %v", sum, err)
	}
}

// damage opens the file and verifies what is in it; same says that all of it is as in the backup.
func damage(t *testing.T, file string, backup []byte) (found error, same bool) {
	t.Helper()
	if err := os.Remove(file + "-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), file)
	if err != nil {
		return err, false
	}
	defer s.Close()
	text := &bytes.Buffer{}
	_, found = verify(s, func(s *Store, to *bytes.Buffer) error {
		err := s.WriteBackup(t.Context(), to)
		_, _ = text.Write(to.Bytes())
		return err
	})
	return found, bytes.Equal(text.Bytes(), backup)
}

// A write that hangs longer than its time is told as failed.
func TestAWriteEndsWithItsTime(t *testing.T) {
	dsn := storetest.Postgres(t)
	other, s := mustOpen(t, dsn), mustOpen(t, dsn)
	tx, err := other.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `UPDATE leader SET writes = writes`); err != nil { // somebody who holds the lock
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := s.SaveMemo(ctx, "m", nil); err == nil || errors.Is(err, ErrNotLeader) {
		t.Errorf("a write that could not be made: %v", err)
	}
}
