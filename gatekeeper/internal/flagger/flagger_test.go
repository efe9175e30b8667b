package flagger

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// answerer says what the test wants and remembers what it was told.
type answerer struct {
	yes  bool
	err  error
	told string
}

func (a *answerer) Ask(hook rollout.Hook, key rollout.Key) (bool, string, error) {
	a.told = "asked " + string(hook) + " " + key.String()
	return a.yes, "the reason", a.err
}

func (a *answerer) Heard(_ context.Context, key rollout.Key, text string) error {
	a.told = "heard " + key.String() + " " + text
	return a.err
}

func (a *answerer) Finished(_ context.Context, key rollout.Key, phase rollout.Phase) error {
	a.told = "finished " + key.String() + " " + string(phase)
	return a.err
}

// payload is a request as Flagger 1.44 sends it.
const payload = `{"name":"podinfo","namespace":"demo","phase":"Progressing","checksum":"85d557f47b","metadata":{"policy":"default","eventMessage":"Advance podinfo.demo canary weight 10"}}`

func newDoor(a *answerer, healthy error) http.Handler {
	return New(a, func() error { return healthy }, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

func call(h http.Handler, method, path, body string) (status int, text string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body)))
	return rec.Code, rec.Body.String()
}

// Flagger reads 200 to 202 as yes. For the rollback hook yes means "roll back now": it must come from a decision alone.
func TestStatusOfEveryAnswer(t *testing.T) {
	unknown := errors.Join(rollout.ErrUnknownCanary)
	for _, c := range []struct {
		hook                   rollout.Hook
		yes, no, unknownCanary int
	}{
		{rollout.ConfirmRollout, 200, 403, 403},
		{rollout.PreRollout, 200, 409, 409},
		{rollout.RolloutCheck, 200, 409, 200},
		{rollout.ConfirmTrafficIncrease, 200, 403, 403},
		{rollout.ConfirmPromotion, 200, 403, 403},
		{rollout.Rollback, 200, 403, 403},
	} {
		t.Run(string(c.hook), func(t *testing.T) {
			for _, try := range []struct {
				a    answerer
				want int
			}{{answerer{yes: true}, c.yes}, {answerer{}, c.no}, {answerer{yes: true, err: unknown}, c.unknownCanary}} {
				status, text := call(newDoor(&try.a, nil), http.MethodPost, "/hooks/v1/"+string(c.hook), payload)
				if status != try.want || text == "" {
					t.Errorf("status %d %q, want %d with a reason", status, text, try.want)
				}
				if try.a.told != "asked "+string(c.hook)+" demo/podinfo" {
					t.Errorf("the door %s", try.a.told)
				}
			}
		})
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		hook rollout.Hook
		told string
	}{
		{rollout.EventHook, "heard demo/podinfo Advance podinfo.demo canary weight 10"},
		{rollout.PostRollout, "finished demo/podinfo Progressing"},
	} {
		a := &answerer{}
		if status, _ := call(newDoor(a, nil), http.MethodPost, "/hooks/v1/"+string(c.hook), payload); status != 200 || a.told != c.told {
			t.Errorf("%s: status %d, %s", c.hook, status, a.told)
		}
		a.err = errors.New("disk full at /secret/path")
		status, text := call(newDoor(a, nil), http.MethodPost, "/hooks/v1/"+string(c.hook), payload)
		if status != 500 || strings.Contains(text, "secret") {
			t.Errorf("%s not recorded: status %d %q, want 500, so that Flagger sends it again, without our inside", c.hook, status, text)
		}
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	a := &answerer{}
	call(newDoor(a, nil), http.MethodPost, "/hooks/v1/event", `{"name":"a","namespace":"b","metadata":{"eventMessage":"`+strings.Repeat("é", maxText)+`"}}`)
	if want := "heard b/a " + strings.Repeat("é", maxText/2) + "…"; a.told != want {
		t.Errorf("%d bytes: %q", len(a.told), a.told)
	}
}

// A path that is not a hook must never say yes: as a rollback hook's URL it would roll every release back.
func TestNothingElseSaysYes(t *testing.T) {
	h := newDoor(&answerer{yes: true}, nil)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/", payload, 404},
		{"POST", "/hooks/v1/", payload, 404},
		{"POST", "/hooks/v1/rollback/", payload, 404},
		{"POST", "/hooks/v2/rollback", payload, 404},
		{"POST", "/hooks/v1/Rollback", payload, 404},
		{"GET", "/hooks/v1/rollback", "", 404},
		{"POST", "/healthz", payload, 404},
		{"POST", "/hooks/v1/rollback", "", 400},
		{"POST", "/hooks/v1/rollback", "[]", 400},
		{"POST", "/hooks/v1/rollback", `{"name":"podinfo"}`, 400},
		{"POST", "/hooks/v1/rollback", `{"name":"` + strings.Repeat("x", maxBody) + `","namespace":"demo"}`, 413},
	} {
		if status, _ := call(h, c.method, c.path, c.body); status != c.want {
			t.Errorf("%s %s %.20s: status %d, want %d", c.method, c.path, c.body, status, c.want)
		}
	}
}

func TestReadiness(t *testing.T) {
	if status, _ := call(newDoor(&answerer{}, nil), http.MethodGet, "/readyz", ""); status != 200 {
		t.Errorf("healthy: %d", status)
	}
	if status, text := call(newDoor(&answerer{}, io.ErrUnexpectedEOF), http.MethodGet, "/readyz", ""); status != 503 || !strings.Contains(text, "unexpected EOF") {
		t.Errorf("not healthy: %d %q", status, text)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(payload)
	f.Add(`{"name":"a","namespace":"b","metadata":null,"new":1}`)
	f.Fuzz(func(t *testing.T, body string) {
		p, err := Decode(strings.NewReader(body))
		if err == nil && (p.Name == "" || p.Namespace == "") {
			t.Errorf("%q was taken without the Canary's name", body)
		}
	})
}

// Where hooks need a password nobody is asked, and nothing noted, without one; while it is replaced both hold.
func TestHooksThatNeedAPassword(t *testing.T) {
	holds := map[string]bool{"old": true, "new": true}
	a := &answerer{yes: true}
	log := &bytes.Buffer{}
	door := New(a, func() error { return nil }, func(password string) bool { return holds[password] }, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(log, nil)))
	ask := func(hook rollout.Hook, password string) int {
		a.told = ""
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hooks/v1/"+string(hook), strings.NewReader(payload))
		if password != "" {
			req.SetBasicAuth("flagger", password)
		}
		rec := httptest.NewRecorder()
		door.ServeHTTP(rec, req)
		return rec.Code
	}
	for _, hook := range rollout.Hooks() {
		for password, want := range map[string]int{"": 401, "guess": 401, "old": 200, "new": 200} {
			if got := ask(hook, password); got != want || (a.told != "") != (want == 200) {
				t.Errorf("%s with the password %q: status %d, the door %q", hook, password, got, a.told)
			}
		}
	}
	delete(holds, "old")
	if got := ask(rollout.Rollback, "old"); got != 401 {
		t.Errorf("a password that was taken away: status %d", got)
	}
	for range 3 * refusalBurst {
		ask(rollout.Rollback, "guess")
	}
	if got := strings.Count(log.String(), "refused"); got < refusalBurst || got > 2*refusalBurst || strings.Contains(log.String(), "guess") {
		t.Errorf("%d lines of over %d refusals, want a few, without a password:\n%s", got, 3*refusalBurst, log)
	}
	if status, _ := call(door, http.MethodGet, "/readyz", ""); status != 200 {
		t.Errorf("a probe: status %d", status)
	}
}
