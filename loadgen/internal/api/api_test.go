package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

// house is the API on a real port, and a target that counts what it sees.
type house struct {
	t       *testing.T
	attacks *Attacks
	api     *httptest.Server
	target  *httptest.Server
	seen    atomic.Int64
	hits    chan string // the Host of every request to the target
}

// newHouse serves what handler does, or 200 for nil, as the target.
func newHouse(t *testing.T, handler http.HandlerFunc) *house { return newHouseWith(t, handler, nil) }

// newHouseWith lets change what the operator allows.
func newHouseWith(t *testing.T, handler http.HandlerFunc, change func(*Config)) *house {
	t.Helper()
	h := &house{t: t, hits: make(chan string, 10_000)}
	h.target = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.seen.Add(1)
		h.hits <- r.Host
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(h.target.Close)
	cfg := Config{AllowedHosts: []string{"127.0.0.1"}, MaxRate: 1000, MaxDuration: time.Hour, MaxInFlight: 10_000, MaxAttacks: 100, Timeout: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	attacks, err := New(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.attacks = attacks
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = attacks.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	h.api = httptest.NewServer(attacks.Handler())
	t.Cleanup(h.api.Close)
	return h
}

// do sends a request to the API and returns status, content type and body.
func (h *house) do(method, path, body string) (int, string, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.api.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(answer)
}

// seenState is the part of a State that tests read.
type seenState struct {
	Name, Canary, State string
	Shape, SeenError    string
	StartedAt           time.Time
	EndedAt             *time.Time
	RateNow             float64
	Due, Sent           uint64
	Unfinished          uint64
	Seen                *uint64
	Requests            uint64
	Codes               map[string]uint64
	Success             float64
	Latency             struct{ P50, P95, P99, Max string }
}

// state sends a request and wants this status and a State.
func (h *house) state(method, path, body string, want int) seenState {
	h.t.Helper()
	status, _, answer := h.do(method, path, body)
	if status != want {
		h.t.Fatalf("%s %s answered %d %s, want %d", method, path, status, answer, want)
	}
	var s seenState
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		h.t.Fatalf("%s: %v", answer, err)
	}
	return s
}

func (h *house) request(name string, rate float64, duration string) string {
	return fmt.Sprintf(`{"name":%q,"targets":[{"url":%q,"header":{"Host":["podinfo.example"]}}],"rate":%v,"duration":%q}`,
		name, h.target.URL, rate, duration)
}

func (h *house) hookBody(phase string, metadata map[string]string) string {
	body, err := json.Marshal(map[string]any{"name": "podinfo", "namespace": "demo", "phase": phase, "checksum": "85d557f47b", "metadata": metadata})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(body)
}

// ended waits for the newest attack of that name to end.
func (h *house) ended(name string) seenState {
	h.t.Helper()
	h.attacks.mu.Lock()
	atk := h.attacks.find(name)
	h.attacks.mu.Unlock()
	select {
	case <-atk.done:
	case <-time.After(10 * time.Second):
		h.t.Fatal("the attack did not end")
	}
	return h.state("GET", "/api/v1/attacks/"+name, "", 200)
}

func TestAnAttackRunsToItsEndAndCountsEveryRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	started := h.state("POST", "/api/v1/attacks", h.request("users", 100, "500ms"), 201)
	if started.State != "running" || started.EndedAt != nil || started.Canary != "" {
		t.Errorf("started as %+v", started)
	}
	end := h.ended("users")
	if end.State != "done" || end.EndedAt == nil || end.Requests != 50 || end.Codes["200"] != 50 || end.Success != 1 || h.seen.Load() != 50 {
		t.Errorf("ended as %+v, the target saw %d", end, h.seen.Load())
	}
	for _, text := range []string{end.Latency.P50, end.Latency.P95, end.Latency.P99, end.Latency.Max} {
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			t.Errorf("latency %q is not a duration over 0", text)
		}
	}
	if host := <-h.hits; host != "podinfo.example" {
		t.Errorf("the target was asked for host %q", host)
	}
	var list struct{ Attacks []seenState }
	if _, _, body := h.do("GET", "/api/v1/attacks", ""); json.Unmarshal([]byte(body), &list) != nil || len(list.Attacks) != 1 {
		t.Errorf("list is %s", body)
	}
}

