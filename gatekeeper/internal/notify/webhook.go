package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// eventType is what the type of our CloudEvents begins with; the happening follows.
const eventType = "monitoring.rollout."

// minSecret is the least length of a signing secret, in bytes (github.com/standard-webhooks, "Signature scheme").
const minSecret = 24

// webhook posts news as a CloudEvent, signed by the Standard Webhooks scheme when there is a secret.
type webhook struct {
	sinks.Sink
	Options
}

// told is the event's data.
type told struct {
	rollout.News
	Text string `json:"text"`
	Link string `json:"link,omitempty"`
}

// Payload is a CloudEvent 1.0 in its structured JSON form. Its id is the idempotency key.
func (w webhook) Payload(m rollout.Message) ([]byte, error) {
	link := sinks.Link(w.Public, m.News.Rollout)
	text, err := w.Sentence(m.News, link)
	if err != nil {
		return nil, err
	}
	e := event.New()
	e.SetID(m.News.Key())
	e.SetType(eventType + string(m.News.Event))
	e.SetSource("/gatekeeper")
	if w.Public != "" {
		e.SetSource(w.Public)
	}
	e.SetSubject(m.News.Canary.String())
	e.SetTime(m.News.At)
	e.SetExtension("severity", string(m.News.Severity))
	if err := e.SetData(event.ApplicationJSON, told{m.News, text, link}); err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	return body, nil
}

// Tell posts once, with an Idempotency-Key header and, where there is a secret, the headers webhook-id, webhook-timestamp and
// webhook-signature.
func (w webhook) Tell(ctx context.Context, m rollout.Message) Answer {
	body, err := w.Payload(m)
	if err != nil {
		return useless(err)
	}
	address, err := reveal("url", w.URL)
	if err != nil {
		return unready(err)
	}
	header := http.Header{"Content-Type": {event.ApplicationCloudEventsJSON}, "Idempotency-Key": {m.News.Key()}}
	var secret string
	if w.Secret.Set() {
		if secret, err = reveal("secret", w.Secret); err != nil {
			return unready(err)
		}
		if err := w.sign(header, m.News.Key(), body, secret); err != nil {
			return unready(err)
		}
	}
	return w.post(ctx, address, header, body, secret)
}

// signer signs with a secret that is long enough.
func signer(secret string) (*standardwebhooks.Webhook, error) {
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil || len(secret) < minSecret*4/3 { // in base64
		return nil, errors.New(`its secret is not base64 of 24 bytes or more; make one with echo "whsec_$(openssl rand -base64 32)"`)
	}
	return signer, nil
}

func (w webhook) sign(header http.Header, id string, body []byte, secret string) error {
	signer, err := signer(secret)
	if err != nil {
		return err
	}
	now := w.Now()
	signature, err := signer.Sign(id, now, body)
	if err != nil {
		return errors.New("its secret can not sign")
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}
