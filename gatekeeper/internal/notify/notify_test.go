package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var message = rollout.Message{News: rollout.News{
	Event: rollout.Happening(rollout.RolledBack), Rollout: "r1", Canary: rollout.Key{Namespace: "demo", Name: "podinfo"}, Text: "2.0.0 was rolled back",
}}

func TestWebhook(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		retry  bool
		fails  bool
	}{
		"200 is a delivery":              {200, false, false},
		"204 is a delivery":              {204, false, false},
		"500 may be tried again":         {500, true, true},
		"429 may be tried again":         {429, true, true},
		"404 will not mend itself":       {404, false, true},
		"a redirect is not a delivery":   {304, false, true},
		"408 says to try again":          {408, true, true},
		"410, the channel is gone":       {410, false, true},
		"503 while the receiver deploys": {503, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got rollout.News
			var key string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key = r.Header.Get("Idempotency-Key")
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				w.WriteHeader(c.status)
			}))
			defer server.Close()
			sink, err := Webhook(server.Client(), server.URL+"/hook")
			if err != nil {
				t.Fatal(err)
			}
			retry, err := sink(t.Context(), message)
			if retry != c.retry || (err != nil) != c.fails {
				t.Errorf("retry %v, error %v", retry, err)
			}
			if got.Text != message.News.Text || key != "r1/rolled-back" {
				t.Errorf("receiver got %+v with key %q", got, key)
			}
		})
	}
}

func TestARedirectIsNoDelivery(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Redirect(w, r, "/login", http.StatusFound)
		}
	}))
	defer server.Close()
	sink, err := Webhook(server.Client(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if retry, err := sink(t.Context(), message); err == nil || retry {
		t.Errorf("retry %v, error %v: a login page has taken the news", retry, err)
	}
}

func TestWebhookTellsNoSecret(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL + "/services/T0/s3cret?token=s3cret"
	for _, stop := range []func(){func() {}, server.Close} {
		stop()
		sink, err := Webhook(http.DefaultClient, address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sink(t.Context(), message); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error tells the secret or is missing: %v", err)
		}
	}
	for _, bad := range []string{"", "s3cret", "ftp://s3cret", "http://%zz-s3cret"} {
		if _, err := Webhook(http.DefaultClient, bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// outbox is a memory of what became of one message.
type outbox struct {
	due  []rollout.Message
	fate string
}

func (o *outbox) Due(context.Context, time.Time) ([]rollout.Message, error) { return o.due, nil }
func (o *outbox) Delivered(_ context.Context, key, _, _ string) error {
	o.fate = "delivered " + key
	return nil
}

func (o *outbox) Refused(_ context.Context, key, _, why string) error {
	o.fate = "refused " + key + ": " + why
	return nil
}

func (o *outbox) Retry(_ context.Context, key, _, why string, due time.Time) error {
	o.fate = fmt.Sprintf("retry %s: %s %v", key, why, due.After(start))
	return nil
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestCourierDoesWithAMessageWhatTheSinkSays(t *testing.T) {
	for name, c := range map[string]struct {
		sink Sink
		want string
	}{
		"delivered":      {func(context.Context, rollout.Message) (bool, error) { return false, nil }, "delivered r1/rolled-back"},
		"worth retrying": {func(context.Context, rollout.Message) (bool, error) { return true, io.EOF }, "retry r1/rolled-back: EOF true"},
		"refused":        {func(context.Context, rollout.Message) (bool, error) { return false, io.EOF }, "refused r1/rolled-back: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			box := &outbox{due: []rollout.Message{message}}
			courier := Courier{Outbox: box, Sink: c.sink, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return start }}
			if err := courier.Carry(t.Context()); err != nil || box.fate != c.want {
				t.Errorf("got %q %v, want %q", box.fate, err, c.want)
			}
		})
	}
}

func TestAMessageUnderWayAtTheStopStays(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	box := &outbox{due: []rollout.Message{message}}
	courier := Courier{Outbox: box, Log: slog.New(slog.DiscardHandler), Now: time.Now, Sink: func(context.Context, rollout.Message) (bool, error) {
		stop()
		return true, context.Canceled
	}}
	if err := courier.Carry(ctx); err == nil || box.fate != "" {
		t.Errorf("fate %q, error %v", box.fate, err)
	}
}

func TestDelayGrowsAndIsBounded(t *testing.T) {
	if first, late := delay(0), delay(1000); first > 2*time.Second || late < time.Minute || late > 10*time.Minute {
		t.Errorf("first %s, late %s", first, late)
	}
}