func TestStartingTwiceIsOneAttack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	var created, same atomic.Int32
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			switch status, _, body := h.do("POST", "/api/v1/attacks", h.request("users", 1, "1m")); status {
			case 201:
				created.Add(1)
			case 200:
				same.Add(1)
			default:
				t.Errorf("answered %d %s", status, body)
			}
		})
	}
	clients.Wait()
	if created.Load() != 1 || same.Load() != 19 {
		t.Errorf("%d created, %d told that it runs; want 1 and 19", created.Load(), same.Load())
	}
}

func TestDeleteStopsWithin100msAtOneRequestInThreeSeconds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	var end seenState
	var took time.Duration
	for range 3 { // a busy machine may stall once; a wait that cannot be interrupted stalls always
		h.seen.Store(0)
		h.state("POST", "/api/v1/attacks", h.request("slow", 1.0/3, "1h"), 201)
		<-h.hits
		asked := time.Now()
		end = h.state("DELETE", "/api/v1/attacks/slow", "", 200)
		if took = time.Since(asked); took <= 100*time.Millisecond {
			break
		}
	}
	if took > 100*time.Millisecond {
		t.Errorf("took %s, three times in a row", took)
	}
	if end.State != "stopped" || end.EndedAt == nil || end.Requests != 1 || h.seen.Load() != 1 {
		t.Errorf("ended as %+v, the target saw %d", end, h.seen.Load())
	}
	again := h.state("DELETE", "/api/v1/attacks/slow", "", 200)
	if again.EndedAt == nil || !again.EndedAt.Equal(*end.EndedAt) {
		t.Errorf("a second delete changed %+v to %+v", end, again)
	}
	if status, _, body := h.do("DELETE", "/api/v1/attacks/never", ""); status != 404 {
		t.Errorf("deleting what never was answered %d %s", status, body)
	}
}

func TestAStopCutsOffWhatHangsAndANewStartDoesNotWaitForIt(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	h := newHouse(t, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	body := map[string]string{"url": h.target.URL, "rate": "0.1", "duration": "1m"}
	h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", body), 201)
	<-h.hits
	waiting := h.state("POST", "/hooks/v1/load", h.hookBody("Failed", nil), 200)
	if waiting.State != "stopped" || waiting.Requests != 0 || waiting.RateNow != 0 {
		t.Errorf("the hook told %+v, want stopped", waiting)
	}
	h.attacks.mu.Lock()
	old := h.attacks.find("demo.podinfo.load")
	h.attacks.mu.Unlock()
	h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", body), 201)
	<-old.done
	if s := h.attacks.show(old); s.Requests != 0 || s.Unfinished != 1 || s.Sent != 1 || len(s.Errors) != 0 {
		t.Errorf("the stopped attack ended as %+v, want one unfinished", s)
	}
	if s := h.state("GET", "/api/v1/attacks/demo.podinfo.load", "", 200); s.State != "running" {
		t.Errorf("the name stands for %+v, want the new attack", s)
	}
}

func TestHookFollowsTheRollout(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"Succeeded", "Failed"} {
		t.Run("stops when it "+phase, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			body := map[string]string{"url": h.target.URL, "host": "podinfo.example", "method": "POST", "rate": "20", "duration": "1m", "name": "users"}
			h.state("POST", "/hooks/v1/load", h.hookBody(phase, nil), 200) // nothing runs: still yes
			started := h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", body), 201)
			if started.Name != "demo.podinfo.users" || started.Canary != "demo/podinfo" {
				t.Errorf("started as %+v", started)
			}
			if host := <-h.hits; host != "podinfo.example" {
				t.Errorf("the target was asked for host %q", host)
			}
			again := h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", body), 200)
			if !again.StartedAt.Equal(started.StartedAt) {
				t.Errorf("a repeated hook started %+v after %+v", again, started)
			}
			h.state("POST", "/hooks/v1/load", h.hookBody(phase, map[string]string{"name": "users"}), 200)
			if end := h.ended("demo.podinfo.users"); end.State != "stopped" || end.Requests != uint64(h.seen.Load()) {
				t.Errorf("ended as %+v, the target saw %d", end, h.seen.Load())
			}
			h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", body), 201) // the next rollout
		})
	}
}

func TestHookRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	good := map[string]string{"url": h.target.URL, "rate": "1", "duration": "1m"}
	with := func(key, value string) map[string]string {
		m := map[string]string{key: value}
		for k, v := range good {
			if k != key {
				m[k] = v
			}
		}
		return m
	}
	for _, tc := range []struct {
		proves, body string
		status       int
	}{
		{"a phase it knows nothing of", h.hookBody("Waiting", good), 400},
		{"no metadata", h.hookBody("Progressing", nil), 400},
		{"a misspelt key", h.hookBody("Progressing", with("hosts", "podinfo.example")), 400},
		{"a rate that is no number", h.hookBody("Progressing", with("rate", "fast")), 400},
		{"a rate that is not a number", h.hookBody("Progressing", with("rate", "NaN")), 400},
		{"a duration without unit", h.hookBody("Progressing", with("duration", "60")), 400},
		{"a name with a slash", h.hookBody("Progressing", with("name", "a/b")), 400},
		{"a name that would look like another canary's", h.hookBody("Progressing", with("name", "a.b")), 400},
		{"no namespace", `{"name":"podinfo","phase":"Succeeded"}`, 400},
		{"a host that is not allowed", h.hookBody("Progressing", with("url", "http://kubernetes.default/")), 403},
		{"a rate over the limit", h.hookBody("Progressing", with("rate", "1001")), 403},
		{"a duration over the limit", h.hookBody("Progressing", with("duration", "61m")), 403},
		{"no JSON", "hello", 400},
		{"a body too large", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			status, _, reason := h.do("POST", "/hooks/v1/load", tc.body)
			if status != tc.status {
				t.Errorf("answered %d, want %d", status, tc.status)
			}
			if len(reason) < 10 || strings.Count(reason, "\n") != 1 {
				t.Errorf("the reason %q is not one line", reason)
			}
		})
	}
	if h.seen.Load() != 0 {
		t.Errorf("a refused attack sent %d requests", h.seen.Load())
	}
}

func TestHookToleratesWhatFlaggerMayAdd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.state("POST", "/hooks/v1/load", `{"name":"podinfo","namespace":"demo","phase":"Succeeded","weight":50}`, 200)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	target := fmt.Sprintf(`"targets":[{"url":%q}]`, h.target.URL)
	for _, tc := range []struct {
		proves, body string
		status       int
	}{
		{"no name", `{` + target + `,"rate":1,"duration":"1s"}`, 400},
		{"a name that is a path", `{"name":"../x",` + target + `,"rate":1,"duration":"1s"}`, 400},
		{"no targets", `{"name":"a","rate":1,"duration":"1s"}`, 400},
		{"no rate", `{"name":"a",` + target + `,"duration":"1s"}`, 400},
		{"a negative rate", `{"name":"a",` + target + `,"rate":-1,"duration":"1s"}`, 400},
		{"no duration", `{"name":"a",` + target + `,"rate":1}`, 400},
		{"a misspelt field", `{"name":"a","targets":[{"url":"http://127.0.0.1","headers":{}}],"rate":1,"duration":"1s"}`, 400},
		{"a second value", `{"name":"a",` + target + `,"rate":1,"duration":"1s"}{}`, 400},
		{"one allowed and one other host", `{"name":"a","targets":[{"url":"http://127.0.0.1"},{"url":"http://10.0.0.1"}],"rate":1,"duration":"1s"}`, 403},
		{"a rate over the limit", `{"name":"a",` + target + `,"rate":1000.5,"duration":"1s"}`, 403},
		{"a duration over the limit", `{"name":"a",` + target + `,"rate":1,"duration":"1h1s"}`, 403},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			status, contentType, body := h.do("POST", "/api/v1/attacks", tc.body)
			if status != tc.status || contentType != "application/problem+json" || !strings.Contains(body, `"detail":"`) {
				t.Errorf("answered %d %s %s, want a problem with %d", status, contentType, body, tc.status)
			}
		})
	}
	for path, want := range map[string]int{"/api/v1/attacks/a": 404, "/nothing": 404, "/hooks/v1/load": 405} {
		if status, contentType, _ := h.do("GET", path, ""); status != want || contentType != "application/problem+json" {
			t.Errorf("GET %s answered %d %s, want a problem with %d", path, status, contentType, want)
		}
	}
	if h.seen.Load() != 0 {
		t.Errorf("a refused attack sent %d requests", h.seen.Load())
	}
}

