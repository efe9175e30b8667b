// Package notify tells people: it renders news for each sink, delivers it at least once, and says what became of it.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// Outbox is the courier's contract with whoever remembers messages. Due gives those whose time has come, oldest first, of
// each rollout and sink no later one before the earlier is delivered or refused. What became of a message is durable on
// return. Safe for concurrent use.
type Outbox interface {
	Due(ctx context.Context, now time.Time) ([]rollout.Message, error)
	// Delivered remembers thread, unless it is "", for the next message about the same rollout to the same sink.
	Delivered(ctx context.Context, key, sink, thread string) error
	Refused(ctx context.Context, key, sink, why string) error
	Retry(ctx context.Context, key, sink, why string, due time.Time) error
	// Waiting says how many messages are neither delivered nor refused, by sink.
	Waiting(ctx context.Context) (map[string]int, error)
}

// Teller tells one sink. Tell sends once; what it needs is read anew each time. Payload is what Tell would send. Neither
// puts a secret into what it returns. Safe for concurrent use.
type Teller interface {
	Payload(m rollout.Message) ([]byte, error)
	Tell(ctx context.Context, m rollout.Message) Answer
}

// Answer is what became of one attempt.
type Answer struct {
	Err    error         // nil: delivered
	Retry  bool          // trying again can help
	After  time.Duration // but not sooner than this
	Thread string        // for the next message about the same rollout
	Status string        // what the other side said, for people
}

// Options are what all sinks share.
type Options struct {
	Client *http.Client
	Public string // address of the gatekeeper's own pages, "" when they have none that people reach
	Press  bool   // a signing secret is there, so that buttons work
	Now    func() time.Time
	Slack  sinks.Slack
}

// New makes the teller of a sink that sinks.Config.Validate has nothing against.
func New(s sinks.Sink, o Options) (Teller, error) {
	switch {
	case s.Type == sinks.Webhook:
		return webhook{s, o}, nil
	case s.Type == sinks.SlackApp && s.Token.Set():
		return slackBot{s, o}, nil
	case s.Type == sinks.SlackApp:
		return slackHook{s, o}, nil
	case s.Type == sinks.Teams:
		return teams{s, o}, nil
	case s.Type == sinks.Shoutrrr:
		return shout{s, o}, nil
	default:
		return nil, fmt.Errorf("sink %s: there is no type %q", s.Name, s.Type)
	}
}

// All makes the tellers of all sinks, by their names.
func All(c sinks.Config, o Options) (map[string]Teller, error) {
	all := map[string]Teller{}
	for _, s := range c.Sinks {
		teller, err := New(s, o)
		if err != nil {
			return nil, err
		}
		all[s.Name] = teller
	}
	return all, nil
}

// Secrets reads all secrets of a sink and says which can not be read now, or are none that could be used to send.
func Secrets(s sinks.Sink) error {
	var errs []error
	for _, of := range []struct {
		what   string
		secret sinks.Secret
	}{{"url", s.URL}, {"token", s.Token}, {"secret", s.Secret}} {
		if !of.secret.Set() {
			continue
		}
		text, err := reveal(of.what, of.secret)
		if err == nil {
			err = usable(s.Type, of.what, text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sink %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// usable looks at a secret as sending does. That of a bot nobody knows but Slack.
func usable(t sinks.Type, what, text string) error {
	var err error
	switch {
	case what == "secret":
		_, err = signer(text)
	case what == "url" && t == sinks.Shoutrrr:
		_, err = sender(text)
	case what == "url":
		_, err = target(text)
	}
	return err
}

// reveal reads a secret, without the space around it.
func reveal(what string, s sinks.Secret) (string, error) {
	text := s.Value
	switch {
	case s.File != "":
		content, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read its %s: %w", what, err)
		}
		text = string(content)
	case s.Env != "":
		text = os.Getenv(s.Env)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", fmt.Errorf("read its %s: %s is empty", what, origin(s))
	}
	return text, nil
}

func origin(s sinks.Secret) string {
	switch {
	case s.File != "":
		return "the file " + s.File
	case s.Env != "":
		return "the environment variable " + s.Env
	default:
		return "it"
	}
}

// unready is the answer when something that is needed can not be read: it may be there at the next attempt.
func unready(err error) Answer { return Answer{Err: err, Retry: true} }

// useless is the answer when what would be sent can not be made: it will not be better at the next attempt.
func useless(err error) Answer { return Answer{Err: err} }
