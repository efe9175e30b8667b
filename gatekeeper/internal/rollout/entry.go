package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// EntryKind is what a line of the ledger is about.
type EntryKind string

// The kinds of entries.
const (
	// EntryRollout closes a rollout: its Body is an Account.
	EntryRollout EntryKind = "rollout"
	// EntryDecision is what a person said about one: its Body is a Decision.
	EntryDecision EntryKind = "decision"
	// EntryAlerts is a change of the alerts that hold rollouts.
	EntryAlerts EntryKind = "alerts"
	// EntryPruned says that ticks older than the retention time were deleted.
	EntryPruned EntryKind = "pruned"
)

// Entry is one line of the ledger: append-only, each bound to the one before by its hash. Seq, Previous and Hash are given
// by whoever remembers, in the transaction that writes it.
type Entry struct {
	Seq     int64           `json:"seq"` // 1, 2, 3 …
	At      time.Time       `json:"at"`
	Kind    EntryKind       `json:"kind"`
	Rollout string          `json:"rollout,omitempty"` // its id
	Body    json.RawMessage `json:"body"`
	// Previous is the hash of the entry before, "" of the first. Hash is Sum of this one.
	Previous string `json:"previous"`
	Hash     string `json:"hash"`
}

// Sum is the entry's hash: SHA-256, in hex, over all else that it holds. Each field stands behind its length, so that no
// two different entries are written alike.
func (e Entry) Sum() string {
	h := sha256.New()
	for _, field := range []string{e.Previous, fmt.Sprint(e.Seq), fmt.Sprint(e.At.UnixNano()), string(e.Kind), e.Rollout, string(e.Body)} {
		fmt.Fprintf(h, "%d:%s,", len(field), field)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// After binds e to the entry before it; the zero Entry is before the first.
func (e Entry) After(before Entry) Entry {
	e.At = e.At.UTC().Round(0)
	e.Seq, e.Previous = before.Seq+1, before.Hash
	e.Hash = e.Sum()
	return e
}

// Account is the body of an entry that closes a rollout: with the ticks of its tape it is all that its verdicts and its
// report can be made from again.
type Account struct {
	Rollout Rollout         `json:"rollout"` // its Tape says which ticks belong to it
	Rules   json.RawMessage `json:"rules"`   // policy.Rules by which it was judged
}

// Pruned is the body of an entry that says whose ticks were deleted.
type Pruned struct {
	Before   time.Time       `json:"before"` // rollouts that ended before
	Rollouts []PrunedRollout `json:"rollouts"`
}

// PrunedRollout is one rollout without its ticks; its Account stays.
type PrunedRollout struct {
	ID    string `json:"id"`
	Ticks int    `json:"ticks"` // that it had
}