func TestTheRateLimitIsForAllRunningAttacksTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.state("POST", "/api/v1/attacks", h.request("one", 1, "1h"), 201)
	if status, _, body := h.do("POST", "/api/v1/attacks", h.request("two", 1000, "1h")); status != 403 || !strings.Contains(body, "1000") {
		t.Errorf("answered %d %s, want 403 with the limit", status, body)
	}
	h.state("DELETE", "/api/v1/attacks/one", "", 200)
	h.state("POST", "/api/v1/attacks", h.request("two", 1000, "1ms"), 201)
}

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	allowed, err := newHosts([]string{" Podinfo.Example. ", "ingress", "k", "::1", "10.1.2.3", ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		proves, url string
		ok          bool
	}{
		{"the name itself", "http://podinfo.example/", true},
		{"any port and path", "https://podinfo.example:8443/a?b#c", true},
		{"upper case is the same name", "HTTP://PODINFO.EXAMPLE/", true},
		{"a final dot is the same name", "http://podinfo.example./", true},
		{"a listed IPv6 address", "http://[::1]:8080/", true},
		{"the same IPv6 address, written long", "http://[0:0:0:0:0:0:0:1]/", true},
		{"a listed IPv4 address", "http://10.1.2.3/", true},
		{"another name", "http://evil.example/", false},
		{"a name below", "http://a.podinfo.example/", false},
		{"a name that starts like it", "http://podinfo.example.evil/", false},
		{"a name that ends like it", "http://xpodinfo.example/", false},
		{"two final dots", "http://podinfo.example../", false},
		{"the name as user", "http://podinfo.example@evil.example/", false},
		{"the name as user and password", "http://podinfo.example:80@evil.example/", false},
		{"a user at the right host", "http://root:pw@podinfo.example/", false},
		{"the name in the query", "http://evil.example?podinfo.example", false},
		{"the name in the fragment", "http://evil.example#@podinfo.example/", false},
		{"the name behind a backslash", `http://evil.example\@podinfo.example/`, false},
		{"an encoded letter", "http://%70odinfo.example/", false},
		{"a full-width look-alike", "http://ｉngress/", false},
		{"a Kelvin sign is no k", "http://\u212A/", false},
		{"another IPv6 address", "http://[::2]/", false},
		{"a listed IPv4 address inside an IPv6 one", "http://[::ffff:10.1.2.3]/", false},
		{"an IPv4 address as one number", "http://167838211/", false},
		{"loopback, not listed", "http://127.0.0.1/", false},
		{"no host", "http:///ingress", false},
		{"no authority", "http:ingress", false},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if err := allowed.check(tc.url); (err == nil) != tc.ok {
				t.Errorf("check(%s) = %v, want allowed %t", tc.url, err, tc.ok)
			}
		})
	}
	for _, entry := range []string{"http://a", "a:80", "a/b", "user@a", "[::1]:80", "a b"} {
		if set, err := newHosts([]string{entry}); err == nil {
			t.Errorf("allowed host %q was taken as %v", entry, set)
		}
	}
	if none, err := newHosts(nil); err != nil || none.check("http://127.0.0.1/") == nil {
		t.Error("an empty list allows something")
	}
}

func TestARedirectDoesNotLeaveTheAllowedHosts(t *testing.T) {
	t.Parallel()
	var escaped atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { escaped.Add(1) }))
	defer other.Close()
	h := newHouse(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
	})
	h.state("POST", "/api/v1/attacks", h.request("r", 50, "100ms"), 201)
	if end := h.ended("r"); end.Codes["302"] != 5 || end.Success != 0 || escaped.Load() != 0 {
		t.Errorf("ended as %+v, the other host saw %d requests", end, escaped.Load())
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	h := newHouse(t, nil)
	u, err := url.Parse(gone.URL)
	if err != nil {
		t.Fatal(err)
	}
	h.state("POST", "/api/v1/attacks", h.request("good", 50, "100ms"), 201)
	h.state("POST", "/api/v1/attacks", strings.ReplaceAll(h.request("gone", 50, "100ms"), h.target.URL, "http://"+u.Host), 201)
	h.ended("good")
	h.ended("gone")
	h.state("POST", "/api/v1/attacks", h.request("still", 0.25, "1h"), 201)
	<-h.hits
	_, _, body := h.do("GET", "/metrics", "")
	for _, line := range []string{
		`loadgen_requests_total{attack="good",code="200"} 5`,
		`loadgen_requests_total{attack="good",code="0"} 0`,
		`loadgen_requests_total{attack="gone",code="0"} 5`,
		`loadgen_request_duration_seconds_count{attack="good"} 5`,
		`loadgen_request_duration_seconds_bucket{attack="good",le="+Inf"} 5`,
		`loadgen_unfinished_total{attack="good"} 0`,
		`loadgen_attacks_running 1`,
		`loadgen_rate_target 0.25`,
		`# TYPE loadgen_requests_total counter`,
		`# TYPE loadgen_unfinished_total counter`,
		`# TYPE loadgen_request_duration_seconds histogram`,
		`# TYPE loadgen_attacks_running gauge`,
		`# TYPE loadgen_rate_target gauge`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s in\n%s", line, body)
		}
	}
}

func TestTheLastHundredStatesAreKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for i := range keepEnded + 3 {
		name := fmt.Sprintf("n%d", i)
		h.state("POST", "/api/v1/attacks", h.request(name, 100, "1ms"), 201)
		h.ended(name)
	}
	var list struct{ Attacks []seenState }
	_, _, body := h.do("GET", "/api/v1/attacks", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	if n := len(list.Attacks); n != keepEnded || list.Attacks[0].Name != "n102" || list.Attacks[n-1].Name != "n3" {
		t.Errorf("%d states from %s to %s, want %d from n102 to n3", n, list.Attacks[0].Name, list.Attacks[n-1].Name, keepEnded)
	}
	if status, _, _ := h.do("GET", "/api/v1/attacks/n2", ""); status != 404 {
		t.Errorf("the oldest is still there: %d", status)
	}
	if _, _, metrics := h.do("GET", "/metrics", ""); strings.Contains(metrics, `attack="n2"`) || !strings.Contains(metrics, `attack="n3"`) {
		t.Error("the series do not go with the states")
	}
}

func TestClosingStopsAttacksAndRefusesNewOnes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, body := h.do("GET", path, ""); status != 200 {
			t.Errorf("%s answered %d %s", path, status, body)
		}
	}
	h.state("POST", "/api/v1/attacks", h.request("a", 0.1, "1h"), 201)
	<-h.hits
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.attacks.Run(over); err != nil {
		t.Fatal(err)
	}
	if s := h.state("GET", "/api/v1/attacks/a", "", 200); s.State != "stopped" || s.EndedAt == nil || s.Requests != 1 {
		t.Errorf("after closing %+v", s)
	}
	if status, _, _ := h.do("GET", "/readyz", ""); status != 503 {
		t.Errorf("readyz answers %d after closing", status)
	}
	if status, _, _ := h.do("GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz answers %d after closing", status)
	}
	if status, _, body := h.do("POST", "/api/v1/attacks", h.request("b", 1, "1s")); status != 409 {
		t.Errorf("a start after closing answered %d %s", status, body)
	}
}

func TestNewRefusesAConfigWithoutLimits(t *testing.T) {
	t.Parallel()
	full := Config{AllowedHosts: []string{"h"}, MaxRate: 1, MaxDuration: time.Second, MaxInFlight: 1, MaxAttacks: 1, Timeout: time.Second}
	for name, spoil := range map[string]func(*Config){
		"rate":     func(c *Config) { c.MaxRate = 0 },
		"duration": func(c *Config) { c.MaxDuration = 0 },
		"timeout":  func(c *Config) { c.Timeout = 0 },
		"flight":   func(c *Config) { c.MaxInFlight = 0 },
		"attacks":  func(c *Config) { c.MaxAttacks = 0 },
		"host":     func(c *Config) { c.AllowedHosts = []string{"http://h"} },
	} {
		cfg := full
		spoil(&cfg)
		if _, err := New(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("a config without %s was taken", name)
		}
	}
}

func TestAPanicIsA500AndALogLine(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	a := &Attacks{log: slog.New(slog.NewTextHandler(&logged, nil))} // nothing else: what is asked for below panics
	server := httptest.NewServer(a.routes(prometheus.NewRegistry()))
	defer server.Close()
	a.list = []*attack{nil}
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/api/v1/attacks", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 500 || !strings.Contains(logged.String(), "handler panicked") {
		t.Errorf("answered %d, logged %s", resp.StatusCode, logged.String())
	}
}
