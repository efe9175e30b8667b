package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/notify"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

const (
	outboxInterval = time.Second
	webhookTimeout = 10 * time.Second // of one request to a sink
)

// sinkFlags say who is told. "serve" and the commands of "notify" share them.
type sinkFlags struct {
	Sinks                  string `env:"GATEKEEPER_SINKS" type:"existingfile" help:"File that says who is told of what (docs/notifications.md)."`
	WebhookURL             string `env:"GATEKEEPER_WEBHOOK_URL" help:"A webhook that is told of everything, as the sink \"webhook\"."`
	PublicURL              string `name:"public-url" env:"GATEKEEPER_PUBLIC_URL" help:"Address under which people reach the gatekeeper's pages, for links in notifications."`
	SlackSigningSecret     string `env:"GATEKEEPER_SLACK_SIGNING_SECRET" help:"Signing secret of the Slack app; without one there are no buttons in Slack messages."`
	SlackSigningSecretFile string `env:"GATEKEEPER_SLACK_SIGNING_SECRET_FILE" help:"File with that secret; read anew at each press."`
}

// notifyFlags are those of "serve" alone.
type notifyFlags struct {
	sinkFlags `embed:""`

	NotifyGiveUp time.Duration `default:"24h" env:"GATEKEEPER_NOTIFY_GIVE_UP" help:"Age from which a notification that fails is not tried again."`
}

// config is the sinks file with the flag's own sink.
func (f sinkFlags) config() (sinks.Config, error) {
	c := sinks.Default()
	if f.Sinks != "" {
		text, err := os.ReadFile(f.Sinks)
		if err != nil {
			return c, fmt.Errorf("read sinks: %w", err)
		}
		if c, err = policyfile.ParseSinks(f.Sinks, text); err != nil {
			return c, err
		}
	}
	if f.WebhookURL == "" {
		return c, nil
	}
	const name = "webhook"
	if _, taken := c.Get(name); taken {
		return c, fmt.Errorf("%s has a sink %q, and --webhook-url is one of that name: give only one of them", f.Sinks, name)
	}
	c.Sinks = append(c.Sinks, sinks.Sink{Name: name, Type: sinks.Webhook, URL: sinks.Secret{Value: f.WebhookURL}})
	if err := c.Validate(); err != nil {
		return c, errors.New("--webhook-url is not an http or https URL") // it is a secret
	}
	return c, nil
}

// options are what the tellers of all sinks share.
func (f sinkFlags) options(c sinks.Config) notify.Options {
	_, err := f.signingSecret()
	return notify.Options{Client: &http.Client{Timeout: webhookTimeout}, Public: f.PublicURL, Press: err == nil, Now: time.Now, Slack: c.Slack}
}

// signingSecret is that of the Slack app, as it is now.
func (f sinkFlags) signingSecret() (string, error) {
	text, err := secret(f.SlackSigningSecret, f.SlackSigningSecretFile)
	if err == nil && text == "" {
		err = errors.New("the gatekeeper was started without the signing secret of a Slack app")
	}
	return text, err
}

// pressed is what the people's door needs for the buttons in Slack messages.
func (f sinkFlags) pressed(c sinks.Config) web.Slack {
	return web.Slack{
		Secret: f.signingSecret, Approvers: c.Slack.Approvers, ResponseHost: c.Slack.ResponseHost(), Client: &http.Client{Timeout: webhookTimeout},
	}
}

// courier carries the outbox's messages in the group.
func (f notifyFlags) courier(group *rungroup.Group, ctx context.Context, outbox notify.Outbox, c sinks.Config, reg prometheus.Registerer, log *slog.Logger) error {
	tellers, err := notify.All(c, f.options(c))
	if err != nil {
		return err
	}
	courier := notify.Courier{
		Outbox: outbox, Tellers: tellers, Metrics: notify.NewMetrics(reg, c), Log: log.With("component", "notify"), Now: time.Now, Every: outboxInterval, GiveUp: f.NotifyGiveUp,
	}
	add(group, ctx, courier.Run)
	return nil
}

// examine warns of what will keep people from being told. The gatekeeper works without: what it guards matters more than
// that it is heard, and secrets that are missing now may come.
func examine(c sinks.Config, policies policy.Set, log *slog.Logger) {
	for _, s := range c.Sinks {
		if err := notify.Secrets(s); err != nil {
			log.Warn("a sink can not be told now, messages for it wait", "error", err)
		}
	}
	for name, rules := range policies {
		if unknown := c.Unknown(rules); len(unknown) > 0 {
			log.Warn("a policy tells sinks that there are not", "policy", name, "sinks", strings.Join(unknown, ", "))
		}
	}
}
