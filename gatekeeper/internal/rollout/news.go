package rollout

import (
	"fmt"
	"time"
)

// Happening is what people are told of.
type Happening string

// HasStarted opens a rollout's news; its result closes them.
const HasStarted Happening = "started"

// A rollout that waits for a person: held longer than its policy says, or with nobody steering its traffic.
const (
	IsWaiting    Happening = "waiting"
	IsUnattended Happening = "unattended"
)

// News is one thing that people are told, as receivers get it.
type News struct {
	Event    Happening `json:"event"`
	Rollout  string    `json:"rollout"`
	Canary   Key       `json:"canary"`
	Revision Revision  `json:"revision"`
	Stable   Revision  `json:"stable"`
	Text     string    `json:"text"`
	At       time.Time `json:"at"`
	Reasons  []Reason  `json:"reasons"`
}

// Key is the same each time the same news is made, so that nobody is told twice.
func (n News) Key() string { return n.Rollout + "/" + string(n.Event) }

// Message is news in the outbox, with the number of times it was sent in vain.
type Message struct {
	News     News
	Attempts int
}

// News tells of an event in r at now.
func (r *Rollout) News(event Happening, now time.Time) News {
	text := r.Summary()
	if event == HasStarted {
		text = fmt.Sprintf("%s of %s is being rolled out, stable is %s", r.Revision.Label(), r.Canary, r.Stable.Label())
	}
	return News{
		Event: event, Rollout: r.ID, Canary: r.Canary, Revision: r.Revision, Stable: r.Stable,
		Text: text, At: now, Reasons: r.Verdict.Reasons,
	}
}
