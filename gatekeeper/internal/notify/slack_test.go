package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// examine reads a payload by Slack's client library and checks the limits of docs.slack.dev/reference/block-kit/blocks.
func examine(t *testing.T, payload []byte) slack.Msg {
	t.Helper()
	var m slack.Msg
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatalf("Slack's library does not read it: %v\n%s", err, payload)
	}
	within := func(what, text string, least, most int) {
		if n := utf8.RuneCountInString(text); n < least || n > most {
			t.Errorf("%s has %d characters, want %d to %d", what, n, least, most)
		}
	}
	within("the text", m.Text, 1, 4000)
	if n := len(m.Blocks.BlockSet); n < 3 || n > 50 {
		t.Errorf("%d blocks", n)
	}
	for _, b := range m.Blocks.BlockSet {
		switch b := b.(type) {
		case *slack.HeaderBlock:
			within("a header", b.Text.Text, 1, 150)
		case *slack.SectionBlock:
			if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > 10 {
				t.Errorf("a section with %d fields", len(b.Fields))
			}
			if b.Text != nil {
				within("a section", b.Text.Text, 1, 3000)
			}
			for _, f := range b.Fields {
				within("a field", f.Text, 1, 2000)
			}
		case *slack.ContextBlock:
			if n := len(b.ContextElements.Elements); n < 1 || n > 10 {
				t.Errorf("a context of %d elements", n)
			}
		case *slack.ActionBlock:
			for _, e := range b.Elements.ElementSet {
				button := e.(*slack.ButtonBlockElement)
				within("a button", button.Text.Text, 1, 75)
				within("a button's value", button.Value, 0, 2000)
				within("a button's address", button.URL, 0, 3000)
				if c := button.Confirm; c != nil {
					within("a question", c.Title.Text, 1, 100)
					within("its text", c.Text.Text, 1, 300)
				}
			}
		default:
			t.Errorf("a block that Slack's library does not know: %T", b)
		}
	}
	return m
}

func TestSlackTakesOurBlocks(t *testing.T) {
	for _, h := range rollout.Happenings() {
		for _, m := range []rollout.Message{news(h), hostile(h)} {
			for _, s := range []sinks.Sink{{Type: sinks.SlackApp, URL: sinks.Secret{File: "x"}}, {Type: sinks.SlackApp, Token: sinks.Secret{File: "x"}, Channel: "C1"}} {
				payload, err := teller(t, s, options()).Payload(m)
				if err != nil {
					t.Fatal(err)
				}
				got := examine(t, payload)
				for _, bad := range []string{"<!channel>", "<https://evil", "|click>"} {
					if strings.Contains(got.Text, bad) || strings.Contains(string(payload), `"mrkdwn","text":"`+bad) {
						t.Errorf("%s: %q is not escaped", h, bad)
					}
				}
			}
		}
	}
}

func TestEscapeHasNoHalves(t *testing.T) {
	for limit := 2; limit < 12; limit++ {
		got := escape("a&b<c>d", limit)
		if utf8.RuneCountInString(got) > limit || strings.Count(got, "&") != strings.Count(got, ";") {
			t.Errorf("%d: %q", limit, got)
		}
	}
	if got := escape("a&b<c>d", 100); got != "a&amp;b&lt;c&gt;d" {
		t.Errorf("got %q", got)
	}
}

// buttons of a payload: action ids and values.
func buttons(t *testing.T, m slack.Msg) (all []string) {
	t.Helper()
	for _, b := range m.Blocks.BlockSet {
		if actions, ok := b.(*slack.ActionBlock); ok {
			for _, e := range actions.Elements.ElementSet {
				button := e.(*slack.ButtonBlockElement)
				all = append(all, strings.TrimSpace(button.ActionID+" "+button.Value))
			}
		}
	}
	return all
}

