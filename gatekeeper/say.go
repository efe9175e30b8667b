package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"strings"
	"time"

	"github.com/fatih/color"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

type whyCmd struct {
	server `embed:""`

	Canary string `arg:"" help:"namespace/name of the Canary, or the id of a rollout."`
	Output string `enum:"text,json" default:"text" help:"text or json."`
}

// Help is printed below the flags.
func (whyCmd) Help() string {
	return `  gatekeeper why demo/podinfo
  gatekeeper why demo-podinfo-6d5f8c9b7-1767323045 --output json`
}

// Run prints how the Canary stands, or how a rollout ended.
func (c whyCmd) Run(ctx context.Context, s streams) error {
	canary := c.Canary
	if !strings.Contains(canary, "/") {
		var got json.RawMessage
		r, err := c.rollout(ctx, canary, &got)
		if err != nil {
			return err
		}
		if r.Result != "" {
			return c.print(s, got, ended(r, paint{terminal(s.out)}))
		}
		canary = r.Canary.String()
	}
	if namespace, name, _ := strings.Cut(canary, "/"); namespace == "" || name == "" {
		return fmt.Errorf("why %s: name the Canary as namespace/name", c.Canary)
	}
	var got json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/api/v1/why?canary="+url.QueryEscape(canary), nil, &got); err != nil {
		return err
	}
	var view standingView
	if err := json.Unmarshal(got, &view); err != nil {
		return fmt.Errorf("read the gatekeeper's answer: %w", err)
	}
	return c.print(s, got, standing(view, paint{terminal(s.out)}))
}

func (c whyCmd) print(s streams, answer json.RawMessage, text string) error {
	if c.Output == "json" {
		text = string(answer) + "\n"
	}
	_, err := io.WriteString(s.out, text)
	return err
}

// rolloutView is what is shown of a rollout.
type rolloutView struct {
	ID        string             `json:"id"`
	Canary    rollout.Key        `json:"canary"`
	Revision  rollout.Revision   `json:"revision"`
	Stable    rollout.Revision   `json:"stable"`
	StartedAt time.Time          `json:"startedAt"`
	EndedAt   *time.Time         `json:"endedAt"`
	Result    rollout.Result     `json:"result"`
	Verdict   rollout.Verdict    `json:"verdict"`
	Decisions []rollout.Decision `json:"decisions"`
	Version   int                `json:"version"`
	Unseen    bool               `json:"unseen"`
}

// rollout reads the rollout with an id, and keeps the answer as it came.
func (s server) rollout(ctx context.Context, id string, raw *json.RawMessage) (r rolloutView, err error) {
	if err := s.call(ctx, http.MethodGet, "/api/v1/rollouts/"+url.PathEscape(id), nil, raw); err != nil {
		return rolloutView{}, err
	}
	if err := json.Unmarshal(*raw, &r); err != nil {
		return rolloutView{}, fmt.Errorf("read the gatekeeper's answer: %w", err)
	}
	return r, nil
}

// ended is how a rollout came to its end, in words.
func ended(v rolloutView, p paint) string {
	r := rollout.Rollout{Canary: v.Canary, Revision: v.Revision, Stable: v.Stable, Result: v.Result, Verdict: v.Verdict, Unseen: v.Unseen}
	text := fmt.Sprintf("rollout %s: %s\n%s\n%s", v.ID, p.state(string(v.Result)), r.Summary(), noted(v.Revision))
	if v.EndedAt != nil {
		text += fmt.Sprintf("from %s to %s\n", v.StartedAt.Format(time.RFC3339), v.EndedAt.Format(time.RFC3339))
	}
	return text + listed(v.Verdict)
}

// noted is the line with a release's note, "" without one.
func noted(r rollout.Revision) string {
	if r.Note == "" {
		return ""
	}
	return "note: " + r.Note + "\n"
}

func listed(v rollout.Verdict) string {
	text := &strings.Builder{}
	for _, reason := range v.Reasons {
		fmt.Fprintf(text, "  %s: %s\n", reason.Kind, reason.Text)
	}
	return text.String()
}

// standingView is what is shown of the answer.
type standingView struct {
	policy.Standing
	Rollout *rolloutView `json:"rollout"`
}

