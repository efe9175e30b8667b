package web

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const signingSecret = "8f742231b10e8888abcd99yyyzzz85a5"

// channel is the side of Slack that answers to presses go to: it keeps them.
type channel struct {
	*httptest.Server
	said []slack.WebhookMessage
}

func newChannel(t *testing.T) *channel {
	t.Helper()
	c := &channel{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m slack.WebhookMessage
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		c.said = append(c.said, m)
	}))
	t.Cleanup(c.Close)
	return c
}

// pressing is the body of a press, as Slack sends it.
func pressing(action, value, user, responseURL string) string {
	payload, _ := json.Marshal(map[string]any{ // strings only
		"type": "block_actions", "user": map[string]string{"id": user, "username": "ann", "name": "ann"}, "response_url": responseURL,
		"actions": []any{map[string]any{"type": "button", "block_id": "decide", "action_id": action, "value": value}},
		"message": map[string]any{"text": "waits", "blocks": []any{
			map[string]any{"type": "section", "text": map[string]any{"type": "plain_text", "text": "waits"}},
			map[string]any{"type": "actions", "elements": []any{map[string]any{"type": "button", "action_id": action, "value": value, "text": map[string]any{"type": "plain_text", "text": "x"}}}},
		}},
	})
	return url.Values{"payload": {string(payload)}}.Encode()
}

// signed is a request with a body, signed at a time.
func signed(body, secret string, at time.Time) *http.Request {
	stamp := strconv.FormatInt(at.Unix(), 10)
	by := hmac.New(sha256.New, []byte(secret))
	by.Write([]byte("v0:" + stamp + ":" + body))
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/slack/actions", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Slack-Request-Timestamp", stamp)
	r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(by.Sum(nil)))
	return r
}

// slackDoor is a door with a signing secret, whose answers go to c.
func slackDoor(t *testing.T, c *channel, change ...func(*Config)) (http.Handler, *conductor) {
	t.Helper()
	_, _, cfg := newDoor(t, nil)
	who := &conductor{}
	cfg.Conductor = who
	cfg.Slack = Slack{Secret: func() (string, error) { return signingSecret, nil }, ResponseHost: c.URL, Client: &http.Client{Timeout: 5 * time.Second}}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg), who
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestAPressDecides(t *testing.T) {
	for action, want := range map[string]string{
		"approve": "[approve r1 ann (U1) via slack in sight of 3 ]", "reject": "[reject r1 ann (U1) via slack in sight of 3 ]", "abort": "[abort r1 ann (U1) via slack in sight of 3 ]",
	} {
		c := newChannel(t)
		h, who := slackDoor(t, c)
		if rec := send(h, signed(pressing(action, "3 r1", "U1", c.URL+"/actions/x"), signingSecret, time.Now())); rec.Code != 200 || rec.Body.Len() > 0 {
			t.Errorf("%s: %d %s", action, rec.Code, rec.Body)
		}
		if got := fmt.Sprint(who.told); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
		if len(c.said) != 1 || !c.said[0].ReplaceOriginal || len(c.said[0].Blocks.BlockSet) != 2 {
			t.Fatalf("%s: the channel got %+v", action, c.said)
		}
		for _, b := range c.said[0].Blocks.BlockSet {
			if b.BlockType() == slack.MBTAction {
				t.Errorf("%s: there are buttons for what is decided", action)
			}
		}
	}
}

// Shows 5: nothing changes and nobody is told without a genuine, fresh press.
func TestWhatIsNoGenuinePressChangesNothing(t *testing.T) {
	c := newChannel(t)
	good := pressing("approve", "3 r1", "U1", c.URL+"/actions/x")
	now := time.Now()
	without := func(header string) *http.Request {
		r := signed(good, signingSecret, now)
		r.Header.Del(header)
		return r
	}
	other := signed(good, signingSecret, now)
	other.Body = io.NopCloser(strings.NewReader(strings.Replace(good, "approve", "abort", 1)))
	for name, p := range map[string]struct {
		request *http.Request
		status  int
	}{
		"another secret":           {signed(good, "other", now), 401},
		"no signature":             {without("X-Slack-Signature"), 401},
		"no time":                  {without("X-Slack-Request-Timestamp"), 401},
		"six minutes old":          {signed(good, signingSecret, now.Add(-6*time.Minute)), 401},
		"six minutes ahead":        {signed(good, signingSecret, now.Add(6*time.Minute)), 401},
		"another body":             {other, 401},
		"over 1 MB":                {signed(good+"&x="+strings.Repeat("x", maxBody), signingSecret, now), 413},
		"no form":                  {signed("%zz", signingSecret, now), 400},
		"no payload":               {signed("a=b", signingSecret, now), 400},
		"a payload that is none":   {signed("payload=%5B1%5D", signingSecret, now), 400},
		"a link, which is genuine": {signed(pressing("open", "", "U1", c.URL), signingSecret, now), 200},
	} {
		h, who := slackDoor(t, c)
		if rec := send(h, p.request); rec.Code != p.status || len(who.told) > 0 || len(c.said) > 0 {
			t.Errorf("%s: %d, decided %v, told %v; want %d", name, rec.Code, who.told, c.said, p.status)
		}
	}
	for what, secret := range map[string]func() (string, error){"no secret": nil, "a secret that can't be read": func() (string, error) { return "", errors.New("gone") }} {
		h, who := slackDoor(t, c, func(cfg *Config) { cfg.Slack.Secret = secret })
		if rec := send(h, signed(good, "", now)); rec.Code != 403 || len(who.told) > 0 {
			t.Errorf("%s: %d %v", what, rec.Code, who.told)
		}
	}
}

