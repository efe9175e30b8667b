package drill

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// Result is what came of one scenario.
type Result struct {
	Number  int      `json:"number"`
	Name    string   `json:"name"`
	OK      bool     `json:"ok"`
	Misses  []string `json:"misses"`
	Seconds float64  `json:"seconds"` // the whole scenario
	Times   Times    `json:"times"`

	Rollout string          `json:"rollout"` // the gatekeeper's id
	Weights []string        `json:"weights"` // in percent, as they were seen
	Users   load            `json:"users"`
	Canary  count.Counts    `json:"canary"` // by its pods' own counters
	Primary count.Counts    `json:"primary"`
	Report  *report.Version `json:"report"`           // the canary's row
	Waited  *Waited         `json:"waited,omitempty"` // what the pipeline's command ended with
	Course  []string        `json:"course,omitempty"` // what happened, in words that are the same on every engine

	Traced *Traced `json:"traced,omitempty"` // what came of its traces, where that was looked at
	Page   *Page   `json:"page,omitempty"`   // what became of an outage

	calls []Call // Flagger's, where they were listened to
}

// Times are seconds, null where the first or the second moment did not come.
type Times struct {
	StartToEnd     *float64 `json:"startToEnd"` // from helm upgrade to phase Succeeded or Failed
	FaultToVerdict *float64 `json:"faultToVerdict"`
	FaultToWeight0 *float64 `json:"faultToWeight0"`
}

// take fills in what was seen.
func (r *Result) take(seen view, users load) {
	r.Rollout, r.Users, r.Canary, r.Primary = seen.rollout.ID, users, seen.canary, seen.primary
	for _, e := range seen.events {
		if e.Subject == weight {
			r.Weights = append(r.Weights, e.Value)
		}
	}
	moment := func(s timeline.Sight) time.Time { at, _ := s.In(seen.events); return at }
	onset, back := moment(timeline.Seen(fault, "on")), moment(at("0"))
	end := moment(in("Succeeded"))
	if end.IsZero() {
		end = moment(in("Failed"))
	}
	r.Times = Times{
		StartToEnd:     between(seen.start, end),
		FaultToVerdict: between(onset, moment(timeline.Seen(verdict, "fail"))),
		FaultToWeight0: between(onset, back),
	}
}

func between(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	s := seconds(to.Sub(from))
	return &s
}

// seconds are cut to what the looks can tell.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// String is one line, and one more for each miss.
func (r Result) String() string {
	mark, word := "✓", "ok"
	if !r.OK {
		mark, word = "✗", "MISSED"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s: %s, %.0fs", mark, r.Number, r.Name, word, r.Seconds)
	if len(r.Weights) > 0 {
		fmt.Fprintf(&b, "; weights %s", strings.Join(r.Weights, " "))
	}
	if t := r.Times; t.FaultToWeight0 != nil {
		fmt.Fprintf(&b, "; fault → verdict %s → weight 0 after %s", show(t.FaultToVerdict), show(t.FaultToWeight0))
	} else if t.StartToEnd != nil {
		fmt.Fprintf(&b, "; ended after %s", show(t.StartToEnd))
	}
	if r.Users.Requests > 0 {
		fmt.Fprintf(&b, "; users %d requests, %d failed; canary %d, %d bad", r.Users.Requests, r.Users.failed(), r.Canary.Total(), r.Canary.Bad)
	}
	if r.Report != nil {
		fmt.Fprintf(&b, "; report %d, %d bad", r.Report.Requests, r.Report.Counts.Bad)
	}
	if r.Waited != nil {
		fmt.Fprintf(&b, "; gatekeeper wait: exit %d", r.Waited.ExitCode)
	}
	if r.Traced != nil {
		fmt.Fprintf(&b, "; trace of %d spans, %d failing requests linked", r.Traced.Spans, r.Traced.Failing)
	}
	if p := r.Page; p != nil {
		fmt.Fprintf(&b, "; page fired %.1fs after the outage began, expected %.1fs, by the counts %.1fs; people told after %.1fs, gate closed after %.1fs; over %.1fs after its end, gate open after %.1fs",
			p.Fired, p.Expected, p.Crossed, p.Told, p.Held, p.Over, p.Opened)
	}
	for _, miss := range r.Misses {
		fmt.Fprintf(&b, "\n    missed: %s", strings.ReplaceAll(miss, "\n", "\n      "))
	}
	return b.String()
}

func show(s *float64) string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.1fs", *s)
}

// Outcome is what came of a proof.
type Outcome struct {
	Scenarios []Result `json:"scenarios"`
	Passed    int      `json:"passed"`
	Failed    int      `json:"failed"`

	Monitoring *Monitoring `json:"monitoring,omitempty"` // what dashboards and rules showed; null where no scenario looks
}

// Missed reports whether anything that had to be seen was not.
func (o Outcome) Missed() bool {
	return o.Failed > 0 || o.Monitoring != nil && len(o.Monitoring.Misses) > 0
}

func (o *Outcome) add(r Result) {
	o.Scenarios = append(o.Scenarios, r)
	if r.OK {
		o.Passed++
	} else {
		o.Failed++
	}
}

// WriteJSON writes all of it for machines.
func (o Outcome) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(o)
}

// WriteText writes the last line; the results have been told as they came.
func (o Outcome) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d passed, %d failed\n", o.Passed, o.Failed)
	return err
}
