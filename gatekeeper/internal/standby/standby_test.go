package standby

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// office is who leads, as a test says.
type office struct {
	holds  atomic.Bool
	leader atomic.Value // address
}

func (o *office) at() string { s, _ := o.leader.Load().(string); return s }

// patience of the doors under test.
const patience = 100 * time.Millisecond

func open(t *testing.T, o *office, hooks bool) (*Door, *httptest.Server) {
	t.Helper()
	cfg := Config{Holds: o.holds.Load, Leader: o.at, AnswerTime: time.Second, Patience: patience, Log: slog.New(slog.DiscardHandler)}
	ready := func() error { return nil }
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "own metrics") })
	if hooks {
		cfg.Own, cfg.OwnPath, cfg.Refuse = Probes(ready, nil), HookPath, RefuseHook
	} else {
		cfg.Own, cfg.OwnPath, cfg.Refuse = Probes(ready, metrics), PeoplePath, RefusePeople
	}
	d := New(cfg)
	server := httptest.NewUnstartedServer(d)
	if !hooks {
		server.Config.WriteTimeout = 2 * time.Second
	}
	server.Start()
	t.Cleanup(server.Close)
	return d, server
}

func ask(t *testing.T, method, url, body string, header ...string) (status int, text string, got http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all), res.Header
}

// A hook where nobody leads must open no gate, roll nothing back and keep its reason.
func TestNobodyLeads(t *testing.T) {
	for name, leader := range map[string]string{"no leader": "", "a leader that is gone": "127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			o := &office{}
			o.leader.Store(leader)
			_, server := open(t, o, true)
			for hook, want := range map[rollout.Hook]int{
				rollout.ConfirmRollout: 403, rollout.PreRollout: 409, rollout.RolloutCheck: 200, rollout.ConfirmTrafficIncrease: 403,
				rollout.ConfirmPromotion: 403, rollout.PostRollout: 409, rollout.Rollback: 403, rollout.EventHook: 409, "none": 404,
			} {
				status, text, _ := ask(t, http.MethodPost, server.URL+"/hooks/v1/"+string(hook), "{}")
				if status != want || status != 404 && !strings.Contains(text, "no replica") {
					t.Errorf("%s is answered %d %q, want %d and why", hook, status, text, want)
				}
			}
			_, people := open(t, o, false)
			if status, _, header := ask(t, http.MethodGet, people.URL+"/api/v1/rollouts", ""); status != 503 || header.Get("Retry-After") == "" {
				t.Errorf("people get %d with Retry-After %q, want 503 and a time", status, header.Get("Retry-After"))
			}
			for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok, a standby\n", "/metrics": "own metrics"} {
				if status, text, _ := ask(t, http.MethodGet, people.URL+path, ""); status != 200 || text != want {
					t.Errorf("%s is answered %d %q, want %q", path, status, text, want)
				}
			}
			if status, _, _ := ask(t, http.MethodGet, server.URL+"/anything", ""); status != 404 {
				t.Errorf("a path that is none is answered %d, want 404", status)
			}
		})
	}
}

func TestAStandbyPassesOn(t *testing.T) {
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Why", "because")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, r.Method, " ", r.URL.RequestURI(), " ", r.Host, " ", string(body), " for ", r.Header.Get("X-Forwarded-For"), " by ", r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Authorization"))
	}))
	t.Cleanup(leader.Close)
	o := &office{}
	o.leader.Store(strings.TrimPrefix(leader.URL, "http://"))
	_, server := open(t, o, true)
	status, text, header := ask(t, http.MethodPost, server.URL+"/hooks/v1/rollback?a=b", "body", "X-Forwarded-For", "10.1.1.1", "X-Forwarded-Proto", "https", "Authorization", "Basic x")
	want := "POST /hooks/v1/rollback?a=b " + strings.TrimPrefix(server.URL, "http://") + " body for 10.1.1.1, 127.0.0.1 by httpsBasic x"
	if status != 403 || text != want || header.Get("Why") != "because" {
		t.Errorf("answered %d %q %q, want the leader's 403 %q because", status, text, header.Get("Why"), want)
	}
}

// Two replicas that each take the other for the leader must not send a request round.
func TestARequestIsPassedOnOnce(t *testing.T) {
	a, b := &office{}, &office{}
	_, serverA := open(t, a, true)
	_, serverB := open(t, b, true)
	a.leader.Store(strings.TrimPrefix(serverB.URL, "http://"))
	b.leader.Store(strings.TrimPrefix(serverA.URL, "http://"))
	if status, text, _ := ask(t, http.MethodPost, serverA.URL+"/hooks/v1/rollback", "{}"); status != 403 || !strings.Contains(text, "no replica") {
		t.Errorf("answered %d %q, want a refusal", status, text)
	}
}

func TestATermBeginsAndEnds(t *testing.T) {
	o := &office{}
	d, server := open(t, o, true)
	url := server.URL + "/hooks/v1/rollback"
	o.holds.Store(true)
	leave := d.Lead(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "mine") }))
	if status, text, _ := ask(t, http.MethodPost, url, ""); status != 200 || text != "mine" {
		t.Errorf("in its term the replica answers %d %q", status, text)
	}
	o.holds.Store(false) // the Lease is over, though nobody has said so yet
	if status, text, _ := ask(t, http.MethodPost, url, ""); status != 403 {
		t.Errorf("after the Lease's end the answer is %d %q, want 403", status, text)
	}
	o.holds.Store(true)
	leave()
	if status, text, _ := ask(t, http.MethodPost, url, ""); status != 403 {
		t.Errorf("after the term the answer is %d %q, want 403", status, text)
	}
}

func TestLeavingWaitsForWhatIsUnderWay(t *testing.T) {
	o := &office{}
	o.holds.Store(true)
	d, server := open(t, o, true)
	begun, finish := make(chan context.Context), make(chan struct{})
	leave := d.Lead(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- r.Context()
		<-finish
	}))
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		ask(t, http.MethodPost, server.URL+"/hooks/v1/event", "")
	}()
	ctx := <-begun
	left := make(chan struct{})
	go func() { leave(); close(left) }()
	<-ctx.Done() // it was asked to end
	select {
	case <-left:
		t.Error("left while a request was under way")
	default:
	}
	close(finish)
	<-left
	<-answered
}

// A request that comes before the term does waits for it.
func TestARequestWaitsForATerm(t *testing.T) {
	o := &office{}
	d, server := open(t, o, true)
	d.cfg.Patience = time.Minute
	looked := make(chan struct{}, 1000)
	d.cfg.Leader = func() string { looked <- struct{}{}; return "" }
	answered := make(chan string, 1)
	go func() {
		_, text, _ := ask(t, http.MethodPost, server.URL+"/hooks/v1/rollback", "")
		answered <- text
	}()
	<-looked // it waits
	o.holds.Store(true)
	d.Lead(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "mine") }))
	if text := <-answered; text != "mine" {
		t.Errorf("who waits for a term gets %q", text)
	}
}

// A stream of events passes as it comes, and longer than answers may take.
func TestEventsPass(t *testing.T) {
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 7 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(500 * time.Millisecond) // three seconds in all, the door's limit is two
		}
	}))
	t.Cleanup(leader.Close)
	o := &office{}
	o.leader.Store(strings.TrimPrefix(leader.URL, "http://"))
	_, server := open(t, o, false)
	if status, text, _ := ask(t, http.MethodGet, server.URL+"/api/v1/events", ""); status != 200 || !strings.Contains(text, "data: 6") {
		t.Errorf("answered %d %q, want all seven events", status, text)
	}
}
