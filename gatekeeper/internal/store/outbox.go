package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func saveNews(ctx context.Context, tx *sql.Tx, changes []rollout.Change) error {
	var rows [][]any
	for i := range changes {
		for _, n := range changes[i].News {
			body, err := json.Marshal(n)
			if err != nil {
				return fmt.Errorf("encode news %s: %w", n.Key(), err)
			}
			for _, sink := range n.Sinks {
				rows = append(rows, []any{n.Key(), sink, n.Rollout, string(body), n.At.UnixMilli()})
			}
		}
	}
	if err := insert(ctx, tx, `outbox (key, sink, rollout, news, at)`, rows, `ON CONFLICT (key, sink) DO NOTHING`); err != nil {
		return fmt.Errorf("save news: %w", err)
	}
	return nil
}

// longestWait is more than anybody lets a message wait: one that is due later waits by a clock that was set back since.
const longestWait = 15 * time.Minute

// Due returns the messages that wait and whose time has come, oldest first. A message comes after those before it about the
// same rollout for the same sink: it is not due before they are delivered or refused.
func (s *Store) Due(ctx context.Context, now time.Time) ([]rollout.Message, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT o.news, o.sink, o.attempts, coalesce(t.thread, '') FROM outbox o
		LEFT JOIN threads t ON t.rollout = o.rollout AND t.sink = o.sink
		WHERE o.state = 'waiting' AND (o.due_at <= $1 OR o.due_at > $2) AND NOT EXISTS (
			SELECT 1 FROM outbox e WHERE e.state = 'waiting' AND e.rollout = o.rollout AND e.sink = o.sink AND e.id < o.id)
		ORDER BY o.id`, now.UnixMilli(), now.Add(longestWait).UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	var due []rollout.Message
	err = each(rows, func() error {
		var m rollout.Message
		var news []byte
		if err := rows.Scan(&news, &m.Sink, &m.Attempts, &m.Thread); err != nil {
			return err
		}
		if err := json.Unmarshal(news, &m.News); err != nil {
			return fmt.Errorf("decode message: %w", err)
		}
		due = append(due, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return due, nil
}

// Delivered marks the message of that key for that sink as received: it is not sent again. thread is what the sink gave
// back, for the next message about the same rollout; "" leaves what is there.
func (s *Store) Delivered(ctx context.Context, key, sink, thread string) error {
	return s.mark(ctx, key, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = '' WHERE key = $1 AND sink = $2`, key, sink); err != nil {
			return err
		}
		if thread == "" {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO threads (rollout, sink, thread) SELECT rollout, sink, $1 FROM outbox WHERE key = $2 AND sink = $3
			ON CONFLICT (rollout, sink) DO UPDATE SET thread = excluded.thread`, plain(thread), key, sink)
		return err
	})
}

// Refused marks a message that the receiver will never take.
func (s *Store) Refused(ctx context.Context, key, sink, why string) error {
	return s.mark(ctx, key, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'refused', attempts = attempts + 1, last_error = $1 WHERE key = $2 AND sink = $3`, plain(why), key, sink)
		return err
	})
}

// Retry lets a message wait until due.
func (s *Store) Retry(ctx context.Context, key, sink, why string, due time.Time) error {
	return s.mark(ctx, key, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE outbox SET due_at = $1, attempts = attempts + 1, last_error = $2 WHERE key = $3 AND sink = $4`, due.UnixMilli(), plain(why), key, sink)
		return err
	})
}

func (s *Store) mark(ctx context.Context, key string, do func(*sql.Tx) error) error {
	if err := s.write(ctx, do); err != nil {
		return fmt.Errorf("update message %s: %w", key, err)
	}
	return nil
}

// Waiting says how many messages are neither delivered nor refused, by sink.
func (s *Store) Waiting(ctx context.Context) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT sink, count(*) FROM outbox WHERE state = 'waiting' GROUP BY sink`)
	if err != nil {
		return nil, fmt.Errorf("count the outbox: %w", err)
	}
	waiting := map[string]int{}
	err = each(rows, func() error {
		var sink string
		var n int
		if err := rows.Scan(&sink, &n); err != nil {
			return err
		}
		waiting[sink] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count the outbox: %w", err)
	}
	return waiting, nil
}
