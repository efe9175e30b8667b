package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// server is where commands find the gatekeeper's people's door.
type server struct {
	Server string `default:"http://localhost:8081" env:"GATEKEEPER_SERVER" help:"The gatekeeper's people's door, for example by kubectl port-forward."`
	Token  string `env:"GATEKEEPER_TOKEN" help:"Bearer token, for what changes something."`
}

// clientTime bounds one question.
const clientTime = 15 * time.Second

// call asks path and decodes the answer into out. An answer that is not 2xx is an error with the gatekeeper's own words.
func (s server) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.Server, "/")+path, body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s.Server, err)
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return fmt.Errorf("ask the gatekeeper: %w; is --server right, and does a port-forward run?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var refused struct {
			Error string `json:"error"`
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&refused); err != nil || refused.Error == "" {
			return fmt.Errorf("ask the gatekeeper %s: status %s", path, resp.Status)
		}
		return fmt.Errorf("the gatekeeper refused (%d): %s", resp.StatusCode, refused.Error)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the gatekeeper's answer to %s: %w", path, err)
	}
	return nil
}

type whyCmd struct {
	server `embed:""`

	Canary string `arg:"" help:"namespace/name of the Canary."`
	Output string `enum:"text,json" default:"text" help:"text or json."`
}

// Run prints how the Canary stands.
func (c whyCmd) Run(ctx context.Context, s streams) error {
	if namespace, name, both := strings.Cut(c.Canary, "/"); !both || namespace == "" || name == "" {
		return fmt.Errorf("why %s: name the Canary as namespace/name", c.Canary)
	}
	var got json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/api/v1/why?canary="+url.QueryEscape(c.Canary), nil, &got); err != nil {
		return err
	}
	if c.Output == "json" {
		_, err := fmt.Fprintf(s.out, "%s\n", got)
		return err
	}
	var view standingView
	if err := json.Unmarshal(got, &view); err != nil {
		return fmt.Errorf("read the gatekeeper's answer: %w", err)
	}
	_, err := io.WriteString(s.out, standing(view))
	return err
}

// standingView is what is shown of the answer.
type standingView struct {
	policy.Standing
	Rollout *struct {
		ID        string           `json:"id"`
		Revision  rollout.Revision `json:"revision"`
		StartedAt time.Time        `json:"startedAt"`
		Verdict   rollout.Verdict  `json:"verdict"`
	} `json:"rollout"`
}

// standing is a Canary's state in words, a line for each thing.
func standing(s standingView) string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "%s: phase %s, canary weight %d %%\n", s.Canary, s.Phase, s.Weight)
	if s.Rollout == nil {
		text.WriteString("no rollout is under way\n")
	} else {
		r := s.Rollout
		fmt.Fprintf(text, "rollout %s of %s, since %s\n", r.ID, r.Revision.Label(), r.StartedAt.Format(time.RFC3339))
		fmt.Fprintf(text, "verdict: %s\n", r.Verdict.Outcome)
		for _, reason := range r.Verdict.Reasons {
			fmt.Fprintf(text, "  %s: %s\n", reason.Kind, reason.Text)
		}
		if a := r.Verdict.Evidence; a != nil {
			fmt.Fprintf(text, "canary fails %s (%s to %s), primary %s; the evidence supports %s of traffic\n",
				share(a.Rate), share(a.Lower), share(a.Upper), share(a.PrimaryRate), share(a.AllowedWeight))
		}
	}
	for _, g := range s.Gates {
		state := "open  "
		if !g.Open {
			state = "closed"
		}
		fmt.Fprintf(text, "gate %-10s %s  %s", g.Kind, state, g.Why)
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

type decision struct {
	server `embed:""`

	Rollout string `arg:"" help:"Id of the rollout, or namespace/name of the Canary whose rollout is meant."`
	Reason  string `short:"r" help:"Why; it stands in the timeline and the report."`
	By      string `env:"USER" help:"Who decides."`
}

type approveCmd struct{ decision }

type rejectCmd struct{ decision }

// Run approves.
func (c approveCmd) Run(ctx context.Context, s streams) error {
	return c.say(ctx, s, rollout.Approve)
}

// Run rejects.
func (c rejectCmd) Run(ctx context.Context, s streams) error { return c.say(ctx, s, rollout.Reject) }

func (d decision) say(ctx context.Context, s streams, kind rollout.DecisionKind) error {
	id := d.Rollout
	if strings.Contains(id, "/") {
		var got standingView
		if err := d.call(ctx, http.MethodGet, "/api/v1/why?canary="+url.QueryEscape(id), nil, &got); err != nil {
			return err
		}
		if got.Rollout == nil {
			return fmt.Errorf("%s %s: no rollout of it is under way", kind, id)
		}
		id = got.Rollout.ID
	}
	by := d.By
	if by == "" {
		if me, err := user.Current(); err == nil {
			by = me.Username
		}
	}
	var r struct {
		Canary    rollout.Key        `json:"canary"`
		Revision  rollout.Revision   `json:"revision"`
		Decisions []rollout.Decision `json:"decisions"`
	}
	if err := d.call(ctx, http.MethodPost, "/api/v1/rollouts/"+url.PathEscape(id)+"/"+string(kind), map[string]string{"by": by, "why": d.Reason}, &r); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s of %s: %s\n", r.Revision.Label(), r.Canary, r.Decisions[len(r.Decisions)-1].Text())
	return err
}

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
