// Package notify delivers messages from the outbox to a webhook, each at least once, and says what became of them.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Outbox is the courier's contract with whoever remembers messages.
type Outbox interface {
	Due(ctx context.Context, now time.Time) ([]rollout.Message, error)
	Delivered(ctx context.Context, key, sink, thread string) error
	Refused(ctx context.Context, key, sink, why string) error
	Retry(ctx context.Context, key, sink, why string, due time.Time) error
}

// Sink sends one message once and says whether trying again can help.
type Sink func(ctx context.Context, m rollout.Message) (retry bool, err error)

// Webhook posts messages as JSON with an Idempotency-Key header to address. Any 2xx is a delivery; 408, 429 and 5xx may
// be tried again, other answers not. Errors name the host only: the path of such addresses is often the secret.
func Webhook(client *http.Client, address string) (Sink, error) {
	target, err := url.Parse(address)
	if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
		return nil, errors.New("the notification webhook's address is not an http or https URL")
	}
	direct := *client
	// A POST that is redirected becomes a GET: whoever answers that has not got the news.
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(ctx context.Context, m rollout.Message) (bool, error) {
		body, err := json.Marshal(m.News)
		if err != nil {
			return false, fmt.Errorf("encode message: %w", err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return false, fmt.Errorf("post to %s: bad request", target.Host)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", m.News.Key())
		resp, err := direct.Do(req)
		if err != nil {
			var withURL *url.Error
			if errors.As(err, &withURL) {
				err = withURL.Err
			}
			return true, fmt.Errorf("post to %s: %w", target.Host, err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
		if resp.StatusCode/100 == 2 {
			return false, nil
		}
		retry := resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout
		return retry, fmt.Errorf("post to %s: status %s", target.Host, resp.Status)
	}, nil
}

// Nobody takes every message and tells nobody: what happened before a receiver is configured is not news by then.
func Nobody(context.Context, rollout.Message) (bool, error) { return false, nil }

// Courier carries what is due from the outbox to the sink.
type Courier struct {
	Outbox Outbox
	Sink   Sink
	Log    *slog.Logger
	Now    func() time.Time
	Every  time.Duration // how often the outbox is looked at
}

// Run carries until ctx ends. What is not delivered by then stays in the outbox.
func (c Courier) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.Every)
	defer ticker.Stop()
	for {
		if err := c.Carry(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("outbox could not be emptied, next try follows", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Carry sends everything that is due now, once.
func (c Courier) Carry(ctx context.Context) error {
	due, err := c.Outbox.Due(ctx, c.Now())
	if err != nil {
		return err
	}
	for _, m := range due {
		if err := c.carry(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (c Courier) carry(ctx context.Context, m rollout.Message) error {
	retry, err := c.Sink(ctx, m)
	switch {
	case err == nil:
		return c.Outbox.Delivered(ctx, m.News.Key(), m.Sink, "")
	case ctx.Err() != nil:
		return ctx.Err() // we were stopped, the receiver said nothing
	case !retry:
		c.Log.Error("notification refused, it is not sent again", "key", m.News.Key(), "error", err)
		return c.Outbox.Refused(ctx, m.News.Key(), m.Sink, err.Error())
	default:
		due := c.Now().Add(delay(m.Attempts))
		c.Log.Warn("notification not delivered, will be sent again", "key", m.News.Key(), "attempts", m.Attempts+1, "due", due, "error", err)
		return c.Outbox.Retry(ctx, m.News.Key(), m.Sink, err.Error(), due)
	}
}

// delay grows from 1 s by half at every attempt, with jitter, and stays under 5 minutes.
func delay(attempts int) time.Duration {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = time.Second, 5*time.Minute
	b.Reset()
	var d time.Duration
	for range min(attempts, 50) + 1 {
		d = b.NextBackOff()
	}
	return d
}