func TestAReplayedPressIsRefused(t *testing.T) {
	c := newChannel(t)
	h, who := slackDoor(t, c)
	body, at := pressing("approve", "3 r1", "U1", c.URL+"/x"), time.Now()
	for i, want := range []int{200, 409, 409} {
		if rec := send(h, signed(body, signingSecret, at)); rec.Code != want {
			t.Errorf("time %d: %d, want %d", i+1, rec.Code, want)
		}
	}
	other := signed(body, signingSecret, at) // the same signature, written otherwise
	other.Header.Set("X-Slack-Signature", "v0="+strings.ToUpper(strings.TrimPrefix(other.Header.Get("X-Slack-Signature"), "v0=")))
	if rec := send(h, other); rec.Code != 409 {
		t.Errorf("in capitals: %d", rec.Code)
	}
	if len(who.told) != 1 || len(c.said) != 1 {
		t.Errorf("decided %v, told %v", who.told, c.said)
	}
}

func TestSignaturesAreForgottenWhenTheyAreOld(t *testing.T) {
	p := presses{seen: map[string]time.Time{}}
	now := time.Now()
	if !p.first("a", now) || p.first("a", now.Add(signatureTime)) || !p.first("b", now.Add(signatureTime+1)) || len(p.seen) != 1 {
		t.Errorf("remembers %v", p.seen)
	}
}

// These are genuine, so Slack gets its 200; the person hears why nothing came of it, and nobody else does.
func TestAPressThatDoesNotCountIsToldToWhoPressed(t *testing.T) {
	only := func(cfg *Config) { cfg.Slack.Approvers = []string{"U7"} }
	for name, p := range map[string]struct {
		value, user, want string
		change            func(*Config)
	}{
		"not an approver":          {"3 r1", "U1", "not among those", only},
		"a rollout that is over":   {"3 over", "U1", "nothing to decide", nil},
		"a button of another time": {"r1", "U1", "does not know this button", nil},
		"nobody":                   {"3 r1", "", "does not know this button", nil},
		"somebody was quicker":     {"3 r1", "U1", "Somebody has decided", func(cfg *Config) { cfg.Conductor = &fails{err: rollout.ErrChanged} }},
		"a full disk":              {"3 r1", "U1", "does not count", func(cfg *Config) { cfg.Conductor = &fails{err: errors.New("disk full")} }},
	} {
		c := newChannel(t)
		h, who := slackDoor(t, c, func(cfg *Config) {
			if p.change != nil {
				p.change(cfg)
			}
		})
		if rec := send(h, signed(pressing("approve", p.value, p.user, c.URL+"/x"), signingSecret, time.Now())); rec.Code != 200 || len(who.told) > 0 {
			t.Errorf("%s: %d %v", name, rec.Code, who.told)
		}
		if len(c.said) != 1 || !strings.Contains(c.said[0].Text, p.want) || c.said[0].ResponseType != slack.ResponseTypeEphemeral || c.said[0].ReplaceOriginal {
			t.Errorf("%s: told %+v", name, c.said)
		}
	}
	c := newChannel(t)
	h, who := slackDoor(t, c, only)
	if send(h, signed(pressing("approve", "3 r1", "U7", c.URL+"/x"), signingSecret, time.Now())); len(who.told) != 1 {
		t.Errorf("an approver is not heard: %v", c.said)
	}
}

// fails is a conductor that can record nothing.
type fails struct {
	conductor
	err error
}

func (f *fails) Decide(context.Context, string, int, rollout.Decision) (rollout.Rollout, error) {
	return rollout.Rollout{}, f.err
}

// The address for the answer comes with the press; only Slack's own is used, and no log has it.
func TestAnswersGoNowhereElse(t *testing.T) {
	c, elsewhere := newChannel(t), newChannel(t)
	moved := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/s3cret", http.StatusTemporaryRedirect))
	defer moved.Close()
	for _, address := range []string{
		elsewhere.URL + "/s3cret", "http://169.254.169.254/s3cret", "file:///etc/s3cret", "", "://s3cret", strings.Replace(c.URL, "http://", "http://s3cret@", 1), c.URL + ".s3cret.example/", moved.URL + "/s3cret",
	} {
		log := &bytes.Buffer{}
		h, who := slackDoor(t, c, func(cfg *Config) {
			cfg.Log = slog.New(slog.NewTextHandler(log, nil))
			if address == moved.URL+"/s3cret" { // even if Slack itself sent us on
				cfg.Slack.ResponseHost = moved.URL
			}
		})
		if rec := send(h, signed(pressing("approve", "3 r1", "U1", address), signingSecret, time.Now())); rec.Code != 200 || len(who.told) != 1 {
			t.Errorf("%s: %d %v", address, rec.Code, who.told)
		}
		if len(elsewhere.said)+len(c.said) > 0 || !strings.Contains(log.String(), "could not be told") || strings.Contains(log.String(), "s3cret") {
			t.Errorf("%s: told %v and %v, log %s", address, c.said, elsewhere.said, log)
		}
	}
}
