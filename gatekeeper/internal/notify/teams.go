package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/atc0005/go-teams-notify/v2/adaptivecard"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// Teams refuses messages over 28 KB (learn.microsoft.com, "Create incoming webhooks"); with these no card comes near.
const (
	maxTeamsText = 2000 // characters
	maxTeamsFact = 500
)

// cardVersion is the least that has what our card uses: Teams on phones has 1.2 (learn.microsoft.com, "Cards reference").
const cardVersion = "1.2"

// teams posts an Adaptive Card to the webhook of a Teams workflow ("Post to a channel when a webhook request is received").
type teams struct {
	sinks.Sink
	Options
}

// Payload is the workflow's envelope with one card.
func (t teams) Payload(m rollout.Message) ([]byte, error) {
	link := sinks.Link(t.Public, m.News.Rollout)
	text, err := t.Sentence(m.News, link)
	if err != nil {
		return nil, err
	}
	card, err := card(m.News, text, link)
	if err != nil {
		return nil, fmt.Errorf("make the card: %w", err)
	}
	message, err := adaptivecard.NewMessageFromCard(card)
	if err != nil {
		return nil, fmt.Errorf("make the card: %w", err)
	}
	if err := message.Validate(); err != nil {
		return nil, fmt.Errorf("make the card: %w", err)
	}
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode the card: %w", err)
	}
	return body, nil
}

func card(n rollout.News, text, link string) (adaptivecard.Card, error) {
	card := adaptivecard.NewCard()
	card.Version = cardVersion
	title := adaptivecard.NewTextBlock(plain(cut(sinks.Title(n.Event)+": "+n.Canary.String(), maxTeamsFact)), true)
	title.Size, title.Weight = adaptivecard.SizeLarge, adaptivecard.WeightBolder
	title.Color = map[rollout.Severity]string{
		rollout.Critical: adaptivecard.ColorAttention, rollout.Warning: adaptivecard.ColorWarning,
	}[n.Severity]
	if n.Event == rollout.Happening(rollout.Promoted) {
		title.Color = adaptivecard.ColorGood
	}
	facts := adaptivecard.NewFactSet()
	for _, f := range about(n) {
		if err := facts.AddFact(adaptivecard.Fact{Title: f.name, Value: plain(cut(f.value, maxTeamsFact))}); err != nil {
			return card, err
		}
	}
	err := card.AddElement(false, title, adaptivecard.NewTextBlock(plain(cut(text, maxTeamsText)), true), adaptivecard.Element(facts))
	if err != nil {
		return card, err
	}
	if link != "" {
		open, err := adaptivecard.NewActionOpenURL(link, "Open the rollout")
		if err != nil {
			return card, err
		}
		if err := card.AddAction(false, open); err != nil {
			return card, err
		}
	}
	return card, nil
}

// plain takes the meaning from the marks of Markdown that Adaptive Cards know.
func plain(text string) string {
	var escaped []rune
	for _, r := range text {
		switch r {
		case '*', '_', '[', ']', '\\', '`':
			escaped = append(escaped, '\\')
		}
		escaped = append(escaped, r)
	}
	return string(escaped)
}

// Tell posts the card once.
func (t teams) Tell(ctx context.Context, m rollout.Message) Answer {
	body, err := t.Payload(m)
	if err != nil {
		return useless(err)
	}
	address, err := reveal("url", t.URL)
	if err != nil {
		return unready(err)
	}
	return t.post(ctx, address, http.Header{"Content-Type": {"application/json"}}, body)
}
