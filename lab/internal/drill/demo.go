package drill

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Story are the scenarios of the demo: one version is promoted, one comes back.
func Story() []Scenario { return Scenarios()[:2] }

// Demo tells a story to whoever watches w: version 1 serves, version 2 is promoted, version 3 is bad and comes back;
// then it shows what the report says of both. It is the proof's first two scenarios, so it fails when they do.
func (d *Drill) Demo(ctx context.Context, w io.Writer, terminal bool) error {
	chapters := Story()
	fmt.Fprintf(w, "\nUsers send %.0f requests a second to http://%s through the ingress.\n", d.Rate, d.Host)
	missed := false
	for i, s := range chapters {
		s.tapped = false // the story shows the parts as they are wired for users
		fmt.Fprintf(w, "\nVersion %s: %s.\n", s.version, s.Name)
		line := liveLine{w: w, terminal: terminal}
		result := d.attempt(ctx, s, i == 0, line.show)
		line.end()
		fmt.Fprintln(w, result)
		missed = missed || !result.OK
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	entries, err := d.report(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhat deployment_report.md says:")
	for _, id := range d.entries {
		for _, e := range entries {
			if e.ID == id {
				fmt.Fprintf(w, "\n%s\n", e.Text)
			}
		}
	}
	if missed {
		return ErrMissed
	}
	return nil
}

// liveLine is one line about a release. On a terminal it moves; elsewhere it is written anew when it says more than
// other counts.
type liveLine struct {
	w        io.Writer
	terminal bool
	last     string
}

func (l *liveLine) show(v view) {
	state := fmt.Sprintf("%s, weight %d %%", v.phase, v.weight)
	why := v.rollout.Verdict.Outcome
	if reason := v.rollout.reason(); reason != "" {
		why += ": " + reason
	}
	counts := fmt.Sprintf("canary %.1f %% bad of %d, primary %.1f %% of %d",
		v.canary.ErrorRate(), v.canary.Total(), v.primary.ErrorRate(), v.primary.Total())
	text := fmt.Sprintf("%4.0fs  %s  |  %s  |  %s", time.Since(v.start).Seconds(), state, counts, why)
	if l.terminal {
		fmt.Fprintf(l.w, "\r\x1b[K%s", cut(text, 160))
		l.last = text
		return
	}
	if now := state + v.rollout.Verdict.Outcome; now != l.last {
		fmt.Fprintln(l.w, text)
		l.last = now
	}
}

func (l *liveLine) end() {
	if l.terminal && l.last != "" {
		fmt.Fprintln(l.w)
	}
}

// cut keeps a line from wrapping: a wrapped line can not be painted over.
func cut(text string, width int) string {
	runes := []rune(strings.ReplaceAll(text, "\n", " "))
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}
