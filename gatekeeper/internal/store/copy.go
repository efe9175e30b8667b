package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// entriesAtOnce bounds what a copy holds in memory; between two pages others may write.
const entriesAtOnce = 100

// WriteLedger writes the ledger as a file: each entry, before it the ticks of the rollout that it closes. Entries that come
// meanwhile are in it.
func (s *Store) WriteLedger(ctx context.Context, to io.Writer) error {
	if err := s.writeFile(ctx, to, false); err != nil {
		return fmt.Errorf("write the ledger's file: %w", err)
	}
	return nil
}

// WriteBackup writes all that is remembered as a file from which Restore makes it again: the ledger, and what the gatekeeper
// works with at the moment of the last line. What was delivered of rollouts that are closed is left out.
func (s *Store) WriteBackup(ctx context.Context, to io.Writer) error {
	if err := s.writeFile(ctx, to, true); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

// writeFile goes through the entries, which never change, in short steps: a slow reader holds up nobody. What changes is
// read at the end in one transaction, which also finds that there are no more entries.
func (s *Store) writeFile(ctx context.Context, w io.Writer, whole bool) error {
	to := bufio.NewWriterSize(w, 1<<16)
	if err := ledger.Write(to, ledger.Line{Head: &ledger.Head{Format: ledger.Format, Whole: whole}}); err != nil {
		return err
	}
	var last rollout.Entry
	for {
		page, rest, err := s.step(ctx, last.Seq, whole)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := s.writeEntry(ctx, to, e); err != nil {
				return err
			}
			last = e
		}
		if len(page) == 0 {
			return errors.Join(s.writeRest(ctx, to, rest, last), to.Flush())
		}
	}
}

// remainder is what stands behind the entries.
type remainder struct {
	lines  []ledger.Line // without the rollouts
	open   []ledger.Rollout
	closed int
}

