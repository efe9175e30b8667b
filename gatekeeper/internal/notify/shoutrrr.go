package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr"
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
		fmt.Fprintf(body, "%s: %s\n", f.name, f.value)
	}
	if link != "" {
		fmt.Fprintf(body, "\n%s\n", link)
	}
	return []byte(body.String()), nil
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
	sender, err := shoutrrr.NewSender(log.New(io.Discard, "", 0), address)
	if err != nil {
		return unready(fmt.Errorf("its address is none that Shoutrrr knows: %s", conceal(err.Error(), parts(address))))
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

// parts are all parts of an address that may be secret.
func parts(address string) []string {
	all := []string{address}
	u, err := url.Parse(address)
	if err != nil {
		return all
	}
	if password, ok := u.User.Password(); ok {
		all = append(all, password)
	}
	all = append(all, u.User.Username(), u.RequestURI(), strings.Trim(u.Path, "/"))
	for _, values := range u.Query() {
		all = append(all, values...)
	}
	return all
}
