// Package store remembers rollouts and messages in SQLite.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // registers the driver "sqlite", in pure Go

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

//go:embed schema/*.sql
var schema embed.FS

// Store is one SQLite database. Safe for concurrent use; SQLite lets one writer in at a time.
type Store struct {
	db *sql.DB
}

// Open opens the database file, makes it when it is missing, and brings its schema up to date. A file that can not be
// read is an error: a gatekeeper that starts with an empty memory would forget a verdict.
func Open(ctx context.Context, file string) (*Store, error) {
	// WAL with synchronous=FULL: what was acknowledged survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
	dsn := url.URL{Scheme: "file", Opaque: file, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	// Exclusive: a second gatekeeper on the same volume, such as the one before that is not quite dead, must not write
	// too. It waits ten seconds for its turn, then gives up. That needs a single connection.
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), db.Close())
	}
	return &Store{db: db}, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(schema, "schema")
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
}

// Close releases the file. The Store can not be used afterwards.
func (s *Store) Close() error { return s.db.Close() }

// Save writes rollouts with their counters, new ticks and news in one transaction: all of it is durable on return, or none.
// Ticks and news that are there already stay as they are.
func (s *Store) Save(ctx context.Context, changes ...rollout.Change) error {
	if len(changes) == 0 {
		return nil
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("save rollouts: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back, which is not an error to tell
	record, err := tx.PrepareContext(ctx, `INSERT INTO rollouts (id, canary, started_at, reported, record, counters) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET reported = excluded.reported, record = excluded.record, counters = excluded.counters`)
	if err != nil {
		return fmt.Errorf("save rollouts: %w", err)
	}
	tick, err := tx.PrepareContext(ctx, `INSERT INTO ticks (rollout, at, tick, outcome, reason, digest) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		return fmt.Errorf("save ticks: %w", err)
	}
	for _, c := range changes {
		if err := saveChange(ctx, record, tick, c); err != nil {
			return err
		}
		if err := saveNews(ctx, tx, c.News); err != nil {
			return err
		}
		if err := saveEntries(ctx, tx, c.Entries); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("save rollouts: %w", err)
	}
	return nil
}

func saveChange(ctx context.Context, record, tick *sql.Stmt, c rollout.Change) error {
	r := c.Rollout
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode rollout %s: %w", r.ID, err)
	}
	counters, err := json.Marshal(c.Book)
	if err != nil {
		return fmt.Errorf("encode counters of %s: %w", r.ID, err)
	}
	if _, err := record.ExecContext(ctx, r.ID, r.Canary.String(), r.StartedAt.UnixMilli(), r.Reported, string(text), string(counters)); err != nil {
		return fmt.Errorf("save rollout %s: %w", r.ID, err)
	}
	for _, t := range c.Ticks {
		text, err := json.Marshal(t.Tick)
		if err != nil {
			return fmt.Errorf("encode tick of %s: %w", r.ID, err)
		}
		if _, err := tick.ExecContext(ctx, r.ID, t.Tick.At.UnixNano(), string(text), t.Outcome, t.Reason, t.Digest); err != nil {
			return fmt.Errorf("save tick of %s: %w", r.ID, err)
		}
	}
	return nil
}

// SavePolicy keeps a policy's document under its digest, durably.
func (s *Store) SavePolicy(ctx context.Context, digest string, document []byte) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO policies (digest, document) VALUES (?, ?) ON CONFLICT DO NOTHING`, digest, string(document)); err != nil {
		return fmt.Errorf("save policy %s: %w", digest, err)
	}
	return nil
}

// Policy is the document of that digest, or rollout.ErrNotFound.
func (s *Store) Policy(ctx context.Context, digest string) ([]byte, error) {
	return s.document(ctx, "policy", digest, `SELECT document FROM policies WHERE digest = ?`)
}

// SaveMemo keeps a small document under its name in place of the one before, durably.
func (s *Store) SaveMemo(ctx context.Context, name string, document []byte) error {
	if _, err := s.db.ExecContext(ctx, `INSERT INTO memos (name, document) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET document = excluded.document`, name, string(document)); err != nil {
		return fmt.Errorf("save memo %s: %w", name, err)
	}
	return nil
}

// Memo is the document of that name, or rollout.ErrNotFound.
func (s *Store) Memo(ctx context.Context, name string) ([]byte, error) {
	return s.document(ctx, "memo", name, `SELECT document FROM memos WHERE name = ?`)
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

// Ticks are all recorded ticks of a rollout, in the order of time.
func (s *Store) Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT tick, outcome, reason, digest FROM ticks WHERE rollout = ? ORDER BY at`, id)
	if err != nil {
		return nil, fmt.Errorf("read ticks of %q: %w", id, err)
	}
	defer rows.Close()
	var all []rollout.JudgedTick
	for rows.Next() {
		var t rollout.JudgedTick
		var text []byte
		if err := rows.Scan(&text, &t.Outcome, &t.Reason, &t.Digest); err != nil {
			return nil, fmt.Errorf("read ticks of %q: %w", id, err)
		}
		if err := json.Unmarshal(text, &t.Tick); err != nil {
			return nil, fmt.Errorf("decode tick of %q: %w", id, err)
		}
		all = append(all, t)
	}
	return all, rows.Err()
}

func saveNews(ctx context.Context, tx *sql.Tx, news []rollout.News) error {
	for _, n := range news {
		body, err := json.Marshal(n)
		if err != nil {
			return fmt.Errorf("encode news %s: %w", n.Key(), err)
		}
		for _, sink := range n.Sinks {
			_, err = tx.ExecContext(ctx, `INSERT INTO outbox (key, sink, news, due_at) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`, n.Key(), sink, string(body), n.At.UnixMilli())
			if err != nil {
				return fmt.Errorf("save news %s: %w", n.Key(), err)
			}
		}
	}
	return nil
}

func saveEntries(ctx context.Context, tx *sql.Tx, entries []rollout.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var last rollout.Entry
	err := tx.QueryRowContext(ctx, `SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1`).Scan(&last.Seq, &last.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the ledger's end: %w", err)
	}
	for _, e := range entries {
		e = e.After(last)
		if _, err := tx.ExecContext(ctx, `INSERT INTO entries (seq, at, kind, rollout, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			e.Seq, e.At.UnixNano(), e.Kind, e.Rollout, string(e.Body), e.Previous, e.Hash); err != nil {
			return fmt.Errorf("save entry of %s: %w", e.Rollout, err)
		}
		last = e
	}
	return nil
}

// Entries are the ledger's entries after seq, at most limit, in their order.
func (s *Store) Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT seq, at, kind, rollout, body, previous, hash FROM entries WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	var all []rollout.Entry
	for rows.Next() {
		var e rollout.Entry
		var at int64
		var body string
		if err := rows.Scan(&e.Seq, &at, &e.Kind, &e.Rollout, &body, &e.Previous, &e.Hash); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		e.At, e.Body = time.Unix(0, at).UTC(), json.RawMessage(body)
		all = append(all, e)
	}
	return all, rows.Err()
}