// step is the next page of entries; after the last one, in the same transaction, the rest.
func (s *Store) step(ctx context.Context, after int64, whole bool) (page []rollout.Entry, rest remainder, err error) {
	options := &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	if s.lite {
		options = nil // nobody else has the file
	}
	tx, err := s.db.BeginTx(ctx, options)
	if err != nil {
		return nil, rest, err
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	if page, err = entriesOf(ctx, tx, `WHERE seq > $1 ORDER BY seq LIMIT $2`, after, entriesAtOnce); err != nil || len(page) > 0 {
		return page, rest, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM rollouts WHERE reported = 1 AND adopted = 0`).Scan(&rest.closed); err != nil {
		return nil, rest, fmt.Errorf("count closed rollouts: %w", err)
	}
	if whole {
		err = rest.read(ctx, tx)
	}
	return nil, rest, err
}

// read takes in all that a backup has beside the ledger, but the ticks: they stay as they are.
func (r *remainder) read(ctx context.Context, tx *sql.Tx) error {
	const waiting = `(state = 'waiting' OR rollout IN (SELECT id FROM rollouts WHERE reported = 0))`
	for _, table := range []struct {
		query string
		scan  func(rows *sql.Rows) error
	}{
		{`SELECT record, counters, adopted FROM rollouts JOIN records ON rollout = id WHERE reported = 0 OR adopted = 1 ORDER BY started_at, id`, func(rows *sql.Rows) error {
			var o ledger.Rollout
			err := rows.Scan(&o.Record, &o.Counters, &o.Adopted)
			r.open = append(r.open, o)
			return err
		}},
		{`SELECT digest, document FROM policies ORDER BY digest`, func(rows *sql.Rows) error {
			var p ledger.Policy
			err := rows.Scan(&p.Digest, &p.Document)
			r.lines = append(r.lines, ledger.Line{Policy: &p})
			return err
		}},
		{`SELECT name, document FROM memos ORDER BY name`, func(rows *sql.Rows) error {
			var m ledger.Memo
			err := rows.Scan(&m.Name, &m.Document)
			r.lines = append(r.lines, ledger.Line{Memo: &m})
			return err
		}},
		{`SELECT key, sink, rollout, news, at, due_at, attempts, state, last_error FROM outbox WHERE ` + waiting + ` ORDER BY id`, func(rows *sql.Rows) error {
			var m ledger.Message
			err := rows.Scan(&m.Key, &m.Sink, &m.Rollout, &m.News, &m.At, &m.DueAt, &m.Attempts, &m.State, &m.LastError)
			r.lines = append(r.lines, ledger.Line{Message: &m})
			return err
		}},
		{`SELECT rollout, sink, thread FROM threads WHERE rollout IN (SELECT rollout FROM outbox WHERE ` + waiting + `) ORDER BY rollout, sink`, func(rows *sql.Rows) error {
			var t ledger.Thread
			err := rows.Scan(&t.Rollout, &t.Sink, &t.Thread)
			r.lines = append(r.lines, ledger.Line{Thread: &t})
			return err
		}},
	} {
		rows, err := tx.QueryContext(ctx, table.query)
		if err == nil {
			err = each(rows, func() error { return table.scan(rows) })
		}
		if err != nil {
			return fmt.Errorf("read what the gatekeeper works with: %w", err)
		}
	}
	return nil
}

// writeEntry writes an entry and, before it, the ticks of the rollout that it closes.
func (s *Store) writeEntry(ctx context.Context, to io.Writer, e rollout.Entry) error {
	line := ledger.EntryOf(e)
	if e.Kind == rollout.EntryRollout {
		var record []byte
		err := s.db.QueryRowContext(ctx, `SELECT record FROM records WHERE rollout = $1`, e.Rollout).Scan(&record)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read rollout %s: %w", e.Rollout, err)
		}
		if err == nil {
			sum := sha256.Sum256(record)
			line.Record = hex.EncodeToString(sum[:])
		}
		ticks, damage, err := s.tickLines(ctx, e.Rollout, -1)
		if err != nil {
			return err
		}
		line.Damage = damage
		if err := writeTicks(to, ticks); err != nil {
			return err
		}
	}
	return ledger.Write(to, ledger.Line{Entry: &line})
}

func writeTicks(to io.Writer, ticks []json.RawMessage) error {
	for _, t := range ticks {
		if err := ledger.Write(to, ledger.Line{Tick: t}); err != nil {
			return err
		}
	}
	return nil
}

// tickLines are the ticks of a rollout as they were recorded, the first ones up to limit, -1: all. damage says why they can
// not be read; there are none then.
func (s *Store) tickLines(ctx context.Context, id string, limit int) (ticks []json.RawMessage, damage string, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT n, tick, outcome, reason, digest FROM ticks WHERE rollout = $1 ORDER BY n`, id)
	if err != nil {
		return nil, "", fmt.Errorf("read ticks of %s: %w", id, err)
	}
	err = each(rows, func() error {
		var n int64
		var tick []byte
		var outcome, reason, digest string
		if err := rows.Scan(&n, &tick, &outcome, &reason, &digest); err != nil || damage != "" || limit >= 0 && len(ticks) == limit {
			return err
		}
		line, ok := ledger.Tick(bytes.Clone(tick), outcome, reason, digest)
		switch {
		case n != int64(len(ticks)+1):
			damage = fmt.Sprintf("after tick %d comes tick %d", len(ticks), n)
		case !ok:
			damage = fmt.Sprintf("tick %d is no JSON document", n)
		}
		ticks = append(ticks, line)
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read ticks of %s: %w", id, err)
	}
	if damage != "" {
		ticks = nil
	}
	return ticks, damage, nil
}

// writeRest writes what stands behind the entries, and the last line.
func (s *Store) writeRest(ctx context.Context, to io.Writer, rest remainder, last rollout.Entry) error {
	for i := range rest.open {
		var r rollout.Rollout
		if err := json.Unmarshal([]byte(rest.open[i].Record), &r); err != nil {
			return fmt.Errorf("read rollout: %w", err)
		}
		ticks, _, err := s.tickLines(ctx, r.ID, r.Tape.Ticks) // others may have come since
		if err != nil {
			return err
		}
		if err := writeTicks(to, ticks); err != nil {
			return err
		}
		if err := ledger.Write(to, ledger.Line{Rollout: &rest.open[i]}); err != nil {
			return err
		}
	}
	for _, l := range rest.lines {
		if err := ledger.Write(to, l); err != nil {
			return err
		}
	}
	return ledger.Write(to, ledger.Line{End: &ledger.End{Entries: last.Seq, Hash: last.Hash, Closed: rest.closed}})
}

// errNotEmpty keeps a ledger from being written over.
var errNotEmpty = errors.New("there is a ledger already: a backup is restored into an empty database only")

// Restore makes what a backup has, in one transaction: all of it, or nothing when the backup does not fit together or the
// database is not empty. self is as in ledger.NewVerifier. A misfit is a *ledger.Misfit.
func (s *Store) Restore(ctx context.Context, from io.Reader, self string) (ledger.Summary, error) {
	var sum ledger.Summary
	err := s.write(ctx, func(tx *sql.Tx) error {
		var known bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM entries) OR EXISTS (SELECT 1 FROM rollouts)`).Scan(&known); err != nil {
			return err
		}
		if known {
			return errNotEmpty
		}
		r := restorer{tx: tx, verifier: ledger.NewVerifier(self)}
		for line, err := range ledger.Read(from) {
			if err != nil {
				return err
			}
			if err := r.take(ctx, line); err != nil {
				return err
			}
		}
		var err error
		sum, err = r.verifier.Close()
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("restore: %w", err)
	}
	return sum, nil
}

// restorer writes a backup line by line.
type restorer struct {
	tx       *sql.Tx
	verifier *ledger.Verifier
	ticks    [][]any // of the rollout whose line comes, without its id
}

func (r *restorer) take(ctx context.Context, l ledger.Line) error {
	if err := r.verifier.Take(l); err != nil {
		return err
	}
	switch {
	case l.Head != nil && !l.Head.Whole:
		return errors.New("the file has the ledger only; a gatekeeper works from a backup, which gatekeeper backup writes")
	case l.Tick != nil:
		return r.tick(l.Tick)
	case l.Entry != nil:
		return r.entry(ctx, l.Entry.Entry())
	case l.Rollout != nil:
		return r.rollout(ctx, *l.Rollout)
	case l.Policy != nil:
		return insert(ctx, r.tx, `policies (digest, document)`, [][]any{{l.Policy.Digest, l.Policy.Document}}, `ON CONFLICT DO NOTHING`)
	case l.Memo != nil:
		return insert(ctx, r.tx, `memos (name, document)`, [][]any{{l.Memo.Name, l.Memo.Document}}, ``)
	case l.Message != nil:
		m := l.Message
		return insert(ctx, r.tx, `outbox (key, sink, rollout, news, at, due_at, attempts, state, last_error)`, [][]any{{m.Key, m.Sink, m.Rollout, m.News, m.At, m.DueAt, m.Attempts, m.State, m.LastError}}, ``)
	case l.Thread != nil:
		return insert(ctx, r.tx, `threads (rollout, sink, thread)`, [][]any{{l.Thread.Rollout, l.Thread.Sink, l.Thread.Thread}}, ``)
	}
	return nil
}

// tick keeps a tick, to the byte, until the rollout is known that it belongs to.
func (r *restorer) tick(line json.RawMessage) error {
	var t struct {
		Tick    json.RawMessage `json:"tick"`
		Outcome string          `json:"outcome"`
		Reason  string          `json:"reason"`
		Digest  string          `json:"digest"`
	}
	if err := json.Unmarshal(line, &t); err != nil {
		return fmt.Errorf("read tick: %w", err)
	}
	r.ticks = append(r.ticks, []any{len(r.ticks) + 1, string(t.Tick), t.Outcome, t.Reason, t.Digest})
	return nil
}

func (r *restorer) entry(ctx context.Context, e rollout.Entry) error {
	if err := appendEntry(ctx, r.tx, e); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	if e.Kind != rollout.EntryRollout {
		return nil
	}
	var account struct {
		Rollout json.RawMessage `json:"rollout"`
	}
	if err := json.Unmarshal(e.Body, &account); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	return r.rollout(ctx, ledger.Rollout{Record: string(account.Rollout), Counters: "{}"})
}

func (r *restorer) rollout(ctx context.Context, o ledger.Rollout) error {
	var change rollout.Change
	if err := errors.Join(json.Unmarshal([]byte(o.Record), &change.Rollout), json.Unmarshal([]byte(o.Counters), &change.Book)); err != nil {
		return fmt.Errorf("read rollout: %w", err)
	}
	id := change.Rollout.ID
	if err := saveRecords(ctx, r.tx, []rollout.Change{change}); err != nil {
		return err
	}
	// The documents to the byte, whatever this version would write.
	_, err := r.tx.ExecContext(ctx, `UPDATE records SET record = $1, counters = $2 WHERE rollout = $3`, o.Record, o.Counters, id)
	if err == nil && o.Adopted {
		_, err = r.tx.ExecContext(ctx, `UPDATE rollouts SET adopted = 1 WHERE id = $1`, id)
	}
	if err != nil {
		return fmt.Errorf("rollout %s: %w", id, err)
	}
	for i := range r.ticks {
		r.ticks[i] = append([]any{id}, r.ticks[i]...)
	}
	if err := insert(ctx, r.tx, `ticks (rollout, n, tick, outcome, reason, digest)`, r.ticks, ``); err != nil {
		return fmt.Errorf("ticks of rollout %s: %w", id, err)
	}
	r.ticks = nil
	return nil
}
