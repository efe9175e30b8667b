package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// rowsAtOnce bounds one statement: a thousand rollouts are saved every second, and the database may be a network away.
const rowsAtOnce = 100

// Save writes rollouts with their counters, new ticks, news and entries in one transaction: all of it is durable on return,
// or none. Ticks, news and entries that are there already stay as they are, so that a save whose fate is not known can be
// made again. A rollout is in changes once. Ticks that do not continue the recorded tape are an error.
func (s *Store) Save(ctx context.Context, changes ...rollout.Change) error {
	if len(changes) == 0 {
		return nil
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := saveTicks(ctx, tx, changes); err != nil {
			return err
		}
		if err := saveRecords(ctx, tx, changes); err != nil {
			return err
		}
		if err := saveNews(ctx, tx, changes); err != nil {
			return err
		}
		for _, c := range changes {
			if err := saveEntries(ctx, tx, c.Entries); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save rollouts: %w", err)
	}
	return nil
}

// saveRecords writes the rollouts themselves, for lists and as documents.
func saveRecords(ctx context.Context, tx *sql.Tx, changes []rollout.Change) error {
	lines, records := make([][]any, 0, len(changes)), make([][]any, 0, len(changes))
	for i := range changes {
		r := &changes[i].Rollout
		l, err := lineOf(r)
		if err != nil {
			return fmt.Errorf("encode rollout %s: %w", r.ID, err)
		}
		record, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode rollout %s: %w", r.ID, err)
		}
		counters, err := json.Marshal(changes[i].Book)
		if err != nil {
			return fmt.Errorf("encode counters of %s: %w", r.ID, err)
		}
		lines = append(lines, []any{l.ID, l.Canary, l.StartedAt, l.Reported, l.EndedAt, l.Result, l.DeployID, l.Search, string(l.Brief), l.TapeTicks, l.TapeDigest})
		records = append(records, []any{r.ID, string(record), string(counters)})
	}
	err := insert(ctx, tx, `rollouts (id, canary, started_at, reported, ended_at, result, deploy_id, search, brief, tape_ticks, tape_digest)`, lines,
		`ON CONFLICT (id) DO UPDATE SET reported = excluded.reported, ended_at = excluded.ended_at, result = excluded.result, deploy_id = excluded.deploy_id,
		search = excluded.search, brief = excluded.brief, tape_ticks = excluded.tape_ticks, tape_digest = excluded.tape_digest`)
	if err != nil {
		return fmt.Errorf("save rollouts: %w", err)
	}
	err = insert(ctx, tx, `records (rollout, record, counters)`, records, `ON CONFLICT (rollout) DO UPDATE SET record = excluded.record, counters = excluded.counters`)
	if err != nil {
		return fmt.Errorf("save records: %w", err)
	}
	return nil
}

// saveTicks writes the ticks that the recorded tapes do not have yet, and checks that the tapes are then as the rollouts
// say.
func saveTicks(ctx context.Context, tx *sql.Tx, changes []rollout.Change) error {
	tapes, err := tapesOf(ctx, tx, changes)
	if err != nil {
		return err
	}
	var rows [][]any
	for i := range changes {
		id, want := changes[i].Rollout.ID, changes[i].Rollout.Tape
		tape := tapes[id]
		before := want.Ticks - len(changes[i].Ticks)
		have := tape.Ticks - before // of these ticks
		if before < 0 || have < 0 || have > len(changes[i].Ticks) {
			return fmt.Errorf("save ticks of %s: the tape has %d, %d new ones do not make %d of them", id, tape.Ticks, len(changes[i].Ticks), want.Ticks)
		}
		for _, t := range changes[i].Ticks[have:] {
			text, err := json.Marshal(t.Tick)
			if err != nil {
				return fmt.Errorf("encode tick of %s: %w", id, err)
			}
			tape = tape.Add(t)
			rows = append(rows, []any{id, tape.Ticks, string(text), string(t.Outcome), t.Reason, t.Digest})
		}
		if tape != want {
			return fmt.Errorf("save ticks of %s: tick %d is another than the rollout's tape says", id, tape.Ticks)
		}
	}
	if err := insert(ctx, tx, `ticks (rollout, n, tick, outcome, reason, digest)`, rows, ``); err != nil {
		return fmt.Errorf("save ticks: %w", err)
	}
	return nil
}

// tapesOf are the tapes as recorded so far.
func tapesOf(ctx context.Context, tx *sql.Tx, changes []rollout.Change) (map[string]rollout.Tape, error) {
	tapes := make(map[string]rollout.Tape, len(changes))
	for chunk := range slices.Chunk(changes, rowsAtOnce) {
		ids := make([]any, 0, len(chunk))
		for i := range chunk {
			ids = append(ids, chunk[i].Rollout.ID)
		}
		rows, err := tx.QueryContext(ctx, `SELECT id, tape_ticks, tape_digest FROM rollouts WHERE id IN `+places(1, len(ids)), ids...)
		if err != nil {
			return nil, fmt.Errorf("read tapes: %w", err)
		}
		err = each(rows, func() error {
			var id string
			var tape rollout.Tape
			if err := rows.Scan(&id, &tape.Ticks, &tape.Digest); err != nil {
				return err
			}
			tapes[id] = tape
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read tapes: %w", err)
		}
	}
	return tapes, nil
}

// insert writes rows, many with one statement. into is a table with its columns, conflict what to do about rows that are there.
func insert(ctx context.Context, tx *sql.Tx, into string, rows [][]any, conflict string) error {
	for chunk := range slices.Chunk(rows, rowsAtOnce) {
		values, args := make([]string, 0, len(chunk)), make([]any, 0, len(chunk)*len(chunk[0]))
		for _, row := range chunk {
			values = append(values, places(len(args)+1, len(row)))
			args = append(args, row...)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO `+into+` VALUES `+strings.Join(values, ", ")+` `+conflict, args...); err != nil {
			return err
		}
	}
	return nil
}

// places are n placeholders from $first on, in parentheses.
func places(first, n int) string {
	all := make([]string, 0, n)
	for i := range n {
		all = append(all, fmt.Sprintf("$%d", first+i))
	}
	return "(" + strings.Join(all, ", ") + ")"
}

// each calls do at every row, and closes rows.
func each(rows *sql.Rows, do func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := do(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// plain is text that both databases take: PostgreSQL has no place for a zero byte.
func plain(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
