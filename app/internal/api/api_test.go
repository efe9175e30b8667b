package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

const secret = "s3cret-token"

// clock is an injected now that only a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// service is a real server around the router that run uses.
type service struct {
	*API
	t     *testing.T
	url   string
	clock *clock
	log   *logs
	crash chan struct{} // closed when the service asks for its end
}

// logs collects log lines from whatever goroutine.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t *testing.T, token string, change ...func(*Config)) *service {
	t.Helper()
	s := build(t, token, change...)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// build makes the service of start without a server around it.
func build(t testing.TB, token string, change ...func(*Config)) *service {
	t.Helper()
	s := &service{clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, log: &logs{}, crash: make(chan struct{})}
	s.t, _ = t.(*testing.T)
	cfg := Config{
		Version: "1.2.3", Revision: "abc123", Commit: "f00", Hostname: "pod-1", ChaosToken: token,
		Now: s.clock.Now, Log: slog.New(slog.NewJSONHandler(s.log, nil)), Crash: func() { close(s.crash) },
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.API, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Ready()
	return s
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *service) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

func (s *service) admin(method, body string) answer {
	s.t.Helper()
	return s.do(method, "/chaos", body, "Authorization", "Bearer "+secret)
}

// isProblem fails the test unless a is a problem that repeats its own status.
func isProblem(t *testing.T, a answer, status int, field string) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
	if a.status != status || p.Status != status || p.Field != field || p.Title == "" {
		t.Errorf("got %d %+v, want status %d and field %q", a.status, p, status, field)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type is %s", got)
	}
}

func TestItemsLiveTheirWholeLife(t *testing.T) {
	s := start(t, "")
	if got := s.do("GET", "/", ""); got.status != 200 || got.body != `{"commit":"f00","hostname":"pod-1","revision":"abc123","version":"1.2.3"}` {
		t.Errorf("version: %d %s", got.status, got.body)
	}
	if got := s.do("GET", "/api/items", ""); got.body != `{"items":[],"limit":50,"offset":0,"total":0}` {
		t.Errorf("empty list: %d %s", got.status, got.body)
	}
	made := s.do("POST", "/api/items", `{"name":"nut","quantity":3}`)
	if made.status != 201 || made.header.Get("Location") != "/api/items/1" || made.body != `{"id":1,"name":"nut","quantity":3}` {
		t.Errorf("create: %d %v %s", made.status, made.header, made.body)
	}
	s.do("POST", "/api/items", `{"name":"bolt"}`)
	if got := s.do("PUT", "/api/items/1", `{"name":"nut","quantity":4}`); got.status != 200 {
		t.Errorf("replace: %d %s", got.status, got.body)
	}
	if got := s.do("GET", "/api/items/1", ""); got.status != 200 || got.body != `{"id":1,"name":"nut","quantity":4}` {
		t.Errorf("show: %d %s", got.status, got.body)
	}
	if got := s.do("GET", "/api/items?limit=1&offset=1", ""); got.body != `{"items":[{"id":2,"name":"bolt","quantity":0}],"limit":1,"offset":1,"total":2}` {
		t.Errorf("page: %s", got.body)
	}
	if got := s.do("DELETE", "/api/items/1", ""); got.status != 204 || got.body != "" {
		t.Errorf("delete: %d %q", got.status, got.body)
	}
	isProblem(t, s.do("DELETE", "/api/items/1", ""), 404, "")
	if got := s.do("POST", "/api/items", `{"name":"new"}`); got.header.Get("Location") != "/api/items/3" {
		t.Errorf("an id was used again: %v", got.header)
	}
}

