package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// request is one that a receiver got.
type request struct {
	*http.Request
	body []byte
}

// receiver answers all requests alike and keeps the last one.
func receiver(t *testing.T, answer http.HandlerFunc) (address string, last *request) {
	t.Helper()
	last = &request{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		last.Request, last.body = r.Clone(context.WithoutCancel(r.Context())), body // the server still has the other
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func options() Options {
	return Options{Client: &http.Client{Timeout: 10 * time.Second}, Public: "https://gate.example", Press: true, Now: time.Now, Slack: sinks.Default().Slack}
}

// file has a secret in it.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// teller is that of a sink.
func teller(t *testing.T, s sinks.Sink, o Options) Teller {
	t.Helper()
	made, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// The receiver's side is others' code: the CloudEvents SDK reads, the Standard Webhooks library verifies.
func TestAWebhookIsASignedCloudEvent(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	address, got := receiver(t, status(http.StatusNoContent))
	m := news(rolledBack)
	answer := teller(t, sinks.Sink{Type: sinks.Webhook, URL: sinks.Secret{Value: address + "/x"}, Secret: sinks.Secret{File: file(t, secret)}, Template: "{{.Title}}!"}, options()).Tell(t.Context(), m)
	if answer.Err != nil {
		t.Fatal(answer.Err)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(got.body, got.Header); err != nil {
		t.Error(err)
	}
	if err := verifier.Verify(bytes.Replace(got.body, []byte("shop"), []byte("shot"), 1), got.Header); err == nil {
		t.Error("a changed body verifies")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	by := hmac.New(sha256.New, key) // by hand, as the document says
	by.Write([]byte(got.Header.Get("webhook-id") + "." + got.Header.Get("webhook-timestamp") + "."))
	by.Write(got.body)
	if want := "v1," + base64.StdEncoding.EncodeToString(by.Sum(nil)); got.Header.Get("webhook-signature") != want {
		t.Errorf("signature %s, by hand %s", got.Header.Get("webhook-signature"), want)
	}
	id := m.News.Key()
	if got.Header.Get("Idempotency-Key") != id || got.Header.Get("webhook-id") != id {
		t.Errorf("keys %q and %q, want %q", got.Header.Get("Idempotency-Key"), got.Header.Get("webhook-id"), id)
	}

	got.Body = io.NopCloser(bytes.NewReader(got.body))
	event, err := cehttp.NewEventFromHTTPRequest(got.Request)
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Validate(); err != nil {
		t.Error(err)
	}
	if event.ID() != id || event.Type() != "monitoring.rollout.rolled-back" || event.Subject() != "shop/cart" || event.Source() != "https://gate.example" ||
		!event.Time().Equal(m.News.At) || event.Extensions()["severity"] != "critical" {
		t.Errorf("got %s", event)
	}
	var data told
	if err := event.DataAs(&data); err != nil || data.Rollout != m.News.Rollout || data.Text != "Rolled back!" || data.Link != "https://gate.example/rollouts/"+m.News.Rollout || len(data.Reasons) != 1 {
		t.Errorf("data %+v %v", data, err)
	}
}

// A file that is replaced is used for the next message.
func TestSecretsAreReadAnew(t *testing.T) {
	first, one := receiver(t, status(http.StatusOK))
	second, two := receiver(t, status(http.StatusOK))
	name := file(t, first)
	hook := teller(t, sinks.Sink{Type: sinks.Webhook, URL: sinks.Secret{File: name}}, options())
	if a := hook.Tell(t.Context(), news(promoted)); a.Err != nil || one.Request == nil {
		t.Fatal(a.Err)
	}
	if err := os.WriteFile(name, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := hook.Tell(t.Context(), news(promoted)); a.Err != nil || two.Request == nil {
		t.Errorf("%v; the second receiver got %v", a.Err, two.Request)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if a := hook.Tell(t.Context(), news(promoted)); a.Err == nil || !a.Retry {
		t.Errorf("a missing file: %+v, want another try later", a)
	}
}

func TestWeakSecretsDoNotSign(t *testing.T) {
	address, got := receiver(t, status(http.StatusOK))
	for _, secret := range []string{"whsec_c2hvcnQ=", "not base64 at all, but long enough to be it"} {
		hook := teller(t, sinks.Sink{Type: sinks.Webhook, URL: sinks.Secret{Value: address}, Secret: sinks.Secret{File: file(t, secret)}}, options())
		if a := hook.Tell(t.Context(), news(promoted)); a.Err == nil || !strings.Contains(a.Err.Error(), "openssl rand") || strings.Contains(a.Err.Error(), secret) || got.Request != nil {
			t.Errorf("%q: %+v", secret, a)
		}
		weak := sinks.Sink{Name: "hook", Type: sinks.Webhook, URL: sinks.Secret{Value: address}, Secret: sinks.Secret{File: file(t, secret)}}
		if err := Secrets(weak); err == nil || !strings.Contains(err.Error(), "openssl rand") || strings.Contains(err.Error(), secret) {
			t.Errorf("the check of %q: %v", secret, err)
		}
	}
}

// The check finds what sending would find, and does not print it.
func TestSecretsThatAreNoneAreFoundBeforeSending(t *testing.T) {
	for name, s := range map[string]sinks.Sink{
		"an address that is none":         {Type: sinks.Teams, URL: sinks.Secret{File: file(t, "s3cr3tm4rk3r")}},
		"of a scheme that is not HTTP":    {Type: sinks.Webhook, URL: sinks.Secret{File: file(t, "ftp://s3cr3tm4rk3r.example/")}},
		"of a service that there is not":  {Type: sinks.Shoutrrr, URL: sinks.Secret{File: file(t, "pigeon://s3cr3tm4rk3r@loft")}},
		"without what the service asks":   {Type: sinks.Shoutrrr, URL: sinks.Secret{File: file(t, "s3cr3tm4rk3r")}},
		"a Slack webhook that is a token": {Type: sinks.SlackApp, URL: sinks.Secret{File: file(t, "xoxb-s3cr3tm4rk3r")}},
	} {
		s.Name = "one"
		if err := Secrets(s); err == nil || !strings.Contains(err.Error(), "sink one: its address") || strings.Contains(err.Error(), "s3cr3tm4rk3r") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]sinks.Sink{
		"webhook":    {Type: sinks.Webhook, URL: sinks.Secret{File: file(t, "https://a.example/x\n")}, Secret: sinks.Secret{File: file(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")}},
		"bot":        {Type: sinks.SlackApp, Token: sinks.Secret{File: file(t, "xoxb-1")}},
		"mail":       {Type: sinks.Shoutrrr, URL: sinks.Secret{File: file(t, "smtp://u:p@mail.example:587/?from=a@b.example&to=c@d.example")}},
		"Teams room": {Type: sinks.Teams, URL: sinks.Secret{File: file(t, "https://a.example/x")}},
	} {
		if err := Secrets(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an answer means is the same for all that is posted.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		fails  bool
		retry  bool
		after  time.Duration
	}{
		"200 is a delivery":              {status(200), false, false, 0},
		"204 is a delivery":              {status(204), false, false, 0},
		"500 may be tried again":         {status(500), true, true, 0},
		"503 while the receiver deploys": {status(503), true, true, 0},
		"408 says to try again":          {status(408), true, true, 0},
		"429 too":                        {status(429), true, true, 0},
		"404 will not mend itself":       {status(404), true, false, 0},
		"410, the channel is gone":       {status(410), true, false, 0},
		"a redirect is not a delivery":   {http.RedirectHandler("/login", http.StatusFound).ServeHTTP, true, false, 0},
		"429 may say when":               {after("120", 429), true, true, 2 * time.Minute},
		"but not for ever":               {after("100000", 503), true, true, 10 * time.Minute},
		"nor in the past":                {after("-5", 503), true, true, 0},
		"nor in riddles":                 {after("soon", 503), true, true, 0},
	} {
		address, got := receiver(t, c.answer)
		for what, s := range map[string]sinks.Sink{
			"webhook": {Type: sinks.Webhook, URL: sinks.Secret{Value: address}},
			"slack":   {Type: sinks.SlackApp, URL: sinks.Secret{File: file(t, address)}},
			"teams":   {Type: sinks.Teams, URL: sinks.Secret{File: file(t, address)}},
		} {
			a := teller(t, s, options()).Tell(t.Context(), news(promoted))
			if (a.Err != nil) != c.fails || a.Retry != c.retry || a.After != c.after || a.Status == "" {
				t.Errorf("%s: %s: %+v", name, what, a)
			}
			if got.Method != http.MethodPost || len(got.body) == 0 {
				t.Errorf("%s: %s: the receiver got %s with %d bytes", name, what, got.Method, len(got.body))
			}
		}
	}
}

func after(when string, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", when)
		w.WriteHeader(code)
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := retryAfter(now.Add(90*time.Second).Format(http.TimeFormat), now); got != 90*time.Second {
		t.Errorf("got %s", got)
	}
}

func TestATypeThatThereIsNotIsAnError(t *testing.T) {
	if _, err := All(sinks.Config{Sinks: []sinks.Sink{{Name: "x", Type: "pigeon"}}}, options()); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("got %v", err)
	}
}

func TestHostileNewsIsAnEventLikeAnyOther(t *testing.T) {
	for _, h := range rollout.Happenings() {
		address, got := receiver(t, status(http.StatusOK))
		if a := teller(t, sinks.Sink{Type: sinks.Webhook, URL: sinks.Secret{Value: address}}, options()).Tell(t.Context(), hostile(h)); a.Err != nil {
			t.Fatal(a.Err)
		}
		got.Body = io.NopCloser(bytes.NewReader(got.body))
		event, err := cehttp.NewEventFromHTTPRequest(got.Request)
		if err != nil || event.Validate() != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
}
