// Package report writes one rollout's record as an entry of deployment_report.md.
package report

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// Heading stands above the entries.
const Heading = "# Deployment report\n\nOne entry for each rollout, the newest last.\n"

// Mark is the line that begins a rollout's entry and stands nowhere else.
func Mark(id string) string { return "<!-- rollout " + url.PathEscape(id) + " -->" }

const entry = `{{mark .ID}}
## {{.Title}}: {{text .Canary.String}} {{text .Revision.Label}}, {{day .StartedAt}}

**{{text .Summary}}.**
{{with .Chart}}
![Error rates of both versions and the canary's weight over time]({{.}})
{{end}}
| | |
|---|---|
| rollout | {{text .ID}} |
| image | {{text .Revision.Image}} |
| stable image | {{text .Stable.Image}} |
| deploy id | {{text .Revision.DeployID}} |
{{- with .Revision.Commit}}
| commit | {{text .}} |
{{- end}}
{{- with .Revision.Note}}
| note | {{text .}} |
{{- end}}
{{- if .Revision.Drill}}
| drill | a rehearsal: it counts for no delivery metric |
{{- end}}
{{- with .LeadTime}}
| lead time | {{.}} |
{{- end}}
| policy | {{text .Policy}}: objective {{.Rules.SLO.Objective}} %, at most {{.Rules.FailFast.ErrorRate}} % errors in the first {{.Rules.FailFast.Within}} |
| started | {{clock .StartedAt}} |
| first traffic | {{clock .FirstTrafficAt}} |
| ended | {{clock .EndedAt}} |
| verdict | {{text .Outcome}}, {{clock .Verdict.At}} |
{{- with .Verdict.Evidence}}
| evidence | {{odds .LogSLO}} that the canary is over its SLO, {{odds .LogCompare}} that it is worse than the primary; {{odds .LogLine}} rolls back |
{{- end}}
| error budget | {{.Spent}} |
{{- range .Decisions}}
| {{text (print .Kind)}} | {{text .Text}}, {{clock .At}} |
{{- end}}
{{- if .Seq}}
| ledger | entry {{.Seq}}, {{.Hash}} |
{{- end}}
{{- with .Trace}}
| trace | {{link .}} |
{{- end}}

### What changed

{{if .Changes}}| what | before | now |
|---|---|---|
{{range .Changes}}| {{text .What}} | {{text .From}} | {{text .To}} |
{{end}}{{else}}Nothing that is compared: images, commands, environment, resources, tracked ConfigMaps and Secrets.
{{end}}
### Service level of both versions

Responses counted at the pods: of the canary all that its pods gave, of the primary those from first traffic to the end.
Good is {{text .Good}}. Between the two figures under 95 % is the true share of good responses, with that confidence, however
often one looks: a confidence sequence by betting, docs/verdict.md.

| version | image | revision | requests | good | not good | good % | 95 % |
|---|---|---|---:|---:|---:|---:|---:|
| canary | {{text .Revision.Tag}} | {{text .Revision.Hash}} | {{.All .Latest.Canary}} |
| primary | {{text .Stable.Tag}} | {{text .Stable.Hash}} | {{.All .Latest.Primary}} |
{{with .Latencies}}
### Latency

Of all responses whose time was measured, from the buckets of {{text $.Rules.Metrics.Duration}}; inside a bucket they are taken
to be spread evenly.

| version | half within | 95 % within | 99 % within |
|---|---:|---:|---:|
{{range .}}| {{.Name}} | {{.Half}} | {{.P95}} | {{.P99}} |
{{end}}{{end}}{{with .Failing}}
### Failing requests

The newest of the canary's whose trace is known; the times are by the pods' clocks.

| time | status | route | took | trace |
|---|---|---|---:|---|
{{range .}}| {{clock .At}} | {{text .Status}} | {{text .Route}} | {{seconds .Seconds}} | {{link .Trace}} |
{{end}}{{end}}
### Traffic steps
{{if .Steps}}
| canary weight | from | for | canary requests | not good | good % | 95 % | primary requests | not good | good % | 95 % |
|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{{range .Steps}}| {{.Weight}} % | {{clock .From}} | {{span .From .To}} | {{$.Brief .Canary}} | {{$.Brief .Primary}} |
{{end}}{{else}}
The canary had no traffic.
{{end}}
### Reasons of the verdict

{{range .Verdict.Reasons}}- {{text .Kind}}: {{text .Text}}
{{else}}Nothing was judged.
{{end}}
### Timeline

| time | from | what |
|---|---|---|
{{range .Timeline}}| {{clock .At}} | {{text .Source}} | {{text .Text}} |
{{end}}`

// data is what the template sees: the rollout's own fields, and what it was judged by.
type data struct {
	*rollout.Rollout
	Rules policy.Rules
	Seq   int64
	Hash  string
	Chart string
	Links trace.Links
}

// Trace is the id of the rollout's own; "" where it is not sent.
func (d data) Trace() string { return d.Links.ID(d.ID, d.Revision.Traceparent) }

// link is a trace's id, as a link where people can come to it. Ids are hexadecimal, and a template that has what ends a link
// was refused.
func (d data) link(id string) string {
	if to := d.Links.To(id); to != "" {
		return "[" + text(id) + "](" + to + ")"
	}
	return text(id)
}

// seconds writes a response's time.
func seconds(s float64) string {
	if s == 0 {
		return "–" // not known
	}
	return strconv.FormatFloat(1000*s, 'f', 1, 64) + " ms"
}

// Title is the result, or that there is none yet.
func (d data) Title() string { return cmp.Or(string(d.Result), "under way") }

// Outcome of the verdict, if there is one.
func (d data) Outcome() string { return string(d.Verdict.Outcome) }

// Good names the good statuses.
func (d data) Good() string { return strings.Join(d.Rules.SLO.Good, ", ") }

// LeadTime is from the commit to the promotion; "" where one of them is not known.
func (d data) LeadTime() string {
	if d.Result != rollout.Promoted || d.Revision.CommittedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s from the commit (%s) to the promotion", d.EndedAt.Sub(d.Revision.CommittedAt).Round(time.Second), day(d.Revision.CommittedAt))
}

// Write writes a rollout's entry as Markdown, with the picture that is at chart, a URL; "": without one. It has as much to
// say of a rollout that is still under way.
func Write(w io.Writer, tape policy.Tape, chart string, links trace.Links) error {
	of := data{Rollout: &tape.Rollout, Rules: tape.Rules, Seq: tape.Seq, Hash: tape.Hash, Chart: chart, Links: links}
	// The day is said where it is not the one in the heading.
	clock := func(t time.Time) string {
		switch began := tape.Rollout.StartedAt.UTC().Truncate(24 * time.Hour); {
		case t.IsZero():
			return "–"
		case t.UTC().Truncate(24 * time.Hour).Equal(began):
			return t.UTC().Format("15:04:05.000")
		default:
			return t.UTC().Format("2006-01-02 15:04:05.000")
		}
	}
	t, err := template.New("entry").Funcs(template.FuncMap{"mark": Mark, "text": text, "day": day, "span": span, "clock": clock, "odds": policy.Odds, "link": of.link, "seconds": seconds}).Parse(entry)
	if err != nil {
		return fmt.Errorf("parse report template: %w", err)
	}
	if err := t.Execute(w, of); err != nil {
		return fmt.Errorf("write report of %s: %w", tape.Rollout.ID, err)
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func span(from, to time.Time) string {
	if to.IsZero() {
		return "under way"
	}
	return to.Sub(from).Round(time.Second).String()
}
