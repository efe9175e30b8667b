package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Tick is the evidence at one moment: counts since the rollout's first traffic, and how the canary's pods are. It holds
// all that a verdict needs beside the policy, so that recorded ticks can be judged again.
type Tick struct {
	At        time.Time     `json:"at"`
	Phase     Phase         `json:"phase"`
	Canary    Counts        `json:"canary"`
	Primary   Counts        `json:"primary"`
	Weight    int           `json:"weight"`
	Next      int           `json:"next"`                // weight that Flagger asks for next, 100 for the promotion
	Age       time.Duration `json:"age"`                 // of the oldest part of the canary's counts
	Answering int           `json:"answering"`           // canary pods that answered at this tick
	Uncounted int           `json:"uncounted,omitempty"` // those of them without the counter of responses on their page
	NoCounter bool          `json:"noCounter,omitempty"` // nor has a pod of the primary it
	Trouble   string        `json:"trouble,omitempty"`   // why a canary pod did not answer
	Health    Health        `json:"health"`
	Ingress   *Opinion      `json:"ingress,omitempty"` // nil when the ingress is not a source
	Latency   *Latency      `json:"latency,omitempty"` // nil when the policy does not ask for it
	Failing   []Failing     `json:"failing,omitempty"` // those that the rollout did not know of; no verdict looks at them
}

// Health is what the Kubernetes API says of the canary's pods.
type Health struct {
	Pods       int           `json:"pods"`
	Ready      int           `json:"ready"`
	UnreadyFor time.Duration `json:"unreadyFor,omitempty"` // since it was ready, of the pod that has been so longest
	// DownFor is how long no pod at all has been ready while traffic was assigned, 0 while one is.
	DownFor  time.Duration `json:"downFor,omitempty"`
	Restarts int           `json:"restarts,omitempty"` // of the pod that was restarted most
	// Waiting is the kubelet's word for why a container does not run, Pod whose, Text what it says.
	Waiting string `json:"waiting,omitempty"`
	Pod     string `json:"pod,omitempty"`
	Text    string `json:"text,omitempty"`
	// WaitingFor is how long something has been wrong with starting a container.
	WaitingFor time.Duration `json:"waitingFor,omitempty"`
}

// Opinion is what another source counted, cumulative since this source was first read for the rollout.
type Opinion struct {
	Canary  Counts        `json:"canary"`
	Primary Counts        `json:"primary"`
	Age     time.Duration `json:"age"`               // of its counts
	Trouble string        `json:"trouble,omitempty"` // why there is nothing newer
}

// Latency counts responses by the time they took, cumulative in both senses: Canary[i] responses took at most Bounds[i]
// seconds. The last bound is +Inf and left out of Bounds; its counts are the last ones.
type Latency struct {
	Bounds  []float64 `json:"bounds"`
	Canary  []uint64  `json:"canary"`
	Primary []uint64  `json:"primary"`
}

// JudgedTick is a tick with the verdict it led to, as recorded.
type JudgedTick struct {
	Tick    Tick    `json:"tick"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"` // kind of the strongest one
	// Digest is of the whole verdict, numbers included: two that have the same agree bit for bit.
	Digest string `json:"digest"`
}

// Judge binds a tick to its verdict.
func Judge(t Tick, v Verdict) JudgedTick {
	text, _ := json.Marshal(v) // holds only what can be encoded: no verdict has an infinite number
	sum := sha256.Sum256(text)
	return JudgedTick{Tick: t, Outcome: v.Outcome, Reason: v.Kind(), Digest: hex.EncodeToString(sum[:8])}
}

// Tape says which ticks a rollout has, by their number and a hash of all of them in their order. It grows with each tick,
// so it can be kept with the rollout and the ticks need never be read again to know whether they are still the same.
type Tape struct {
	Ticks int `json:"ticks"`
	// Digest is the SHA-256, in hex, of the digest before and the JSON of the tick; "" without ticks.
	Digest string `json:"digest,omitempty"`
}

// Add gives the tape with one more tick.
func (t Tape) Add(tick JudgedTick) Tape {
	text, _ := json.Marshal(tick) // holds only what can be encoded
	sum := sha256.Sum256(append([]byte(t.Digest), text...))
	return Tape{Ticks: t.Ticks + 1, Digest: hex.EncodeToString(sum[:])}
}

// Change is what is saved together: a rollout, its counters, its new ticks, the news of it and lines for the ledger.
type Change struct {
	Rollout Rollout
	Book    Book
	Ticks   []JudgedTick // the last of the rollout's tape: Rollout.Tape.Ticks is the number of the last one
	News    []News
	Entries []Entry
}

// Copy can be kept while r changes.
func (r *Rollout) Copy() Rollout {
	c := *r
	c.Steps, c.Timeline, c.Decisions = slices.Clone(r.Steps), slices.Clip(r.Timeline), slices.Clip(r.Decisions)
	return c
}

// Begun is r as it was when it began, to be judged again from its ticks.
func (r *Rollout) Begun() Rollout {
	return Rollout{
		ID: r.ID, Canary: r.Canary, Revision: r.Revision, Stable: r.Stable, Policy: r.Policy, PolicyDigest: r.PolicyDigest, StartedAt: r.StartedAt,
		Ingress: r.Ingress, Supersedes: r.Supersedes, AwaitsReset: r.Supersedes, Decisions: r.Decisions,
	}
}
