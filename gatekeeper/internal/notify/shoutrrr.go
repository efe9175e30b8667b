package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/nicholas-fedor/shoutrrr"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// shout speaks to e-mail and other services by the library Shoutrrr; the address says which
// (shoutrrr.nickfedor.com/latest/services/overview).
type shout struct {
	sinks.Sink
	Options
}

// maxLine is how long a line may be, in characters: a mail server refuses lines over 998 bytes (RFC 5322 §2.1.1), and a
// character has up to four.
const maxLine = 240

// Payload is the text that is sent.
func (s shout) Payload(m rollout.Message) ([]byte, error) {
	link := sinks.Link(s.Public, m.News.Rollout)
	text, err := s.Sentence(m.News, link)
	if err != nil {
		return nil, err
	}
	body := &strings.Builder{}
	fmt.Fprintf(body, "%s\n\n", text)
	for _, f := range about(m.News) {
		fmt.Fprintf(body, "%s: %s\n", f.name, cut(f.value, maxField))
	}
	if link != "" {
		fmt.Fprintf(body, "\n%s\n", link)
	}
	return []byte(wrap(strings.ReplaceAll(body.String(), "\r", ""))), nil
}

// wrap breaks lines that are longer than maxLine, at a space where there is one.
func wrap(text string) string {
	out := &strings.Builder{}
	for line := range strings.Lines(text) {
		rest := []rune(line)
		for len(rest) > maxLine+1 { // the line's end is one
			at := maxLine
			if space := strings.LastIndexByte(string(rest[:maxLine]), ' '); space > 0 {
				at = utf8.RuneCountInString(string(rest[:maxLine])[:space+1])
			}
			out.WriteString(string(rest[:at]) + "\n")
			rest = rest[at:]
		}
		out.WriteString(string(rest))
	}
	return out.String()
}

// sender is the library's for an address.
func sender(address string) (*router.ServiceRouter, error) {
	sender, err := shoutrrr.NewSender(log.New(io.Discard, "", 0), address)
	if err != nil {
		scheme, _, _ := strings.Cut(address, ":") // what is no address at all may be a token
		return nil, fmt.Errorf("its address is none that Shoutrrr knows: %s", conceal(err.Error(), append(parts(address), scheme)))
	}
	return sender, nil
}

// Tell sends once. The library does not say what would help, so every failure may be tried again. Its errors can have the
// address in them, which is the secret.
func (s shout) Tell(ctx context.Context, m rollout.Message) Answer {
	body, err := s.Payload(m)
	if err != nil {
		return useless(err)
	}
	address, err := reveal("url", s.URL)
	if err != nil {
		return unready(err)
	}
	sender, err := sender(address)
	if err != nil {
		return unready(err)
	}
	title := cut(sinks.Title(m.News.Event)+": "+m.News.Canary.String(), maxHeader)
	answered := sender.SendAsync(string(body), &types.Params{types.TitleKey: mime.QEncoding.Encode("utf-8", title)})
	select {
	case err = <-answered:
	case <-ctx.Done(): // the library has no context; its own timeout ends it
		err = ctx.Err()
	}
	if err != nil {
		return Answer{Err: errors.New(conceal(err.Error(), parts(address))), Retry: true, Status: "failed"}
	}
	return Answer{Status: "sent"}
}
