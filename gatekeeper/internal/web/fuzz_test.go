package web

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/flagger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// facts are what nobody may change who may not: decisions, the ledger, what people are told, gates.
type facts struct {
	entries, due int
	standings    []policy.Standing
}

func (h *house) facts() facts {
	h.t.Helper()
	entries, err := h.store.Entries(h.t.Context(), 0, 1<<20)
	if err != nil {
		h.t.Fatal(err)
	}
	due, err := h.store.Due(h.t.Context(), h.clock())
	if err != nil {
		h.t.Fatal(err)
	}
	f := facts{len(entries), len(due), h.keeper.Standings()}
	for i := range f.standings {
		f.standings[i].Silent = 0 // hooks may be asked
		if r := f.standings[i].Rollout; r != nil {
			r.Timeline = nil // and tell of events
		}
	}
	return f
}

// dice make requests of which most are wrong in some way.
type dice struct {
	*rand.Rand
	id, cookie string
	routes     []route
}

func (d dice) of(choices ...string) string { return choices[d.IntN(len(choices))] }

// junk is text of any bytes that can stand in a header or a path.
func (d dice) junk(most int) string {
	text := make([]byte, d.IntN(most+1))
	for i := range text {
		text[i] = byte('!' + d.IntN('~'-'!'))
	}
	return string(text)
}

func (d dice) path(r route) string {
	id := d.of(d.id, d.id, d.id, d.id, d.id, d.id, "nobody", "..", "%2e%2e", "..%2f..%2fetc", d.id+"%00", d.id+"/", "%ff", "'%20OR%201=1--", strings.Repeat("x", d.IntN(3000)))
	path := strings.ReplaceAll(r.path, ":id", id)
	switch d.IntN(14) {
	case 0:
		path = "/" + d.junk(40)
	case 1:
		path = "/" + path
	case 2:
		path += "/"
	case 3:
		path = strings.ToUpper(path)
	case 4:
		path = "/assets/.." + path
	case 5:
		path = strings.ReplaceAll(path, "/", "%2f")
	case 6, 7:
		path = "/hooks/v1/" + d.of("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "rollback", "post-rollout", "event", "x")
	}
	if d.IntN(2) == 0 {
		name := d.of("canary", "limit", "offset", "since", "before", "result", "q", "deploy-id", "deployId", "wait", "seen", "palette", "next", "version", d.junk(8))
		path += "?" + name + "=" + d.of("demo/podinfo", "v2", "-1", "1", "50s", "99999999999999999999", "2026-01-01", "%ff%00", "dark", "open", "%27%3b", d.junk(50))
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' {
			return '+'
		}
		return r
	}, path)
}

func (d dice) body() string {
	if d.IntN(50) == 0 { // beyond a door's bound
		return `{"name":"` + strings.Repeat("z", d.IntN(2)<<20+70<<10)
	}
	return d.of("", "{}", `{"why":"ok"}`, `{"by":"ann","why":"x","version":0}`, `{"version":-1}`, `{"version":9223372036854775808}`, `{"why":"\u0000\ud800"}`, "[]", "null", `"x"`, "{", "\x00\xff",
		strings.Repeat("[", 5000), `{"why":"`+strings.Repeat("y", d.IntN(2000))+`"}`,
		`{"name":"podinfo","namespace":"demo","phase":"Failed","checksum":"x","metadata":{"eventMessage":"hello"}}`,
		`{"name":"podinfo","namespace":"demo","phase":{"a":1}}`, `{"name":"`+strings.Repeat("n", 3000)+`","namespace":"demo"}`,
		`{"alerts":[{"status":"firing","labels":{"alertname":"a"},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"f`+d.of("1", "2")+`"}]}`,
		`{"alerts":[{"status":"resolved","labels":{"alertname":"a"},"fingerprint":"f1"}]}`, `{"alerts":[{"startsAt":"never"}]}`,
		"seal=x&why=y&version=0", "token=operator-secret", "token=guess", "payload=%7B%7D", d.junk(300))
}