// Find returns the rollouts that q chooses, newest first, and how many there are without its limit.
func (s *Store) Find(ctx context.Context, q rollout.Query) (page []rollout.Brief, total int, err error) {
	all, err := s.List(ctx, q.Canary, 1<<30)
	if err != nil {
		return nil, 0, err
	}
	for i := range all {
		b := all[i].Brief()
		result := q.Result == "" || q.Result == b.Result || q.Result == rollout.Open && b.Result == ""
		if result && (q.DeployID == "" || q.DeployID == b.Revision.DeployID) {
			page = append(page, b)
		}
	}
	return page, len(page), nil
}

// Open rollouts are those whose report entry is not written yet.
func (s *Store) Open(ctx context.Context) ([]rollout.Rollout, []rollout.Book, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT record, counters FROM rollouts WHERE reported = 0 ORDER BY started_at`)
	if err != nil {
		return nil, nil, fmt.Errorf("read open rollouts: %w", err)
	}
	defer rows.Close()
	var rollouts []rollout.Rollout
	var books []rollout.Book
	for rows.Next() {
		var record, counters []byte
		if err := rows.Scan(&record, &counters); err != nil {
			return nil, nil, fmt.Errorf("read open rollouts: %w", err)
		}
		var r rollout.Rollout
		book := rollout.Book{}
		if err := errors.Join(json.Unmarshal(record, &r), json.Unmarshal(counters, &book)); err != nil {
			return nil, nil, fmt.Errorf("decode open rollout: %w", err)
		}
		rollouts, books = append(rollouts, r), append(books, book)
	}
	return rollouts, books, rows.Err()
}

// List returns the newest rollouts first, at most limit, of one Canary ("namespace/name") or of all ("").
func (s *Store) List(ctx context.Context, canary string, limit int) ([]rollout.Rollout, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT record FROM rollouts WHERE ? IN ('', canary) ORDER BY started_at DESC, id LIMIT ?`, canary, limit)
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	defer rows.Close()
	all := []rollout.Rollout{}
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list rollouts: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Get returns one rollout, or rollout.ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (rollout.Rollout, error) {
	r, err := scan(s.db.QueryRowContext(ctx, `SELECT record FROM rollouts WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return rollout.Rollout{}, fmt.Errorf("rollout %q: %w", id, rollout.ErrNotFound)
	}
	if err != nil {
		return rollout.Rollout{}, fmt.Errorf("read rollout %q: %w", id, err)
	}
	return r, nil
}

func scan(row interface{ Scan(...any) error }) (rollout.Rollout, error) {
	var record []byte
	if err := row.Scan(&record); err != nil {
		return rollout.Rollout{}, err
	}
	var r rollout.Rollout
	if err := json.Unmarshal(record, &r); err != nil {
		return rollout.Rollout{}, fmt.Errorf("decode rollout: %w", err)
	}
	return r, nil
}

// Due returns the messages that wait and whose time has come, oldest first.
func (s *Store) Due(ctx context.Context, now time.Time) ([]rollout.Message, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT news, sink, attempts FROM outbox WHERE state = 'waiting' AND due_at <= ? ORDER BY id`, now.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	defer rows.Close()
	var due []rollout.Message
	for rows.Next() {
		var m rollout.Message
		var news []byte
		if err := rows.Scan(&news, &m.Sink, &m.Attempts); err != nil {
			return nil, fmt.Errorf("read outbox: %w", err)
		}
		if err := json.Unmarshal(news, &m.News); err != nil {
			return nil, fmt.Errorf("decode message: %w", err)
		}
		due = append(due, m)
	}
	return due, rows.Err()
}

// Delivered marks a message as received: it is not sent again.
func (s *Store) Delivered(ctx context.Context, key string) error {
	return s.mark(ctx, key, `UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = '' WHERE key = ?`, key)
}

// Refused marks a message that the receiver will never take.
func (s *Store) Refused(ctx context.Context, key, why string) error {
	return s.mark(ctx, key, `UPDATE outbox SET state = 'refused', attempts = attempts + 1, last_error = ? WHERE key = ?`, why, key)
}

// Retry lets a message wait until due.
func (s *Store) Retry(ctx context.Context, key, why string, due time.Time) error {
	return s.mark(ctx, key, `UPDATE outbox SET due_at = ?, attempts = attempts + 1, last_error = ? WHERE key = ?`, due.UnixMilli(), why, key)
}

func (s *Store) mark(ctx context.Context, key, statement string, args ...any) error {
	if _, err := s.db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("update message %s: %w", key, err)
	}
	return nil
}
