// Package timeline says what must be seen on a cluster and when, and judges what was seen against it.
package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Event is a change that was seen: from At on, Subject has Value.
type Event struct {
	At             time.Time
	Subject, Value string
}

// state of a sight or an expectation.
type state int

const (
	open   state = iota // may still come true
	met                 // came true
	missed              // can not come true any more
)

// Sight is something to be seen, somewhere in a list of events.
type Sight struct {
	Name    string
	subject string
	find    func([]Event) (time.Time, state)
}

// Seen is the first event with that subject and value.
func Seen(subject, value string) Sight {
	return Sight{Name: subject + " " + value, subject: subject, find: func(events []Event) (time.Time, state) {
		for _, e := range events {
			if e.Subject == subject && e.Value == value {
				return e.At, met
			}
		}
		return time.Time{}, open
	}}
}

// Exactly is the subject going through these values in this order, and no other: one too many or out of order can not
// be made good. It is seen with the last one.
func Exactly(subject string, values ...string) Sight {
	return Sight{Name: subject + " " + strings.Join(values, ", "), subject: subject, find: func(events []Event) (time.Time, state) {
		at, n := time.Time{}, 0
		for _, e := range events {
			if e.Subject != subject {
				continue
			}
			if n == len(values) || e.Value != values[n] {
				return time.Time{}, missed
			}
			at, n = e.At, n+1
		}
		if n < len(values) {
			return time.Time{}, open
		}
		return at, met
	}}
}

// In finds s in events.
func (s Sight) In(events []Event) (time.Time, bool) {
	at, st := s.find(events)
	return at, st == met
}

// Window is a span of time after an anchor: the start of the scenario, or the moment something was seen.
type Window struct {
	from, to time.Duration
	anchor   *Sight
}

// Between is the window from from to to after the start.
func Between(from, to time.Duration) Window { return Window{from: from, to: to} }

// After moves the window: it is counted from the moment s is seen.
func (w Window) After(s Sight) Window {
	w.anchor = &s
	return w
}

func (w Window) String() string {
	text := fmt.Sprintf("%s to %s", w.from, w.to)
	if w.anchor != nil {
		text += " after " + w.anchor.Name
	}
	return text
}

// Expectation is a sight and the window it must be seen in.
type Expectation struct {
	window Window
	sight  Sight
}

// Want expects s within w.
func Want(w Window, s Sight) Expectation { return Expectation{window: w, sight: s} }

// judge says how e stands at now, and why when it is missed.
func (e Expectation) judge(events []Event, start, now time.Time) (state, string) {
	anchor := start
	if e.window.anchor != nil {
		at, ok := e.window.anchor.In(events)
		if !ok {
			return open, fmt.Sprintf("%s: not seen, and neither was %s", e.sight.Name, e.window.anchor.Name)
		}
		anchor = at
	}
	at, st := e.sight.find(events)
	switch after := at.Sub(anchor).Round(100 * time.Millisecond); {
	case st == missed:
		return missed, fmt.Sprintf("%s: saw %s instead", e.sight.Name, history(events, e.sight.subject))
	case st == met && after < e.window.from:
		return missed, fmt.Sprintf("%s: seen %s after the anchor, too early for %s", e.sight.Name, after, e.window)
	case st == met && after > e.window.to:
		return missed, fmt.Sprintf("%s: seen %s after the anchor, too late for %s", e.sight.Name, after, e.window)
	case st == met:
		return met, ""
	case now.After(anchor.Add(e.window.to)):
		return missed, fmt.Sprintf("%s: not seen %s", e.sight.Name, e.window)
	default:
		return open, fmt.Sprintf("%s: not seen yet, due %s", e.sight.Name, e.window)
	}
}

// history is the values that subject went through.
func history(events []Event, subject string) string {
	var values []string
	for _, e := range events {
		if e.Subject == subject {
			values = append(values, e.Value)
		}
	}
	return strings.Join(values, ", ")
}

// Judge says which expectations are missed at now, as sentences. Done is true when waiting longer can change nothing:
// each is met or missed, or waits for an anchor that itself did not come in time.
func Judge(wants []Expectation, events []Event, start, now time.Time) (misses []string, done bool) {
	var waiting []string
	for _, want := range wants {
		switch st, why := want.judge(events, start, now); {
		case st == missed:
			misses = append(misses, why)
		case st == open && want.window.anchor != nil && !anchored(want, events):
			waiting = append(waiting, why)
		case st == open:
			return nil, false
		}
	}
	if len(waiting) > 0 && len(misses) == 0 {
		return nil, false // its anchor is nobody's expectation: only the caller's patience ends this
	}
	return slices.Concat(misses, waiting), true
}

// Open lists what is not met yet, for whoever loses patience.
func Open(wants []Expectation, events []Event, start, now time.Time) []string {
	var texts []string
	for _, want := range wants {
		if st, why := want.judge(events, start, now); st != met {
			texts = append(texts, why)
		}
	}
	return texts
}

func anchored(e Expectation, events []Event) bool {
	_, ok := e.window.anchor.In(events)
	return ok
}
