package policy

import (
	"encoding/json"
	"fmt"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// TapeOf is the tape of the rollout that entry closes, without its ticks: the ledger keeps those beside its entries.
func TapeOf(entry rollout.Entry) (Tape, error) {
	var account rollout.Account
	if err := json.Unmarshal(entry.Body, &account); err != nil {
		return Tape{}, fmt.Errorf("decode the ledger's entry %d: %w", entry.Seq, err)
	}
	rules, err := FromDocument(account.Rules)
	if err != nil {
		return Tape{}, fmt.Errorf("read the ledger's entry %d: %w", entry.Seq, err)
	}
	return Tape{Seq: entry.Seq, Hash: entry.Hash, Rollout: account.Rollout, Rules: rules}, nil
}