func TestWrongRequestsAreProblemsWithTrueStatus(t *testing.T) {
	s := start(t, "")
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		field              string
	}{
		"no name":                     {"POST", "/api/items", `{}`, 400, "name"},
		"a blank name":                {"POST", "/api/items", `{"name":"  "}`, 400, "name"},
		"a name of 101 characters":    {"POST", "/api/items", `{"name":"` + strings.Repeat("ü", 101) + `"}`, 400, "name"},
		"a negative quantity":         {"POST", "/api/items", `{"name":"a","quantity":-1}`, 400, "quantity"},
		"a quantity over a million":   {"PUT", "/api/items/1", `{"name":"a","quantity":1000001}`, 400, "quantity"},
		"a quantity that is text":     {"POST", "/api/items", `{"name":"a","quantity":"1"}`, 400, "quantity"},
		"a body that is no JSON":      {"POST", "/api/items", `nut`, 400, ""},
		"no body":                     {"POST", "/api/items", ``, 400, ""},
		"a body that is too large":    {"POST", "/api/items", `{"name":"` + strings.Repeat("a", maxBody) + `"}`, 413, ""},
		"limit 0":                     {"GET", "/api/items?limit=0", ``, 400, "limit"},
		"a limit over the most":       {"GET", "/api/items?limit=101", ``, 400, "limit"},
		"a negative offset":           {"GET", "/api/items?offset=-1", ``, 400, "offset"},
		"an id that is not there":     {"GET", "/api/items/77", ``, 404, ""},
		"an id that is no number":     {"GET", "/api/items/seven", ``, 404, ""},
		"replacing what is not there": {"PUT", "/api/items/77", `{"name":"a"}`, 404, ""},
		"a path that is not there":    {"GET", "/nope", ``, 404, ""},
		"a trailing slash":            {"GET", "/api/items/1/", ``, 404, ""},
		"a method that is not taken":  {"PATCH", "/api/items", ``, 405, ""},
		"/chaos when chaos is off":    {"GET", "/chaos", ``, 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			isProblem(t, s.do(c.method, c.path, c.body), c.status, c.field)
		})
	}
}

func TestAFullStoreForgetsTheOldestItem(t *testing.T) {
	s := start(t, "")
	s.items.capacity = 2
	for range 5 {
		if got := s.do("POST", "/api/items", `{"name":"a"}`); got.status != 201 {
			t.Errorf("create: %d %s", got.status, got.body)
		}
	}
	isProblem(t, s.do("GET", "/api/items/3", ""), 404, "")
	want := `{"items":[{"id":4,"name":"a","quantity":0},{"id":5,"name":"a","quantity":0}],"limit":50,"offset":0,"total":2}`
	if got := s.do("GET", "/api/items", ""); got.body != want {
		t.Errorf("got %s, want %s", got.body, want)
	}
}

func TestTheListLinksToThePagesBesideIt(t *testing.T) {
	s := start(t, "")
	for range 5 {
		s.do("POST", "/api/items", `{"name":"a"}`)
	}
	const next, prev = `</api/items?limit=2&offset=%s>; rel="next"`, `</api/items?limit=2&offset=%s>; rel="prev"`
	link := func(form, offset string) string { return strings.Replace(form, "%s", offset, 1) }
	for name, c := range map[string]struct{ query, want string }{
		"the only page has no links":                 {"", ""},
		"the first page has no page before it":       {"?limit=2", link(next, "2")},
		"a page in the middle has both":              {"?limit=2&offset=2", link(next, "4") + ", " + link(prev, "0")},
		"the last page has no page after it":         {"?limit=2&offset=4", link(prev, "2")},
		"a page that ends with the list is the last": {"?limit=2&offset=3", link(prev, "1")},
		"the page before never starts below 0":       {"?limit=2&offset=1", link(next, "3") + ", " + link(prev, "0")},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.do("GET", "/api/items"+c.query, "").header.Get("Link"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAnItemIsTakenAsJSONOnly(t *testing.T) {
	s := start(t, "")
	s.do("POST", "/api/items", `{"name":"a"}`)
	for kind, good := range map[string]bool{
		"": true, "application/json": true, "application/json; charset=utf-8": true, "application/vnd.shop+json": true,
		"text/plain": false, "application/x-www-form-urlencoded": false, "application/jsonp": false,
	} {
		for method, path := range map[string]string{"POST": "/api/items", "PUT": "/api/items/1"} {
			t.Run(method+" "+kind, func(t *testing.T) {
				got := s.do(method, path, `{"name":"a"}`, "Content-Type", kind)
				if !good {
					isProblem(t, got, 415, "")
				} else if got.status >= 300 {
					t.Errorf("%d %s", got.status, got.body)
				}
			})
		}
	}
}

func TestReadinessFollowsTheLifeOfTheService(t *testing.T) {
	s := start(t, "")
	if got := s.do("GET", "/readyz", ""); got.status != 200 {
		t.Errorf("ready: %d", got.status)
	}
	s.Drain()
	isProblem(t, s.do("GET", "/readyz", ""), 503, "")
	if got := s.do("GET", "/healthz", ""); got.status != 200 {
		t.Errorf("a draining process is not dead: %d", got.status)
	}
	if got := s.do("GET", "/api/items", ""); got.status != 200 {
		t.Errorf("a draining service still serves: %d", got.status)
	}
}

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	m.Run()
}