func TestButtonsAreThereWhileTheyAreOfUse(t *testing.T) {
	id := news(promoted).News.Rollout
	for name, c := range map[string]struct {
		event  rollout.Happening
		press  bool
		public string
		want   []string
	}{
		"a rollout that waits":        {rollout.IsWaiting, true, "", []string{"approve 2 " + id, "reject 2 " + id}},
		"with a page":                 {rollout.IsWaiting, true, "https://gate.example", []string{"approve 2 " + id, "reject 2 " + id, "open"}},
		"without a signing secret":    {rollout.IsWaiting, false, "", nil},
		"when there is nothing to do": {promoted, true, "", nil},
	} {
		o := options()
		o.Press, o.Public = c.press, c.public
		payload, err := slackHook{sinks.Sink{}, o}.Payload(news(c.event))
		if err != nil {
			t.Fatal(err)
		}
		if got := buttons(t, examine(t, payload)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// workspace is a Slack that knows one token and keeps what the bot did.
type workspace struct {
	*httptest.Server
	mu       sync.Mutex
	calls    []string            // method and what matters of it
	fails    map[string][]string // by method: answers before it works; "429" is a status
	messages int
}

func newWorkspace(t *testing.T) *workspace {
	t.Helper()
	w := &workspace{fails: map[string][]string{}}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *workspace) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" {
		token = r.FormValue("token")
	}
	out.Header().Set("Content-Type", "application/json")
	if queue := w.fails[method]; len(queue) > 0 {
		w.fails[method] = queue[1:]
		w.calls = append(w.calls, method+" fails")
		if queue[0] == "429" {
			out.Header().Set("Retry-After", "30")
			out.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprintf(out, `{"ok":false,"error":%q}`, queue[0])
		return
	}
	if token != "xoxb-good" {
		fmt.Fprint(out, `{"ok":false,"error":"invalid_auth"}`)
		return
	}
	call := method + " " + r.FormValue("channel") + " " + r.FormValue("ts") + r.FormValue("thread_ts")
	if r.FormValue("reply_broadcast") == "true" {
		call += " to all"
	}
	w.calls = append(w.calls, strings.TrimSpace(call))
	w.messages++
	ts := r.FormValue("ts")
	if ts == "" {
		ts = fmt.Sprintf("17.%d", w.messages)
	}
	fmt.Fprintf(out, `{"ok":true,"channel":"C9","ts":%q}`, ts)
}

// took are the calls since the last look.
func (w *workspace) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func bot(t *testing.T, w *workspace, token string) Teller {
	t.Helper()
	o := options()
	o.Slack.API = w.URL + "/api/"
	return teller(t, sinks.Sink{Type: sinks.SlackApp, Token: sinks.Secret{File: file(t, token)}, Channel: "C1"}, o)
}

// One message for the rollout; what asks for people is a reply that the channel sees, unless it only lasts.
func TestABotKeepsOneMessagePerRollout(t *testing.T) {
	w := newWorkspace(t)
	b := bot(t, w, "xoxb-good")
	thread := ""
	for _, c := range []struct {
		event rollout.Happening
		quiet bool
		want  []string
	}{
		{rollout.HasStarted, false, []string{"chat.postMessage C1"}},
		{rollout.IsWaiting, false, []string{"chat.update C9 17.1", "chat.postMessage C9 17.1 to all"}},
		{rollout.IsWaiting, true, []string{"chat.update C9 17.1"}},
		{promoted, false, []string{"chat.update C9 17.1"}},
		{rolledBack, false, []string{"chat.update C9 17.1", "chat.postMessage C9 17.1 to all"}},
	} {
		m := news(c.event)
		m.Thread, m.News.Quiet = thread, c.quiet
		a := b.Tell(t.Context(), m)
		if a.Err != nil {
			t.Fatalf("%s: %v", c.event, a.Err)
		}
		thread = a.Thread
		if got := w.took(); !slices.Equal(got, c.want) || thread != "C9/17.1" {
			t.Errorf("%s (quiet %v): %v in thread %s, want %v", c.event, c.quiet, got, thread, c.want)
		}
	}
}

func TestAMessageThatSomebodyDeletedIsPostedAnew(t *testing.T) {
	w := newWorkspace(t)
	w.fails["chat.update"] = []string{"message_not_found"}
	m := news(rolledBack)
	m.Thread = "C9/1.1"
	if a := bot(t, w, "xoxb-good").Tell(t.Context(), m); a.Err != nil || a.Thread != "C9/17.1" {
		t.Errorf("%+v", a)
	}
	if got, want := w.took(), []string{"chat.update fails", "chat.postMessage C1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSlacksErrors(t *testing.T) {
	for what, c := range map[string]struct {
		retry bool
		after time.Duration
	}{
		"429":               {true, 30 * time.Second},
		"internal_error":    {true, 0},
		"not_in_channel":    {true, 0}, // somebody may invite it
		"token_expired":     {true, 0},
		"invalid_blocks":    {false, 0},
		"msg_too_long":      {false, 0},
		"restricted_action": {false, 0},
	} {
		w := newWorkspace(t)
		w.fails["chat.postMessage"] = []string{what}
		a := bot(t, w, "xoxb-good").Tell(t.Context(), news(promoted))
		if a.Err == nil || a.Retry != c.retry || a.After != c.after || a.Thread != "" {
			t.Errorf("%s: %+v", what, a)
		}
	}
	w := newWorkspace(t)
	if a := bot(t, w, "xoxb-wrong").Tell(t.Context(), news(promoted)); a.Err == nil || !a.Retry || strings.Contains(a.Err.Error(), "xoxb") {
		t.Errorf("a wrong token: %+v", a)
	}
	w.Close()
	if a := bot(t, w, "xoxb-good").Tell(t.Context(), news(promoted)); a.Err == nil || !a.Retry {
		t.Errorf("nobody there: %+v", a)
	}
}

// The reply fails after the update: the next attempt makes both again, and the update changes nothing by that.
func TestAReplyThatFailsIsTriedAgain(t *testing.T) {
	w := newWorkspace(t)
	w.fails["chat.postMessage"] = []string{"internal_error"}
	m := news(rolledBack)
	m.Thread = "C9/1.1"
	b := bot(t, w, "xoxb-good")
	if a := b.Tell(t.Context(), m); a.Err == nil || !a.Retry {
		t.Errorf("%+v", a)
	}
	if a := b.Tell(t.Context(), m); a.Err != nil || a.Thread != m.Thread {
		t.Errorf("%+v", a)
	}
	if got := w.took(); len(got) != 4 {
		t.Errorf("%v", got)
	}
}
