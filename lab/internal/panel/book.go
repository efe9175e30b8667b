package panel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Moment is when queries are asked.
type Moment string

// The moments of a proof. What is not said to be empty must have an answer while a good release is under way. What has one
// before that has it from an earlier proof.
const (
	Before    Moment = "before a release"
	UnderWay  Moment = "while a release is under way"
	Broken    Moment = "while a bad release is under way or after it"
	Gated     Moment = "while a release is under way whose policy has gates"
	Sometimes Moment = "sometimes" // it lasts for less than a scrape
	Never     Moment = "never"     // in a proof: what it shows does not happen there
)

// Exception is a query that rightly has no answer while a release is under way.
type Exception struct {
	Where string // of the query, or of its panel for all of its queries
	From  Moment // when it must have one
	Why   string
	Early bool // it may have one before, too
}

// Book keeps which queries were answered at which moments.
type Book struct {
	queries    []Query
	exceptions []Exception
	asked      map[Moment]bool
	answered   map[string]map[Moment]bool // by Where
	failed     map[string]string          // by Where: Prometheus' error
}

// NewBook returns a book of queries, none of them asked yet. An exception for a query that there is not is an error.
func NewBook(queries []Query, exceptions []Exception) (*Book, error) {
	for _, e := range exceptions {
		if !slices.ContainsFunc(queries, e.speaksOf) {
			return nil, fmt.Errorf("there is an exception for %q, which no dashboard and no rule asks", e.Where)
		}
	}
	return &Book{
		queries: queries, exceptions: exceptions,
		asked: map[Moment]bool{}, answered: map[string]map[Moment]bool{}, failed: map[string]string{},
	}, nil
}

func (e Exception) speaksOf(q Query) bool { return e.Where == q.Where || e.Where == q.Panel }

// Due are the queries that have not been answered at a moment but may be.
func (b *Book) Due(at Moment) []Query {
	return slices.DeleteFunc(slices.Clone(b.queries), func(q Query) bool { return b.answered[q.Where][at] })
}

// Note takes in that a query was asked at a moment, and whether it had an answer. Wrong is Prometheus' error, "" for none.
func (b *Book) Note(q Query, at Moment, answered bool, wrong string) {
	b.asked[at] = true
	if wrong != "" {
		b.failed[q.Where] = wrong
	}
	if !answered {
		return
	}
	if b.answered[q.Where] == nil {
		b.answered[q.Where] = map[Moment]bool{}
	}
	b.answered[q.Where][at] = true
}

// Missing are the queries that must be answered at a moment and were not.
func (b *Book) Missing(at Moment) []Query {
	return slices.DeleteFunc(b.Due(at), func(q Query) bool { return b.from(q) != at })
}

func (b *Book) from(q Query) Moment {
	for _, e := range b.exceptions {
		if e.speaksOf(q) {
			return e.From
		}
	}
	return UnderWay
}

// Tally is what a proof says of its queries.
type Tally struct {
	Panels   int               `json:"panels"`   // of all dashboards
	Asked    int               `json:"asked"`    // of them, those for whose every query the moment came when it must have data
	Answered int               `json:"answered"` // of those, the ones whose every query had it
	Queries  int               `json:"queries"`  // of panels, annotations and recording rules
	Empty    map[string]string `json:"empty"`    // what need not have any, and why
	Misses   []string          `json:"misses"`
}

// Tally judges what was asked. Moments that did not come are not judged. An exception that had data before its time is a
// miss: it excuses nothing.
func (b *Book) Tally() Tally {
	t := Tally{Queries: len(b.queries), Empty: map[string]string{}, Misses: []string{}}
	asked, missing := map[string]bool{}, map[string]bool{} // panels
	for _, q := range b.queries {
		missed := false
		if wrong := b.failed[q.Where]; wrong != "" {
			missed = true
			t.Misses = append(t.Misses, fmt.Sprintf("%s: %s: %s", q.Where, wrong, q.Expr))
		}
		if from := b.from(q); b.asked[from] && !b.answered[q.Where][from] {
			missed = true
			t.Misses = append(t.Misses, fmt.Sprintf("%s had no data %s: %s", q.Where, from, q.Expr))
		}
		if q.Panel != "" {
			came, known := asked[q.Panel]
			asked[q.Panel] = (came || !known) && b.came(b.from(q))
			missing[q.Panel] = missing[q.Panel] || missed
		}
	}
	for _, e := range b.exceptions {
		if e.From == Never || e.From == Sometimes {
			t.Empty[e.Where] = e.Why
		}
		if when := b.early(e); when != "" {
			t.Misses = append(t.Misses, fmt.Sprintf("%s has data %s: the exception for it (%s) is not needed", e.Where, when, e.Why))
		}
	}
	t.Panels = len(asked)
	for name, came := range asked {
		if came {
			t.Asked++
			if !missing[name] {
				t.Answered++
			}
		}
	}
	return t
}

// came reports whether queries were asked at a moment. What need not have data has no moment that could be waited for.
func (b *Book) came(at Moment) bool {
	return b.asked[at] || len(b.asked) > 0 && (at == Sometimes || at == Never)
}

// early is a moment before its time at which all of what an exception speaks of had data, "" for none.
func (b *Book) early(e Exception) Moment {
	if e.From == Sometimes || e.Early {
		return ""
	}
	for _, at := range []Moment{UnderWay, Broken, Gated} {
		if at == e.From {
			return ""
		}
		empty := func(q Query) bool { return e.speaksOf(q) && (!b.answered[q.Where][at] || b.answered[q.Where][Before]) }
		if !slices.ContainsFunc(b.queries, empty) {
			return at
		}
	}
	return ""
}

// String is one line.
func (t Tally) String() string {
	empty := slices.Sorted(maps.Keys(t.Empty))
	text := fmt.Sprintf("panels: %d of %d returned data when they must", t.Answered, t.Asked)
	if left := t.Panels - t.Asked; left > 0 {
		text += fmt.Sprintf("; %d were not asked: the scenario for them was not run", left)
	}
	if len(empty) > 0 {
		text += "; need not: " + strings.Join(empty, ", ")
	}
	return text
}
