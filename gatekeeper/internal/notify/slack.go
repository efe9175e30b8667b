package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// Slack's limits in characters, a little under what docs.slack.dev/reference/block-kit/blocks says. A section has 10 fields.
const (
	maxHeader   = 140
	maxSection  = 2900
	maxField    = 1900
	maxFields   = 10
	maxFallback = 2900
)

// slackHook posts each message to an incoming webhook, which can change none.
type slackHook struct {
	sinks.Sink
	Options
}

// Payload is what the webhook takes.
func (s slackHook) Payload(m rollout.Message) ([]byte, error) {
	fallback, blocks, err := s.blocks(s.Sink, m.News)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(slack.WebhookMessage{Text: fallback, Blocks: &slack.Blocks{BlockSet: blocks}})
	if err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return body, nil
}

// Tell posts once. Slack's own client is not used here: its errors have the address in them, which is the secret.
func (s slackHook) Tell(ctx context.Context, m rollout.Message) Answer {
	body, err := s.Payload(m)
	if err != nil {
		return useless(err)
	}
	address, err := reveal("url", s.URL)
	if err != nil {
		return unready(err)
	}
	return s.post(ctx, address, http.Header{"Content-Type": {"application/json"}}, body)
}

// slackBot keeps one message per rollout up to date. An update calls nobody, so what asks for people (severity warning or
// critical) is also posted as a reply in the message's thread that the whole channel sees; what only lasts is not.
type slackBot struct {
	sinks.Sink
	Options
}

// Payload is what chat.postMessage and chat.update take, without the token.
func (s slackBot) Payload(m rollout.Message) ([]byte, error) {
	fallback, blocks, err := s.blocks(s.Sink, m.News)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		Channel string        `json:"channel"`
		Text    string        `json:"text"`
		Blocks  []slack.Block `json:"blocks"`
	}{s.Channel, fallback, blocks})
	if err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return body, nil
}

// Tell posts the rollout's message, or brings it up to date and, when people are called, replies to it.
func (s slackBot) Tell(ctx context.Context, m rollout.Message) Answer {
	token, err := reveal("token", s.Token)
	if err != nil {
		return unready(err)
	}
	fallback, blocks, err := s.blocks(s.Sink, m.News)
	if err != nil {
		return useless(err)
	}
	api := slack.New(token, slack.OptionAPIURL(s.Slack.API), slack.OptionHTTPClient(direct(s.Client)))
	content := slack.MsgOptionCompose(slack.MsgOptionText(fallback, false), slack.MsgOptionBlocks(blocks...), slack.MsgOptionDisableLinkUnfurl())
	channel, stamp, before := strings.Cut(m.Thread, "/")
	if before {
		_, _, _, err := api.UpdateMessageContext(ctx, channel, stamp, content)
		before = !gone(err)
		if err != nil && before {
			return s.failed("chat.update", err, token)
		}
	}
	if !before {
		channel, stamp, err := api.PostMessageContext(ctx, s.Channel, content)
		if err != nil {
			return s.failed("chat.postMessage", err, token)
		}
		return Answer{Thread: channel + "/" + stamp, Status: "posted to " + channel + " at " + stamp}
	}
	if m.News.Severity != rollout.Info && !m.News.Quiet {
		_, _, err := api.PostMessageContext(ctx, channel, slack.MsgOptionText(fallback, false), slack.MsgOptionTS(stamp), slack.MsgOptionBroadcast())
		if err != nil {
			return s.failed("reply by chat.postMessage", err, token)
		}
	}
	return Answer{Thread: m.Thread, Status: "brought up to date in " + channel + " at " + stamp}
}

