// Package report writes one rollout's record as an entry of deployment_report.md.
package report

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Heading stands above the entries.
const Heading = "# Deployment report\n\nOne entry for each rollout, the newest last.\n"

// Mark is the line that begins a rollout's entry and stands nowhere else.
func Mark(id string) string { return "<!-- rollout " + strings.ReplaceAll(id, "--", "- -") + " -->" }

const entry = `{{mark .ID}}
## {{.Title}}: {{text .Canary.String}} {{text .Revision.Label}}, {{day .StartedAt}}

**{{text .Summary}}.**

| | |
|---|---|
| rollout | {{text .ID}} |
| image | {{text .Revision.Image}} |
| stable image | {{text .Stable.Image}} |
| deploy id | {{text .Revision.DeployID}} |
| policy | {{text .Policy}}: objective {{.Rules.SLO.Objective}} %, at most {{.Rules.FailFast.ErrorRate}} % errors in the first {{.Rules.FailFast.Within}} |
| started | {{clock .StartedAt}} |
| first traffic | {{clock .FirstTrafficAt}} |
| ended | {{clock .EndedAt}} |
| verdict | {{.Verdict.Outcome}}, {{clock .Verdict.At}} |
{{- with .Verdict.Evidence}}
| evidence | {{odds .LogSLO}} that the canary is over its SLO, {{odds .LogCompare}} that it is worse than the primary; {{odds .LogLine}} rolls back |
| error rate | {{share .Rate}} (not under {{share .Lower}}, not over {{share .Upper}}); the primary's {{share .PrimaryRate}} |
{{- end}}
{{- range .Decisions}}
| {{.Kind}} | {{text .Text}}, {{clock .At}} |
{{- end}}

### Service level of both versions

Responses counted at the pods: of the canary all that its pods gave, of the primary those from first traffic to the end.
Good is {{text .Good}}.

| version | image | revision | requests | good | not good | good % |
|---|---|---|---:|---:|---:|---:|
| canary | {{text .Revision.Tag}} | {{text .Revision.Hash}} | {{counts .Latest.Canary}} |
| primary | {{text .Stable.Tag}} | {{text .Stable.Hash}} | {{counts .Latest.Primary}} |

### Traffic steps

| canary weight | from | for | canary requests | good | not good | good % | primary requests | good | not good | good % |
|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{{range .Steps}}| {{.Weight}} % | {{clock .From}} | {{span .From .To}} | {{counts .Canary}} | {{counts .Primary}} |
{{end}}
### Reasons of the verdict

{{range .Verdict.Reasons}}- {{.Kind}}: {{text .Text}}
{{end}}
### Timeline

| time | from | what |
|---|---|---|
{{range .Timeline}}| {{clock .At}} | {{.Source}} | {{text .Text}} |
{{end}}`

// data is what the template sees: the rollout's own fields, and the policy it was judged by.
type data struct {
	*rollout.Rollout
	Rules policy.Rules
}

// Title is the result, or that there is none yet.
func (d data) Title() string { return cmp.Or(string(d.Result), "under way") }

// Good names the good statuses.
func (d data) Good() string { return strings.Join(d.Rules.SLO.Good, ", ") }

// Write writes a rollout's entry as Markdown. It has as much to say of one that is still under way.
func Write(w io.Writer, tape policy.Tape) error {
	t, err := template.New("entry").Funcs(template.FuncMap{
		"mark": Mark, "text": text, "clock": clock, "counts": counts,
		"day":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") },
		"span": span, "odds": policy.Odds,
		"share": func(p float64) string { return strconv.FormatFloat(100*p, 'f', 2, 64) + " %" },
	}).Parse(entry)
	if err != nil {
		return fmt.Errorf("parse report template: %w", err)
	}
	if err := t.Execute(w, data{Rollout: &tape.Rollout, Rules: tape.Rules}); err != nil {
		return fmt.Errorf("write report of %s: %w", tape.Rollout.ID, err)
	}
	return nil
}

// text makes names and messages of others harmless in Markdown: no table cell, link, tag or line ends before its time.
func text(s string) string {
	if s == "" {
		return "–"
	}
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "\r", " ", "\n", " ", "<", "&lt;", ">", "&gt;", "&", "&amp;",
		"*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "`", "\\`").Replace(s)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("15:04:05.000")
}

func span(from, to time.Time) string {
	if to.IsZero() {
		return "under way"
	}
	return to.Sub(from).Round(time.Second).String()
}

// counts are four table cells; the share is cut, not rounded, so that one bad response never reads as 100 %.
func counts(c rollout.Counts) string {
	share := "–"
	if c.Total() > 0 {
		share = strconv.FormatFloat(float64(c.Good*10_000/c.Total())/100, 'f', 2, 64)
	}
	return fmt.Sprintf("%d | %d | %d | %s", c.Total(), c.Good, c.Bad, share)
}
