package keeper

import (
	"context"
	"fmt"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Ask answers one of Flagger's questions from memory. The error is rollout.ErrUnknownCanary or nil.
func (k *Keeper) Ask(hook rollout.Hook, key rollout.Key) (yes bool, why string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.canaries[key]; !known {
		return false, "", fmt.Errorf("canary %s: %w", key, rollout.ErrUnknownCanary)
	}
	if k.trouble != nil && hook != rollout.Rollback && hook != rollout.RolloutCheck {
		return false, "the gatekeeper can not record what it decides, nothing may go on: see its log", nil
	}
	var current *rollout.Rollout
	if open := k.open(key); open != nil {
		current = &open.rollout
	}
	yes, why = policy.Answer(hook, current, k.cfg.Now())
	return yes, why, nil
}

// noise are Flagger's messages that repeat at every tick and tell a reader of the timeline nothing.
func noise(text string) bool {
	for _, part := range []string{"not signaling a rollback", "check ", "Starting canary analysis"} {
		if strings.Contains(text, part) && !strings.Contains(text, "Halt ") {
			return true
		}
	}
	return false
}

// Heard writes one of Flagger's events into the timeline of the rollout under way, durably. Events of Canaries without
// one are dropped: Flagger reports its first installation too.
func (k *Keeper) Heard(ctx context.Context, key rollout.Key, text string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	open := k.open(key)
	if open == nil || noise(text) {
		return nil
	}
	open.rollout.Note(k.cfg.Now(), "flagger", text)
	return k.save(ctx, open)
}

// Finished notes Flagger's post-rollout message, durably. It does not end the rollout: the Canary's status, which
// Flagger writes before, does so at the next tick.
func (k *Keeper) Finished(ctx context.Context, key rollout.Key, phase rollout.Phase) error {
	return k.Heard(ctx, key, "post-rollout: "+string(phase))
}
