package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// saveEntries appends to the ledger what is not in it yet. A rollout is closed once: the first closing entry stands.
func saveEntries(ctx context.Context, tx *sql.Tx, entries []rollout.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	last, err := end(ctx, tx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		e = e.After(last)
		known, err := isKnown(ctx, tx, e)
		if err != nil {
			return fmt.Errorf("look for entry of %s: %w", e.Rollout, err)
		}
		if known {
			continue
		}
		if err := appendEntry(ctx, tx, e); err != nil {
			return fmt.Errorf("save entry of %s: %w", e.Rollout, err)
		}
		last = e
	}
	return nil
}

// end is the ledger's last entry, as far as the next one is bound to it.
func end(ctx context.Context, tx *sql.Tx) (last rollout.Entry, err error) {
	err = tx.QueryRowContext(ctx, `SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1`).Scan(&last.Seq, &last.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return last, fmt.Errorf("read the ledger's end: %w", err)
	}
	return last, nil
}

func isKnown(ctx context.Context, tx *sql.Tx, e rollout.Entry) (known bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM entries WHERE rollout = $1 AND kind = $2 AND ($2 = 'rollout' OR at = $3 AND body = $4))`,
		e.Rollout, string(e.Kind), e.At.UnixNano(), string(e.Body)).Scan(&known)
	return known, err
}

func appendEntry(ctx context.Context, tx *sql.Tx, e rollout.Entry) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO entries (seq, at, kind, rollout, body, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		e.Seq, e.At.UnixNano(), string(e.Kind), e.Rollout, string(e.Body), e.Previous, e.Hash)
	return err
}

// Entries are the ledger's entries after seq, at most limit, in their order.
func (s *Store) Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error) {
	return entriesOf(ctx, s.db, `WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
}

// LastEntry is the number of the ledger's last entry, 0 while there is none.
func (s *Store) LastEntry(ctx context.Context) (seq int64, err error) {
	if err := s.db.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM entries`).Scan(&seq); err != nil {
		return 0, fmt.Errorf("read the ledger's end: %w", err)
	}
	return seq, nil
}

// Account is the entry that closed a rollout, or rollout.ErrNotFound while there is none.
func (s *Store) Account(ctx context.Context, id string) (rollout.Entry, error) {
	all, err := entriesOf(ctx, s.db, `WHERE rollout = $1 AND kind = 'rollout'`, plain(id))
	if err != nil {
		return rollout.Entry{}, err
	}
	if len(all) == 0 {
		return rollout.Entry{}, fmt.Errorf("entry of rollout %q: %w", id, rollout.ErrNotFound)
	}
	return all[0], nil
}

// Adopted are the ids of rollouts that were closed before there was a ledger, the oldest first: no entry closes them.
func (s *Store) Adopted(ctx context.Context) (ids []string, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id FROM rollouts WHERE adopted = 1 ORDER BY started_at, id`)
	if err == nil {
		err = each(rows, func() error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("find rollouts from before the ledger: %w", err)
	}
	return ids, nil
}

func entriesOf(ctx context.Context, db reader, where string, args ...any) ([]rollout.Entry, error) {
	rows, err := db.QueryContext(ctx, `SELECT seq, at, kind, rollout, body, previous, hash FROM entries `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	var all []rollout.Entry
	err = each(rows, func() error {
		var e rollout.Entry
		var at int64
		var body string
		if err := rows.Scan(&e.Seq, &at, &e.Kind, &e.Rollout, &body, &e.Previous, &e.Hash); err != nil {
			return err
		}
		e.At, e.Body = moment(at), json.RawMessage(body)
		all = append(all, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return all, nil
}
