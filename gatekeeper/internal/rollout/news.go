package rollout

import (
	"fmt"
	"strconv"
	"time"
)

// Happening is what people are told of.
type Happening string

// HasStarted opens a rollout's news; its result closes them.
const HasStarted Happening = "started"

// A rollout that waits for a person: held longer than its policy says, with nobody steering its traffic, or with a promotion
// that does not end.
const (
	IsWaiting    Happening = "waiting"
	IsUnattended Happening = "unattended"
	IsStalled    Happening = "stalled"
)

// Severity is how much news ask of people.
type Severity string

// Info asks nothing of anybody, Warning that somebody looks, Critical says that users were hit or a person must act.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severity of what happened.
func (h Happening) Severity() Severity {
	switch h {
	case IsWaiting, IsUnattended, IsStalled, Happening(Aborted):
		return Warning
	case Happening(RolledBack), Happening(Stuck):
		return Critical
	default:
		return Info
	}
}

// Happenings are all of them.
func Happenings() []Happening {
	return []Happening{
		HasStarted, IsWaiting, IsUnattended, IsStalled, Happening(Promoted), Happening(RolledBack), Happening(Superseded), Happening(Aborted), Happening(Stuck),
	}
}

// News is one thing that people are told, as receivers get it.
type News struct {
	Event    Happening `json:"event"`
	Severity Severity  `json:"severity"`
	// Repeat is how often it was told of this rollout before. Quiet says that it has lasted since then: nobody needs to be
	// called a second time.
	Repeat   int      `json:"repeat,omitempty"`
	Quiet    bool     `json:"quiet,omitempty"`
	Policy   string   `json:"policy"`
	Rollout  string   `json:"rollout"`
	Canary   Key      `json:"canary"`
	Revision Revision `json:"revision"`
	Stable   Revision `json:"stable"`
	Version  int      `json:"version"` // of the rollout, for a decision in sight of it
	Weight   int      `json:"weight"`  // percent of the traffic that the canary has
	// Asks are the decisions that a person can make now.
	Asks    []DecisionKind `json:"asks,omitempty"`
	Text    string         `json:"text"`
	At      time.Time      `json:"at"`
	Reasons []Reason       `json:"reasons"`
	// Sinks are the names of those that are told; the outbox has one message for each.
	Sinks []string `json:"-"`
}

// Telling is how often people were told that something lasts, and when last. Over says that it has ended since. Since is
// when it began to last, also where people were not told again; zero while it does not.
type Telling struct {
	Times int       `json:"times"`
	At    time.Time `json:"at"`
	Over  bool      `json:"over,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Key is the same each time the same news is made, so that nobody is told twice.
func (n News) Key() string {
	key := n.Rollout + "/" + string(n.Event)
	if n.Repeat > 0 {
		key += "/" + strconv.Itoa(n.Repeat)
	}
	return key
}

// Message is news for one sink, in the outbox.
type Message struct {
	News     News
	Sink     string
	Attempts int // so far, in vain
	// Thread is what the sink gave back for the message before about the same rollout, such as a Slack message's channel
	// and timestamp; "" when there is none.
	Thread string
}

// News tells of an event in r at now.
func (r *Rollout) News(event Happening, now time.Time) News {
	text := r.Summary()
	if event == HasStarted {
		text = fmt.Sprintf("%s is being rolled out, stable is %s", r.subject(), r.Stable.Label())
	}
	return News{
		Event: event, Severity: event.Severity(), Policy: r.Policy, Rollout: r.ID, Canary: r.Canary, Revision: r.Revision, Stable: r.Stable,
		Version: r.Version, Weight: r.Latest.Weight, Text: text, At: now, Reasons: r.Verdict.Reasons,
	}
}
