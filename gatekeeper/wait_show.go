package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/mattn/go-isatty"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// show is what people see of a wait: a line for each change, and on a terminal one more that moves.
type show struct {
	streams
	live  bool // somebody watches; a job's log is read later, and its commands must begin their lines
	json  bool
	moves bool // the last line is the one that moves
}

func newShow(s streams, json, inActions bool) *show {
	return &show{streams: s, json: json, live: !json && !inActions && terminal(s.out)}
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// lineWidth keeps the line that moves from wrapping: a wrapped line can not be painted over.
const lineWidth = 110

// state shows how the release stands after that time; news says that more than counts has changed.
func (s *show) state(r release, after time.Duration, news bool) {
	switch {
	case s.json && news:
		fmt.Fprintf(s.out, "%s\n", compact(r.raw))
	case s.json:
	case news:
		s.end()
		fmt.Fprintln(s.out, progress(r, after, paint{s.live}))
	case s.live:
		fmt.Fprintf(s.out, "\r\x1b[K%s", cut(progress(r, after, paint{}), lineWidth))
		s.moves = true
	}
}

// note tells of the waiting itself.
func (s *show) note(text string) {
	s.end()
	fmt.Fprintln(s.err, text)
}

// end takes the line that moves away.
func (s *show) end() {
	if s.moves {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.moves = false
	}
}

// conclude is the last line for machines; for people it was said already, or stands in the error, but for the way to the
// trace.
func (s *show) conclude(end conclusion) {
	s.end()
	switch {
	case s.json:
		_ = json.NewEncoder(s.out).Encode(end) // a pipe that is closed wants no more
	case end.Trace != "":
		fmt.Fprintln(s.out, "trace: "+end.Trace)
	}
}

// compact puts JSON on one line.
func compact(text []byte) string {
	var v any
	if json.Unmarshal(text, &v) != nil {
		return "null"
	}
	line, _ := json.Marshal(v) // it was JSON
	return string(line)
}

// progress is one line: how long, how far, what holds, and why.
func progress(r release, after time.Duration, p paint) string {
	text := fmt.Sprintf("%5.0fs  ", after.Seconds())
	if r.Rollout == nil || r.State != "under-way" {
		return text + p.state(r.State) + "  " + r.Text
	}
	text += fmt.Sprintf("%3d %%  ", r.Rollout.Weight)
	if r.Verdict != nil && r.Verdict.Outcome != "" {
		text += p.outcome(r.Verdict.Outcome) + "  "
	}
	if n := r.Rollout.Canaries; n.Total() > 0 {
		text += fmt.Sprintf("%d requests, %s bad  ", n.Total(), share(float64(n.Bad)/float64(n.Total())))
	}
	if r.Verdict != nil {
		text += r.Verdict.Text()
	}
	for _, g := range r.Gates {
		if !g.Open {
			text += "; " + held(g)
		}
	}
	return text
}

// held says which gate holds and when it opens.
func held(g policy.Gate) string {
	text := fmt.Sprintf("gate %s is closed: %s", g.Kind, g.Why)
	if !g.OpensAt.IsZero() {
		text += ", opens at " + g.OpensAt.Format("Mon 2006-01-02 15:04 MST")
	}
	return text
}

// cut shortens a line.
func cut(text string, width int) string {
	runes := []rune(strings.ReplaceAll(text, "\n", " "))
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}

// plain keeps text from being read as Markdown or HTML, or as a command to whoever shows it.
func plain(text string) string {
	text = regexp.MustCompile(`[[:cntrl:]]+`).ReplaceAllString(text, " ")
	return regexp.MustCompile("[\\\\`*_{}\\[\\]()#<>|~&]").ReplaceAllString(text, `\$0`)
}

// paint colours words on a terminal.
type paint struct{ on bool }

func (p paint) as(word string, of color.Attribute) string {
	c := color.New(of)
	c.DisableColor()
	if p.on {
		c.EnableColor()
	}
	return c.Sprint(word)
}

func (p paint) outcome(o rollout.Outcome) string {
	return p.as(string(o), map[rollout.Outcome]color.Attribute{rollout.Pass: color.FgGreen, rollout.Hold: color.FgYellow, rollout.Fail: color.FgRed}[o])
}

func (p paint) state(state string) string {
	of := color.FgYellow
	switch code, final := (release{State: state}).code(); {
	case final && code == 0:
		of = color.FgGreen
	case final && code == exitBack:
		of = color.FgRed
	}
	return p.as(state, of)
}
