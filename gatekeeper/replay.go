package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

type replayCmd struct {
	server `embed:""`

	Tape   string `arg:"" help:"File with a recorded rollout (the API's …/tape), or the id of a rollout to fetch."`
	Policy string `type:"existingfile" help:"Policy document to judge by; the one it was judged by without it."`
	Output string `enum:"text,json" default:"text" help:"text or json."`
}

// errDiffers is returned when a rollout, judged again by its own policy, does not give its own verdicts.
var errDiffers = errors.New("the verdicts are not those that were recorded: the tape was changed, or was recorded by another version or on another processor architecture")

// Run judges again and prints where verdicts change.
func (c replayCmd) Run(ctx context.Context, s streams) error {
	var tape policy.Tape
	text, err := os.ReadFile(c.Tape)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &tape); err != nil {
			return fmt.Errorf("read tape %s: %w", c.Tape, err)
		}
	case errors.Is(err, os.ErrNotExist):
		if err := c.call(ctx, http.MethodGet, "/api/v1/rollouts/"+url.PathEscape(c.Tape)+"/tape", nil, &tape); err != nil {
			return fmt.Errorf("there is no file %s, and as a rollout: %w", c.Tape, err)
		}
	default:
		return fmt.Errorf("read tape: %w", err)
	}
	if len(tape.Ticks) == 0 || tape.Rollout.ID == "" || tape.Ticks[0].Tick.At.IsZero() {
		return fmt.Errorf("tape %s: it is not a recorded rollout with ticks, as /api/v1/rollouts/{id}/tape gives it", c.Tape)
	}
	rules := tape.Rules
	if c.Policy != "" {
		text, err := os.ReadFile(c.Policy)
		if err != nil {
			return fmt.Errorf("read policy: %w", err)
		}
		if rules, err = policyfile.ParseFile(c.Policy, text); err != nil {
			return err
		}
	}
	p := compare(tape, rules)
	if c.Output == "json" {
		err = json.NewEncoder(s.out).Encode(p)
	} else {
		_, err = io.WriteString(s.out, p.text())
	}
	if err == nil && c.Policy == "" && p.Differ > 0 {
		return errDiffers
	}
	return err
}

// comparison is what another policy makes of a recorded rollout.
type comparison struct {
	Rollout   string      `json:"rollout"`
	Recorded  string      `json:"recordedPolicy"`
	Policy    string      `json:"policy"`
	Verdicts  int         `json:"verdicts"`
	Differ    int         `json:"differ"` // verdicts of which any number is another
	Stretches []stretch   `json:"stretches"`
	Final     finalOfBoth `json:"final"`
}

type finalOfBoth struct {
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
}

// stretch is a time in which neither verdict changed its outcome or strongest reason.
type stretch struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Weight   int       `json:"weight"`
	Recorded string    `json:"recorded"`
	Now      string    `json:"now"`
	Text     string    `json:"text"` // of the verdict now
}

func compare(tape policy.Tape, rules policy.Rules) comparison {
	p := comparison{Rollout: tape.Rollout.ID, Recorded: tape.Rules.Name, Policy: rules.Name, Verdicts: len(tape.Ticks)}
	for i, verdict := range policy.Replay(rules, tape.Rollout, tape.Ticks) {
		then := tape.Ticks[i]
		now := rollout.Judge(then.Tick, verdict)
		if now.Digest != then.Digest {
			p.Differ++
		}
		s := stretch{
			From: then.Tick.At, To: then.Tick.At, Weight: then.Tick.Weight,
			Recorded: string(then.Outcome) + " (" + then.Reason + ")", Now: string(now.Outcome) + " (" + now.Reason + ")", Text: verdict.Text(),
		}
		if last := len(p.Stretches) - 1; last >= 0 && p.Stretches[last].Recorded == s.Recorded && p.Stretches[last].Now == s.Now {
			p.Stretches[last].To, p.Stretches[last].Text = s.To, s.Text
		} else {
			p.Stretches = append(p.Stretches, s)
		}
		p.Final = finalOfBoth{s.Recorded, s.Now}
	}
	return p
}

func (p comparison) text() string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "rollout %s: %d verdicts by policy %s, judged again by %s: %d differ\n\n", p.Rollout, p.Verdicts, p.Recorded, p.Policy, p.Differ)
	begin := p.Stretches[0].From
	for _, s := range p.Stretches {
		mark := " "
		if s.Recorded != s.Now {
			mark = "≠"
		}
		fmt.Fprintf(text, "%s %+5.0f s to %+5.0f s  %3d %%  recorded %-24s now %-24s %s\n", mark, s.From.Sub(begin).Seconds(), s.To.Sub(begin).Seconds(), s.Weight, s.Recorded, s.Now, s.Text)
	}
	fmt.Fprintf(text, "\nin the end: recorded %s, now %s\n", p.Final.Recorded, p.Final.Now)
	return text.String()
}