// standing is a Canary's state in words, a line for each thing.
func standing(s standingView, p paint) string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "%s: phase %s, canary weight %d %%\n", s.Canary, s.Phase, s.Weight)
	if s.Rollout == nil {
		text.WriteString("no rollout is under way\n")
	} else {
		r := s.Rollout
		fmt.Fprintf(text, "rollout %s of %s, since %s, version %d\n%s", r.ID, r.Revision.Label(), r.StartedAt.Format(time.RFC3339), r.Version, noted(r.Revision))
		fmt.Fprintf(text, "verdict: %s\n%s", p.outcome(r.Verdict.Outcome), listed(r.Verdict))
		if a := r.Verdict.Evidence; a != nil {
			fmt.Fprintf(text, "canary fails %s (%s to %s), primary %s; the evidence supports %s of traffic\n",
				share(a.Rate), share(a.Lower), share(a.Upper), share(a.PrimaryRate), share(a.AllowedWeight))
		}
		for _, d := range r.Decisions {
			fmt.Fprintf(text, "%s %s\n", d.At.Format(time.RFC3339), d.Text())
		}
	}
	for _, g := range s.Gates {
		fmt.Fprintf(text, "gate %-10s %s  %s", g.Kind, p.gate(g.Open), g.Why)
		if !g.OpensAt.IsZero() {
			fmt.Fprintf(text, "; opens at %s", g.OpensAt.Format("Mon 2006-01-02 15:04 MST"))
		}
		text.WriteByte('\n')
	}
	if len(s.Gates) == 0 {
		text.WriteString("no gate is configured\n")
	}
	if s.Silent >= 0 {
		fmt.Fprintf(text, "Flagger last asked %.0f s ago\n", s.Silent)
	}
	return text.String()
}

func share(p float64) string { return fmt.Sprintf("%.3g %%", 100*p) }

// decision is what the commands share by which people decide.
type decision struct {
	server `embed:""`

	Rollout string `arg:"" help:"Id of the rollout, or namespace/name of the Canary whose rollout is meant."`
	Reason  string `short:"r" help:"Why; it stands in the timeline and the report."`
	By      string `env:"USER" help:"Who decides, where several share a token."`
	Version *int   `xor:"sight" help:"Decide only if this is still the rollout's version, as why shows it; the one that it has now without it."`
	Force   bool   `xor:"sight" help:"Decide whatever was said meanwhile."`
	Output  string `enum:"text,json" default:"text" help:"text or json."`
}

type (
	approveCmd struct{ decision }
	rejectCmd  struct{ decision }
	abortCmd   struct{ decision }
	holdCmd    struct{ decision }
	resumeCmd  struct{ decision }
)

// Help is printed below the flags, as of the other commands below.
func (approveCmd) Help() string {
	return `  gatekeeper approve demo/podinfo --reason "looked at the dashboards"
  gatekeeper approve demo/podinfo --version 3    refused (409) when somebody else has decided since`
}

func (rejectCmd) Help() string {
	return `  gatekeeper reject demo/podinfo --reason "not before the launch"`
}

func (abortCmd) Help() string { return `  gatekeeper abort demo/podinfo --reason "customers call"` }

func (holdCmd) Help() string { return `  gatekeeper hold demo/podinfo --reason "let us look first"` }

func (resumeCmd) Help() string { return `  gatekeeper resume demo/podinfo` }

// Run decides, as of the other commands below.
func (c approveCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Approve) }

func (c rejectCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Reject) }

func (c abortCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Abort) }

func (c holdCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Pause) }

func (c resumeCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Resume) }

// say decides in sight of one version of the rollout, and prints what became of it.
func (d decision) say(ctx context.Context, s streams, kind rollout.DecisionKind) error {
	r, err := d.meant(ctx, kind)
	if err != nil {
		return err
	}
	said := map[string]any{"by": d.by(), "why": d.Reason}
	switch {
	case d.Version != nil:
		said["version"] = *d.Version
	case !d.Force:
		said["version"] = r.Version
	}
	var got json.RawMessage
	if err := d.call(ctx, http.MethodPost, "/api/v1/rollouts/"+url.PathEscape(r.ID)+"/"+string(kind), said, &got); err != nil {
		return err
	}
	if d.Output == "json" {
		_, err := fmt.Fprintf(s.out, "%s\n", got)
		return err
	}
	if err := json.Unmarshal(got, &r); err != nil || len(r.Decisions) == 0 {
		return errors.Join(errors.New("the gatekeeper's answer has no decision"), err)
	}
	_, err = fmt.Fprintf(s.out, "%s of %s: %s\n", r.Revision.Label(), r.Canary, r.Decisions[len(r.Decisions)-1].Text())
	return err
}

// meant is the rollout that is decided about.
func (d decision) meant(ctx context.Context, kind rollout.DecisionKind) (rolloutView, error) {
	if !strings.Contains(d.Rollout, "/") {
		if d.Force || d.Version != nil {
			return rolloutView{ID: d.Rollout}, nil
		}
		return d.rollout(ctx, d.Rollout, new(json.RawMessage))
	}
	var got standingView
	if err := d.call(ctx, http.MethodGet, "/api/v1/why?canary="+url.QueryEscape(d.Rollout), nil, &got); err != nil {
		return rolloutView{}, err
	}
	if got.Rollout == nil {
		return rolloutView{}, fmt.Errorf("%s %s: no rollout of it is under way", kind, d.Rollout)
	}
	return *got.Rollout, nil
}

func (d decision) by() string {
	if d.By != "" {
		return d.By
	}
	if me, err := user.Current(); err == nil {
		return me.Username
	}
	return ""
}

// gate is a gate's state, both of the same width.
func (p paint) gate(open bool) string {
	if open {
		return p.as("open  ", color.FgGreen)
	}
	return p.as("closed", color.FgRed)
}
