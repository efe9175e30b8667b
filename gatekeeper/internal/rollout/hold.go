package rollout

import (
	"slices"
	"time"
)

// Held is a time in which a gate kept a rollout where it was: Flagger asked to go on and was told no because of it. Gates are
// looked at when Flagger asks, so both ends are as exact as its interval.
type Held struct {
	Gate   string    `json:"gate"`  // its kind
	Stage  string    `json:"stage"` // what the rollout wanted to do
	Why    string    `json:"why"`   // the gate's words, when it began
	From   time.Time `json:"from"`
	To     time.Time `json:"to,omitzero"`      // zero: it still holds
	Opened string    `json:"opened,omitempty"` // what opened it, in the gate's words; "": the rollout ended, or went another way
}

// maxHeld bounds what one rollout remembers of its gates: one that opens and closes all day must not grow it for ever.
const maxHeld = 200

// maxWhy bounds what a gate says, in characters: the summary of an alert may be as long as somebody wants.
const maxWhy = 300

func brief(why string) string {
	if all := []rune(why); len(all) > maxWhy {
		return string(all[:maxWhy-1]) + "…"
	}
	return why
}

// Hold takes in which gates hold at a stage, Gate and Why of each. Times of those that hold there no longer end, by what opened
// says of their kind.
func (r *Rollout) Hold(stage string, holding []Held, opened map[string]string, now time.Time) {
	r.Held = slices.Clone(r.Held) // copies share it
	for i, h := range r.Held {
		still := slices.ContainsFunc(holding, func(n Held) bool { return n.Gate == h.Gate })
		if h.Stage == stage && h.To.IsZero() && !still {
			r.Held[i].To, r.Held[i].Opened = now, brief(opened[h.Gate])
		}
	}
	for _, h := range holding {
		known := slices.ContainsFunc(r.Held, func(k Held) bool { return k.To.IsZero() && k.Gate == h.Gate && k.Stage == stage })
		if !known && len(r.Held) < maxHeld {
			r.Held = append(r.Held, Held{Gate: h.Gate, Stage: stage, Why: brief(h.Why), From: now})
		}
	}
}

// IsHeld reports whether a gate holds it.
func (r *Rollout) IsHeld() bool {
	return slices.ContainsFunc(r.Held, func(h Held) bool { return h.To.IsZero() })
}

// letGo ends all times in which gates held it.
func (r *Rollout) letGo(now time.Time) {
	r.Held = slices.Clone(r.Held) // copies share it
	for i := range r.Held {
		if r.Held[i].To.IsZero() {
			r.Held[i].To = now
		}
	}
}
