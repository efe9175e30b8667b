package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// reader is a database or a transaction in it.
type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// defaultPage is how many rollouts a query without a limit gets.
const defaultPage = 100

// Find returns the rollouts that q chooses, newest first, and how many there are without its limit.
func (s *Store) Find(ctx context.Context, q rollout.Query) (page []rollout.Brief, total int, err error) {
	where, args := conditions(q)
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM rollouts`+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count rollouts: %w", err)
	}
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	text := fmt.Sprintf(`SELECT brief FROM rollouts%s ORDER BY started_at DESC, id LIMIT $%d OFFSET $%d`, where, len(args)+1, len(args)+2)
	rows, err := s.db.QueryContext(ctx, text, append(args, q.Limit, q.Offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("find rollouts: %w", err)
	}
	err = each(rows, func() error {
		var b rollout.Brief
		if err := decode(rows, &b); err != nil {
			return err
		}
		page = append(page, b)
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("find rollouts: %w", err)
	}
	return page, total, nil
}

// conditions are q in SQL, from WHERE on.
func conditions(q rollout.Query) (where string, args []any) {
	var all []string
	add := func(condition string, arg any) {
		args = append(args, arg)
		all = append(all, fmt.Sprintf(condition, len(args)))
	}
	if q.Canary != "" {
		add("canary = $%d", plain(q.Canary))
	}
	if q.DeployID != "" {
		add("deploy_id = $%d", plain(q.DeployID))
	}
	switch q.Result {
	case "":
	case rollout.Open:
		add("result = $%d", "")
	default:
		add("result = $%d", plain(string(q.Result)))
	}
	if !q.Since.IsZero() {
		add("started_at >= $%d", q.Since.UnixMilli())
	}
	if !q.Before.IsZero() {
		add("started_at < $%d", q.Before.UnixMilli())
	}
	if q.Text != "" {
		add(`search LIKE $%d ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(plain(strings.ToLower(q.Text)))+"%")
	}
	if len(all) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(all, " AND "), args
}

// Open rollouts are those whose closing entry is not written yet, oldest first.
func (s *Store) Open(ctx context.Context) ([]rollout.Rollout, []rollout.Book, error) {
	return openRollouts(ctx, s.db)
}

func openRollouts(ctx context.Context, db reader) ([]rollout.Rollout, []rollout.Book, error) {
	rows, err := db.QueryContext(ctx, `SELECT record, counters FROM rollouts JOIN records ON rollout = id WHERE reported = 0 ORDER BY started_at, id`)
	if err != nil {
		return nil, nil, fmt.Errorf("read open rollouts: %w", err)
	}
	var rollouts []rollout.Rollout
	var books []rollout.Book
	err = each(rows, func() error {
		r, book := rollout.Rollout{}, rollout.Book{}
		if err := decode(rows, &r, &book); err != nil {
			return err
		}
		rollouts, books = append(rollouts, r), append(books, book)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read open rollouts: %w", err)
	}
	return rollouts, books, nil
}

// List returns the newest rollouts first, at most limit, of one Canary ("namespace/name") or of all ("").
func (s *Store) List(ctx context.Context, canary string, limit int) ([]rollout.Rollout, error) {
	where, args := conditions(rollout.Query{Canary: canary})
	text := fmt.Sprintf(`SELECT record FROM (SELECT id, started_at FROM rollouts%s ORDER BY started_at DESC, id LIMIT $%d) AS newest
		JOIN records ON rollout = id ORDER BY started_at DESC, id`, where, len(args)+1)
	rows, err := s.db.QueryContext(ctx, text, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	all := []rollout.Rollout{}
	err = each(rows, func() error {
		var r rollout.Rollout
		if err := decode(rows, &r); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	return all, nil
}

// Get returns one rollout, or rollout.ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (rollout.Rollout, error) {
	var r rollout.Rollout
	err := decode(s.db.QueryRowContext(ctx, `SELECT record FROM records WHERE rollout = $1`, plain(id)), &r)
	if errors.Is(err, sql.ErrNoRows) {
		return rollout.Rollout{}, fmt.Errorf("rollout %q: %w", id, rollout.ErrNotFound)
	}
	if err != nil {
		return rollout.Rollout{}, fmt.Errorf("read rollout %q: %w", id, err)
	}
	return r, nil
}

// ticksAtOnce bounds for how long one reading keeps the database from others: SQLite has a single connection.
const ticksAtOnce = 1000

// Ticks are all recorded ticks of a rollout in the order of its tape; none when they were pruned.
func (s *Store) Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error) {
	return ticksOf(ctx, s.db, id)
}

func ticksOf(ctx context.Context, db reader, id string) ([]rollout.JudgedTick, error) {
	var all []rollout.JudgedTick
	for after := int64(-1); ; {
		page, last, err := pageOfTicks(ctx, db, id, after)
		if err != nil {
			return nil, fmt.Errorf("read ticks of %q: %w", id, err)
		}
		if len(page) == 0 {
			return all, nil
		}
		all, after = append(all, page...), last
	}
}

// pageOfTicks are the next ticks after the one of number after, and the number of the last of them. They are decoded when
// the database is free again.
func pageOfTicks(ctx context.Context, db reader, id string, after int64) (page []rollout.JudgedTick, last int64, err error) {
	rows, err := db.QueryContext(ctx, `SELECT n, tick, outcome, reason, digest FROM ticks WHERE rollout = $1 AND n > $2 ORDER BY n LIMIT $3`, plain(id), after, ticksAtOnce)
	if err != nil {
		return nil, 0, err
	}
	var texts [][]byte
	err = each(rows, func() error {
		var t rollout.JudgedTick
		var text []byte
		err := rows.Scan(&last, &text, &t.Outcome, &t.Reason, &t.Digest)
		page, texts = append(page, t), append(texts, text)
		return err
	})
	for i := range texts {
		if err == nil {
			err = json.Unmarshal(texts[i], &page[i].Tick)
		}
	}
	return page, last, err
}

// decode reads a row of JSON documents.
func decode(row interface{ Scan(...any) error }, into ...any) error {
	texts, places := make([][]byte, len(into)), make([]any, len(into))
	for i := range texts {
		places[i] = &texts[i]
	}
	if err := row.Scan(places...); err != nil {
		return err
	}
	for i := range texts {
		if err := json.Unmarshal(texts[i], into[i]); err != nil {
			return fmt.Errorf("decode record: %w", err)
		}
	}
	return nil
}

// moment is a time as kept in nanoseconds.
func moment(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }
