package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// rolloutsAtOnce bounds one step of Prune: the next verdict waits for it.
const rolloutsAtOnce = 20

// Prune deletes the ticks of rollouts that ended longer than keep before now, and messages of that age that were delivered
// or refused, with what sinks gave back. Rollouts and entries stay; an entry of the ledger says whose ticks were deleted. It goes in small steps, each
// durable by itself, and returns for how many rollouts there was something to delete.
func (s *Store) Prune(ctx context.Context, now time.Time, keep time.Duration) (rollouts int, err error) {
	before := now.Add(-keep)
	for {
		var found []rollout.PrunedRollout
		err := s.write(ctx, func(tx *sql.Tx) error {
			var err error
			if found, err = pruneTicks(ctx, tx, before); err != nil || len(found) == 0 {
				return err
			}
			body, err := json.Marshal(rollout.Pruned{Before: before, Rollouts: found})
			if err != nil {
				return err
			}
			return saveEntries(ctx, tx, []rollout.Entry{{At: now, Kind: rollout.EntryPruned, Body: body}})
		})
		rollouts += len(found)
		if err != nil {
			return rollouts, fmt.Errorf("prune ticks: %w", err)
		}
		if len(found) < rolloutsAtOnce {
			break
		}
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM outbox WHERE state <> 'waiting' AND at < $1`, before.UnixMilli()); err != nil {
			return err
		}
		// One under way may have something to say at the same place.
		_, err := tx.ExecContext(ctx, `DELETE FROM threads WHERE rollout NOT IN (SELECT rollout FROM outbox) AND rollout NOT IN (SELECT id FROM rollouts WHERE reported = 0)`)
		return err
	})
	if err != nil {
		return rollouts, fmt.Errorf("prune messages: %w", err)
	}
	return rollouts, nil
}

// pruneTicks deletes the ticks of some rollouts, the oldest ones.
func pruneTicks(ctx context.Context, tx *sql.Tx, before time.Time) (pruned []rollout.PrunedRollout, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, tape_ticks FROM rollouts WHERE reported = 1 AND ended_at < $1
		AND EXISTS (SELECT 1 FROM ticks WHERE rollout = id) ORDER BY started_at, id LIMIT $2`, before.UnixMilli(), rolloutsAtOnce)
	if err != nil {
		return nil, err
	}
	err = each(rows, func() error {
		var r rollout.PrunedRollout
		err := rows.Scan(&r.ID, &r.Ticks)
		pruned = append(pruned, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range pruned {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ticks WHERE rollout = $1`, r.ID); err != nil {
			return nil, fmt.Errorf("of rollout %s: %w", r.ID, err)
		}
	}
	return pruned, nil
}