// request is one as it goes over the wire, and whether its sender may change something.
func (d dice) request() (raw string, may bool) {
	r := d.routes[d.IntN(len(d.routes))]
	method := d.of(r.method, r.method, r.method, "POST", "POST", "GET", d.of("PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"))
	path, body := d.path(r), d.body()
	head := &strings.Builder{}
	fmt.Fprintf(head, "%s %s HTTP/1.1\r\nHost: gatekeeper\r\nConnection: close\r\nContent-Length: %d\r\n", method, path, len(body))
	switch d.IntN(12) {
	case 0:
		head.WriteString("Authorization: Bearer operator-secret\r\n")
		may = true
	case 1:
		head.WriteString("Authorization: Bearer alerts-secret\r\n")
		may = true
	case 2:
		head.WriteString("Authorization: Bearer ci-secret\r\n")
		may = true
	case 3:
		head.WriteString("Authorization: Bearer viewer-secret\r\n")
	case 4:
		head.WriteString("Authorization: " + d.of("Bearer ", "Basic ", "") + d.junk(60) + "\r\n")
	case 5:
		head.WriteString("Authorization: Bearer ey" + d.junk(30) + "." + d.junk(30) + "." + d.junk(30) + "\r\n")
	case 6: // a browser that is signed in, on another site's page
		head.WriteString("Cookie: " + sessionCookie + "=" + d.cookie + "\r\nSec-Fetch-Site: " + d.of("cross-site", "same-site") + "\r\n")
	case 7:
		head.WriteString("Cookie: " + sessionCookie + "=" + d.cookie + "\r\nOrigin: https://evil.example\r\n")
	}
	if d.IntN(3) == 0 {
		name := d.of("Content-Type", "Last-Event-ID", "X-Forwarded-For", "X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Original-URL", "Accept", "Range", "X-Slack-Signature", "Expect", "If-None-Match")
		value := d.of("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "127.0.0.1", "https", "POST", "bytes=0-", d.junk(2000))
		head.WriteString(name + ": " + value + "\r\n")
	}
	return head.String() + "\r\n" + body, may
}

// send writes a request as it is and reads the answer's status and body; status 0: the server hung up without one.
func exchange(t *testing.T, server *httptest.Server, raw string) (status int, body string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatalf("the door is shut: %v", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, raw) // the server may have answered before it was sent whole
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(text)
}

// 10,000 requests to both doors, before a real keeper and ledger: no answer is 5xx, who may not changes nothing, a hook is
// never told to roll back, and afterwards all is as it should be.
func TestManyWrongRequests(t *testing.T) {
	stopped := make(chan struct{}) // so that nothing stays open
	close(stopped)
	h := newHouse(t, func(c *Config) { c.Stopping = stopped })
	id := h.release("v2")
	h.weight(10)
	h.passes(2)
	people := httptest.NewServer(h.door)
	t.Cleanup(people.Close)
	hooks := httptest.NewServer(flagger.New(h.keeper, func() error { return nil }, nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)))
	t.Cleanup(hooks.Close)

	d := dice{Rand: rand.New(rand.NewPCG(6, 5)), id: id, cookie: sessionOf(t, h.door).Value, routes: (door{cfg: h.config(Access{})}).routes()}
	before, statuses := h.facts(), map[int]int{}
	for n := range 10_000 {
		raw, may := d.request()
		server := people
		if strings.Contains(raw[:40], " /hooks/") || d.IntN(20) == 0 {
			server, may = hooks, false // nobody decides there
		}
		status, body := exchange(t, server, raw)
		statuses[status]++
		if status >= 500 {
			t.Errorf("request %d: %d %.200s\n%.300q", n, status, body, raw)
		}
		if server == hooks && status == 200 && strings.Contains(raw, " /hooks/v1/rollback") {
			t.Errorf("request %d: a rollout is to be rolled back: %.200s\n%.300q", n, body, raw)
		}
		after := h.facts()
		if !may && !reflect.DeepEqual(before, after) {
			t.Fatalf("request %d changed something: %d %.200s\n%.400q\nbefore %+v\nafter %+v", n, status, body, raw, before, after)
		}
		before = after
	}
	if before.entries == 0 {
		t.Error("nobody changed anything, also not who may")
	}
	t.Logf("statuses %v, %d entries in the ledger", statuses, before.entries)
	for _, status := range []int{200, 400, 401, 403, 404, 413} {
		if statuses[status] == 0 {
			t.Errorf("no request was answered with %d: they are not wrong in all ways", status)
		}
	}
	h.passes(1)
	standing, err := h.keeper.Why(podinfo)
	if err != nil || standing.Rollout == nil || standing.Rollout.ID != id {
		t.Errorf("in the end: %+v %v", standing, err)
	}
	if slices.ContainsFunc(standing.Rollout.Decisions, func(d rollout.Decision) bool { return !slices.Contains([]string{"ann", "build"}, d.By) }) {
		t.Errorf("somebody else decided: %+v", standing.Rollout.Decisions)
	}
}

// FuzzPeoplesDoor feeds the door's own readers what nobody would write.
func FuzzPeoplesDoor(f *testing.F) {
	f.Add("POST", "rollouts/a/approve", "version=1", `{"why":"ok"}`)
	f.Add("POST", "alerts", "", `{"alerts":[{"status":"firing","labels":{"a":"b"},"fingerprint":"f"}]}`)
	f.Add("GET", "rollouts", "since=2026-01-01&limit=5", "")
	f.Add("GET", "verdict", "deploy-id=x&wait=0s&seen=", "")
	f.Add("GET", "why", "canary=demo/podinfo", "")
	stopped := make(chan struct{})
	close(stopped)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		_, _, cfg := newDoor(t, nil)
		cfg.Stopping = stopped
		h := New(cfg)
		for _, token := range []string{"operator-secret", "alerts-secret", "guess"} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", strings.NewReader(body))
			req.Method, req.URL.Path, req.URL.RawQuery = method, "/api/v1/"+path, query
			req.Header.Set("Authorization", "Bearer "+token)
			rec := httptest.NewRecorder()
			if h.ServeHTTP(rec, req); rec.Code >= 500 {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
		}
	})
}

// FuzzTokens: what is read as tokens has a role, a name and a secret that can not be guessed, and no error tells one.
func FuzzTokens(f *testing.F) {
	f.Add([]byte("operator ann 0123456789abcdef\n# x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, _ := ParseTokens(text)
		for _, one := range tokens {
			if one.Name == "" || len(one.Secret) < MinSecret || one.Role == None {
				t.Errorf("got %+v", one)
			}
		}
	})
}
