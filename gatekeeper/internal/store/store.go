// Package store remembers rollouts, the ledger and messages in SQLite or PostgreSQL.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// ErrNotLeader is returned by every write of a Store whose term is over, or that has none: another replica leads.
var ErrNotLeader = errors.New("another replica leads, this one may only read")

// Store is one database. Safe for concurrent use; one writer is let in at a time, in all replicas together.
type Store struct {
	db   *sql.DB
	lite bool // SQLite: one connection, and nobody else has the file

	writing sync.Mutex // held during a write; guards term
	term    int64      // 0: never led

	deposed chan struct{} // has one when a write was refused because another leads
}

// Open opens the database that dsn names, makes what is missing, and brings its schema up to date. A PostgreSQL URL or
// keyword list (postgres://…, host=… dbname=…) is that; all else is the path of a SQLite file, "file:" before it or not.
// A database that can not be read is an error: a gatekeeper that starts with an empty memory would forget a verdict.
//
// SQLite's file belongs to this process alone from now on, so its Store leads. With PostgreSQL a Store may only read until
// Lead.
func Open(ctx context.Context, dsn string) (*Store, error) {
	at, err := placeOf(dsn)
	if err != nil {
		return nil, err
	}
	db, err := at.open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", at, err)
	}
	s := &Store{db: db, lite: at.server == nil, deposed: make(chan struct{}, 1)}
	if s.lite {
		err = sound(ctx, db)
	}
	if err == nil {
		err = migrate(ctx, db, s.lite)
	}
	if err == nil && s.lite {
		err = s.Lead(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", at, explain(err)), db.Close())
	}
	return s, nil
}

// OpenToRead opens a database of this version for reading alone, also one that a leader in another process writes to, if it
// is PostgreSQL. Every write fails with ErrNotLeader. A SQLite file that a gatekeeper has open can not be opened.
func OpenToRead(ctx context.Context, dsn string) (*Store, error) {
	at, err := placeOf(dsn)
	if err != nil {
		return nil, err
	}
	db, err := at.openToRead()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", at, err)
	}
	s := &Store{db: db, lite: at.server == nil, deposed: make(chan struct{}, 1)}
	if s.lite {
		err = sound(ctx, db)
	}
	if err == nil {
		var known int
		err = db.QueryRowContext(ctx, `SELECT count(*) FROM rollouts WHERE adopted = 1`).Scan(&known)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w; a gatekeeper of this version must have opened it before", at, explain(err)), db.Close())
	}
	return s, nil
}

// Close releases the database. The Store can not be used afterwards.
func (s *Store) Close() error { return s.db.Close() }

// Lead takes a new term: from its return on, writes of every other Store on the same database fail with ErrNotLeader. A
// write of another that is under way is waited for.
func (s *Store) Lead(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.db.QueryRowContext(ctx, `UPDATE leader SET term = term + 1 RETURNING term`).Scan(&s.term); err != nil {
		return fmt.Errorf("take the lead of the ledger: %w", err)
	}
	return nil
}

// Deposed waits until any write of this Store was refused with ErrNotLeader, and returns that; nil when ctx ends before. One
// caller is told.
func (s *Store) Deposed(ctx context.Context) error {
	select {
	case <-s.deposed:
		return ErrNotLeader
	case <-ctx.Done():
		return nil
	}
}

// write lets do change the database in one transaction of this Store's term: all of it is durable on return, or none.
func (s *Store) write(ctx context.Context, do func(*sql.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back, which is not an error to tell
	// The row is locked until the end: writers come one after the other, and none after the term's.
	var count int64
	err = tx.QueryRowContext(ctx, `UPDATE leader SET writes = writes + 1 WHERE term = $1 RETURNING writes`, s.term).Scan(&count)
	if errors.Is(err, sql.ErrNoRows) {
		select {
		case s.deposed <- struct{}{}:
		default: // it is known
		}
		return ErrNotLeader
	}
	if err == nil {
		err = do(tx)
	}
	if err == nil {
		if err = tx.Commit(); err != nil && s.committed(ctx, count) {
			err = nil
		}
	}
	return explain(err)
}

// resolveEvery is how often a database that went away during a commit is asked what became of it.
const resolveEvery = 100 * time.Millisecond

// committed finds out, until ctx ends, whether a write took effect whose acknowledgement was lost with the connection. The
// caller holds writing, so nobody of this term has written since.
func (s *Store) committed(ctx context.Context, count int64) bool {
	wait := time.NewTicker(resolveEvery)
	defer wait.Stop()
	for ctx.Err() == nil {
		var term, writes int64
		if err := s.db.QueryRowContext(ctx, `SELECT term, writes FROM leader`).Scan(&term, &writes); err == nil {
			return term == s.term && writes == count
		}
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
	}
	return false
}

// SavePolicy keeps a policy's document under its digest, durably.
func (s *Store) SavePolicy(ctx context.Context, digest string, document []byte) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO policies (digest, document) VALUES ($1, $2) ON CONFLICT DO NOTHING`, digest, string(document))
		return err
	})
	if err != nil {
		return fmt.Errorf("save policy %s: %w", digest, err)
	}
	return nil
}

// Policy is the document of that digest, or rollout.ErrNotFound.
func (s *Store) Policy(ctx context.Context, digest string) ([]byte, error) {
	return s.document(ctx, "policy", digest, `SELECT document FROM policies WHERE digest = $1`)
}

// SaveMemo keeps a small document under its name in place of the one before, with entries about the change, durably.
func (s *Store) SaveMemo(ctx context.Context, name string, document []byte, entries ...rollout.Entry) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO memos (name, document) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET document = excluded.document`, name, string(document))
		if err != nil {
			return err
		}
		return saveEntries(ctx, tx, entries)
	})
	if err != nil {
		return fmt.Errorf("save memo %s: %w", name, err)
	}
	return nil
}

// Memo is the document of that name, or rollout.ErrNotFound.
func (s *Store) Memo(ctx context.Context, name string) ([]byte, error) {
	return s.document(ctx, "memo", name, `SELECT document FROM memos WHERE name = $1`)
}

func (s *Store) document(ctx context.Context, what, key, query string) ([]byte, error) {
	var document []byte
	err := s.db.QueryRowContext(ctx, query, key).Scan(&document)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s %q: %w", what, key, rollout.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", what, key, err)
	}
	return document, nil
}
