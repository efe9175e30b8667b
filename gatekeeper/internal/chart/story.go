package chart

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// maxPoints bounds what is drawn of each line, and so the size of a picture.
const maxPoints = 200

// miss is the chance, 0 to 1, that the canary's error rate is ever above the band, and as much that it is ever below.
const miss = .025

// story is what a chart shows. Moments are in seconds since begin, rates in percent.
type story struct {
	tape    policy.Tape
	begin   time.Time // of the first traffic
	end     float64
	canary  []point
	primary []point
	stairs  []stair
	marks   []mark  // latest first
	top     float64 // of the scale of rates
}

// point is an error rate since first traffic, and what the counts leave possible.
type point struct{ at, rate, low, high float64 }

// stair is the time at one weight, in percent.
type stair struct{ from, to, weight float64 }

// mark is what happened at one moment.
type mark struct {
	at   float64
	text string
	kind kind
}

type kind int

const (
	verdict kind = iota
	decision
	ending
)

// read makes a story of the tape.
func read(tape policy.Tape) (story, error) {
	r := tape.Rollout
	if r.FirstTrafficAt.IsZero() || len(tape.Ticks) == 0 {
		return story{}, ErrNothing
	}
	s := story{tape: tape, begin: r.FirstTrafficAt}
	last := r.EndedAt
	if last.IsZero() {
		last = tape.Ticks[len(tape.Ticks)-1].Tick.At
	}
	s.end = max(s.since(last), 1)
	s.points()
	for _, step := range r.Steps {
		to := s.end
		if !step.To.IsZero() {
			to = s.since(step.To)
		}
		s.stairs = append(s.stairs, stair{s.since(step.From), to, float64(step.Weight)})
	}
	s.happenings()
	s.top = s.scale()
	return s, nil
}

func (s *story) since(t time.Time) float64 { return t.Sub(s.begin).Seconds() }

// points thins the ticks out, the same number of seconds apart, and always has the last one.
func (s *story) points() {
	gap, next := s.end/maxPoints, 0.0
	dispersion := s.tape.Rules.Confidence.Dispersion
	for i, t := range s.tape.Ticks {
		at := s.since(t.Tick.At)
		if at < next && i < len(s.tape.Ticks)-1 || at < 0 {
			continue
		}
		next = at + gap
		if c := t.Tick.Canary; c.Total() > 0 {
			k, n := float64(c.Bad), float64(c.Total())
			s.canary = append(s.canary, point{at, c.ErrorRate(), 100 * evidence.Lower(k, n, miss, dispersion), 100 * evidence.Upper(k, n, miss, dispersion)})
		}
		// The ticks have what the primary has served since it is read; a rollout's counts begin with its traffic.
		if p := t.Tick.Primary.Sub(s.tape.Rollout.Before); p.Total() > 0 {
			s.primary = append(s.primary, point{at: at, rate: p.ErrorRate()})
		}
	}
}

// happenings are the moments that turned the story.
func (s *story) happenings() {
	r := s.tape.Rollout
	for _, d := range r.Decisions {
		if at := s.since(d.At); at >= 0 && at <= s.end {
			s.marks = append(s.marks, mark{at, plain(string(d.Kind)+" by "+d.By, 32), decision})
		}
	}
	if !r.FailedAt.IsZero() {
		s.marks = append(s.marks, mark{s.since(r.FailedAt), "verdict: fail", verdict})
	}
	if r.Result != "" {
		s.marks = append(s.marks, mark{s.end, string(r.Result), ending})
	}
	slices.SortStableFunc(s.marks, func(a, b mark) int { return cmp.Compare(b.at, a.at) })
}

// scale is the top of the scale: both limits and all rates have room below it, but those of the first few responses, of
// which one in two may be bad.
func (s *story) scale() float64 {
	const few = .1 // of the time
	top := 1.5 * max(s.tape.Rules.FailFast.ErrorRate, 100-s.tape.Rules.SLO.Objective)
	for _, line := range [][]point{s.canary, s.primary} {
		for i, p := range line {
			if p.at > few*s.end || i == len(line)-1 {
				top = max(top, 1.2*p.rate)
			}
		}
	}
	for _, round := range []float64{.5, 1, 2, 3, 5, 10, 20, 30, 50} {
		if top <= round {
			return round
		}
	}
	return 100
}

func (s *story) title() string {
	r := s.tape.Rollout
	return plain(r.Revision.Label()+" of "+r.Canary.String(), 70)
}

// description says in words what the picture shows.
func (s *story) description() string {
	r := s.tape.Rollout
	words := &strings.Builder{}
	fmt.Fprintf(words, "%s. From %s for %s.", plain(r.Summary(), 600), s.begin.UTC().Format("2006-01-02 15:04:05 MST"), time.Duration(s.end*float64(time.Second)).Round(time.Second))
	for _, line := range []struct {
		name   string
		points []point
	}{{"canary", s.canary}, {"primary", s.primary}} {
		if n := len(line.points); n > 0 {
			fmt.Fprintf(words, " In the end %.2f %% of the %s's responses were bad.", line.points[n-1].rate, line.name)
		}
	}
	words.WriteString(" Canary weights:")
	for _, step := range s.stairs {
		fmt.Fprintf(words, " %v %%", step.weight)
	}
	words.WriteString(".")
	return words.String()
}

// plain is a text of others that draws as one line: what does not print becomes a space, what is too long is cut.
func plain(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// escape is text inside an XML element.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// root is a scale by the square root: an objective of 99.5 % and an error rate of 40 % are both to be seen on it, and 0
// too, for which a logarithm has no place.
type root struct{}

// Normalize is part of plot.Normalizer.
func (root) Normalize(low, high, x float64) float64 {
	return (math.Sqrt(max(x, 0)) - math.Sqrt(low)) / (math.Sqrt(high) - math.Sqrt(low))
}