// gone reports whether somebody has deleted the rollout's message, or the time to change it is over.
func gone(err error) bool {
	var refused slack.SlackErrorResponse
	return errors.As(err, &refused) && slices.Contains([]string{"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}, refused.Err)
}

// failed sorts Slack's errors. What a person can mend, such as a bot that nobody has invited yet or a token that expired, is
// tried again: token and channel are read anew each time.
func (s slackBot) failed(method string, err error, token string) Answer {
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var refused slack.SlackErrorResponse
	a := Answer{Retry: true}
	switch {
	case errors.As(err, &limited):
		a.After = min(max(limited.RetryAfter, 0), maxAfter)
	case errors.As(err, &status):
		a.Retry = mayRetry(status.Code)
	case errors.As(err, &refused):
		a.Retry = slices.Contains([]string{
			"internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited", "rate_limited",
			"not_in_channel", "channel_not_found", "invalid_auth", "not_authed", "token_expired", "token_revoked", "account_inactive", "missing_scope",
		}, refused.Err)
	}
	a.Status = cut(conceal(bare(err).Error(), []string{token}), maxStatus)
	a.Err = fmt.Errorf("slack %s: %s", method, a.Status)
	return a
}

// blocks is a message in Block Kit, and the same in one line for notifications and screen readers.
func (o Options) blocks(s sinks.Sink, n rollout.News) (fallback string, blocks []slack.Block, err error) {
	link := sinks.Link(o.Public, n.Rollout)
	text, err := s.Sentence(n, link)
	if err != nil {
		return "", nil, err
	}
	title := sinks.Title(n.Event) + ": " + n.Canary.String()
	// Plain text has no marks, mentions or links in it, whatever names and messages contain.
	words := slack.NewTextBlockObject(slack.PlainTextType, cut(text, maxSection), false, false)
	blocks = []slack.Block{
		slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, cut(mark(n)+" "+title, maxHeader), false, false)),
		slack.NewSectionBlock(words, nil, nil),
	}
	var fields []*slack.TextBlockObject
	for _, f := range about(n) {
		fields = append(fields, slack.NewTextBlockObject(slack.MarkdownType, "*"+f.name+"*\n"+escape(f.value, maxField), false, true))
	}
	for some := range slices.Chunk(fields, maxFields) {
		blocks = append(blocks, slack.NewSectionBlock(nil, some, nil))
	}
	blocks = append(blocks, slack.NewContextBlock("", slack.NewTextBlockObject(slack.PlainTextType, cut("rollout "+n.Rollout, maxField), false, false)))
	if buttons := o.buttons(n, link); len(buttons) > 0 {
		blocks = append(blocks, slack.NewActionBlock("decide", buttons...))
	}
	return escape(title+": "+text, maxFallback), blocks, nil
}

// buttons are what a person can do now. Nobody listens to them without a signing secret.
func (o Options) buttons(n rollout.News, link string) []slack.BlockElement {
	var all []slack.BlockElement
	if o.Press {
		for _, kind := range n.Asks {
			word, style := strings.ToUpper(string(kind[:1]))+string(kind[1:]), slack.StyleDanger
			if kind == rollout.Approve {
				style = slack.StylePrimary
			}
			text := func(t string) *slack.TextBlockObject {
				return slack.NewTextBlockObject(slack.PlainTextType, t, false, false)
			}
			button := slack.NewButtonBlockElement(string(kind), sinks.Press{Rollout: n.Rollout, Version: n.Version}.String(), text(word)).WithStyle(style)
			all = append(all, button.WithConfirm(slack.NewConfirmationBlockObject(
				text(word+"?"), text(cut(n.Revision.Label()+" of "+n.Canary.String(), maxHeader)), text(word), text("Cancel"))))
		}
	}
	if link != "" {
		open := slack.NewButtonBlockElement("open", "", slack.NewTextBlockObject(slack.PlainTextType, "Open", false, false))
		all = append(all, open.WithURL(link))
	}
	return all
}

// mark tells at a glance how bad it is.
func mark(n rollout.News) string {
	switch {
	case n.Severity == rollout.Critical:
		return "🔴"
	case n.Severity == rollout.Warning:
		return "🟠"
	case n.Event == rollout.Happening(rollout.Promoted):
		return "🟢"
	default:
		return "🔵"
	}
}

// escape takes the meaning from Slack's control characters (docs.slack.dev/messaging/formatting-message-text) and makes text
// at most limit characters long, without a half escape at its end.
func escape(text string, limit int) string {
	out := &strings.Builder{}
	for _, r := range text {
		one := map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;"}[r]
		if one == "" {
			one = string(r)
		}
		if limit -= len([]rune(one)); limit < 1 {
			return out.String() + "…"
		}
		out.WriteString(one)
	}
	return out.String()
}
