package sinks

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/template"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Fields are what a template can use.
type Fields struct {
	Event     string    // started, waiting, unattended, stalled, promoted, rolled-back, superseded, aborted, stuck
	Severity  string    // info, warning, critical
	Repeat    int       // 0 when it is told first, then 1, 2 … while it lasts
	Text      string    // the gatekeeper's own sentence
	Title     string    // the event in a few words
	Namespace string    // of the Canary
	Name      string    // of the Canary
	Policy    string    // by which it is judged
	Rollout   string    // its id
	Version   string    // what is released, as people name it
	Stable    string    // what is replaced
	Image     string    // of what is released
	DeployID  string    // from its pod template; may be empty
	Commit    string    // from its pod template; may be empty
	Weight    int       // percent of the traffic that the canary had
	Reasons   []string  // of the verdict, the strongest first
	At        time.Time // when it happened
	Link      string    // to the rollout's page, "" when the gatekeeper does not know its own address
}

// maxSentence bounds what a template makes, in bytes.
const maxSentence = 8 << 10

// Title is an event in a few words.
func Title(h rollout.Happening) string {
	switch h {
	case rollout.HasStarted:
		return "Rollout started"
	case rollout.IsWaiting:
		return "A person is waited for"
	case rollout.IsUnattended:
		return "Nobody steers the traffic"
	case rollout.IsStalled:
		return "The promotion does not end"
	case rollout.Happening(rollout.Promoted):
		return "Promoted"
	case rollout.Happening(rollout.RolledBack):
		return "Rolled back"
	case rollout.Happening(rollout.Superseded):
		return "Superseded"
	case rollout.Happening(rollout.Aborted):
		return "Aborted"
	case rollout.Happening(rollout.Stuck):
		return "Stuck: a person must act"
	default:
		return string(h)
	}
}

// Link is the page of a rollout, "" without the gatekeeper's public address.
func Link(public, id string) string {
	if public == "" {
		return ""
	}
	return strings.TrimSuffix(public, "/") + "/rollouts/" + url.PathEscape(id)
}

// Sentence is what s says of n.
func (s Sink) Sentence(n rollout.News, link string) (string, error) {
	if s.Template == "" {
		return n.Text, nil
	}
	made, err := template.New("template").Option("missingkey=error").Parse(s.Template)
	if err != nil {
		return "", fmt.Errorf("read the template: %w", err)
	}
	text := &bounded{}
	if err := made.Execute(text, fields(n, link)); err != nil && !errors.Is(err, errEnough) {
		return "", fmt.Errorf("fill the template: %w", err)
	}
	if strings.TrimSpace(text.String()) == "" {
		return "", errors.New("fill the template: it says nothing")
	}
	return strings.TrimSpace(text.String()), nil
}

func fields(n rollout.News, link string) Fields {
	f := Fields{
		Event: string(n.Event), Severity: string(n.Severity), Repeat: n.Repeat, Text: n.Text, Title: Title(n.Event),
		Namespace: n.Canary.Namespace, Name: n.Canary.Name, Policy: n.Policy, Rollout: n.Rollout,
		Version: n.Revision.Label(), Stable: n.Stable.Label(), Image: n.Revision.Image, DeployID: n.Revision.DeployID, Commit: n.Revision.Commit,
		Weight: n.Weight, At: n.At, Link: link,
	}
	for _, r := range n.Reasons {
		f.Reasons = append(f.Reasons, r.Text)
	}
	return f
}

// errEnough ends a template that says more than anybody reads.
var errEnough = errors.New("enough")

// bounded is text up to maxSentence: a template may loop, and a text that is cut is better than none.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxSentence {
		b.WriteString(strings.ToValidUTF8(string(p[:maxSentence-b.Len()]), "") + "…")
		return 0, errEnough
	}
	return b.Builder.Write(p)
}
