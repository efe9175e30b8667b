package web

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// from sends a request as if it came from an address, by way of a proxy unless that is "".
func from(t *testing.T, h http.Handler, address, forwarded, path, token string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.RemoteAddr = address
	if forwarded != "" {
		req.Header.Set("X-Forwarded-For", forwarded)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestEachClientHasItsLimit(t *testing.T) {
	_, _, cfg := newDoor(t, nil)
	cfg.Rate, cfg.Proxies = 0.001, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")} // one request, and then none in this test
	h := New(cfg)
	const path = "/api/v1/rollouts"
	for _, c := range []struct {
		address, forwarded string
		status             int
	}{
		{"192.0.2.1:1", "", 200},
		{"192.0.2.1:2", "", 429},
		{"192.0.2.1:2", "198.51.100.7", 429}, // who says so is not believed
		{"192.0.2.2:1", "", 200},
		{"10.1.0.5:1", "198.51.100.7", 200},
		{"10.1.0.6:1", "198.51.100.7", 429},
		{"10.1.0.5:1", "203.0.113.9, 198.51.100.8", 200}, // the client's own words before the proxy's
		{"10.1.0.5:1", "203.0.113.10, 198.51.100.8", 429},
		{"[2001:db8:1:2::1]:1", "", 200},
		{"[2001:db8:1:2:ffff::1]:1", "", 429}, // one client's network
		{"[2001:db8:1:3::1]:1", "", 200},
		{"[::ffff:192.0.2.2]:1", "", 429},
	} {
		rec := from(t, h, c.address, c.forwarded, path, "")
		if rec.Code != c.status || (rec.Code == 429) != (rec.Header().Get("Retry-After") != "") {
			t.Errorf("from %s for %q: %d %s, want %d", c.address, c.forwarded, rec.Code, rec.Body, c.status)
		}
		if rec := from(t, h, c.address, c.forwarded, "/healthz", ""); rec.Code != 200 {
			t.Errorf("a probe from %s: %d", c.address, rec.Code)
		}
	}
}

func TestGuessingTokensIsSlow(t *testing.T) {
	_, _, cfg := newDoor(t, nil)
	log := &bytes.Buffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	h := New(cfg)
	statuses := map[int]int{}
	for i := range 3 * failedBurst {
		statuses[from(t, h, "192.0.2.1:1", "", "/api/v1/rollouts", fmt.Sprintf("guess-number-%d", i)).Code]++
	}
	if statuses[401] < failedBurst || statuses[401] > failedBurst+1 || statuses[401]+statuses[429] != 3*failedBurst {
		t.Errorf("got %v", statuses)
	}
	if n := strings.Count(log.String(), "\n"); n != statuses[401] || strings.Contains(log.String(), "guess-number") {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
	login := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader("token=guess-number-x"))
	login.RemoteAddr = "192.0.2.1:3"
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	if h.ServeHTTP(rec, login); rec.Code != 429 {
		t.Errorf("by the form: %d", rec.Code)
	}
	// An operator behind the same address still comes in, and so do others.
	for address, token := range map[string]string{"192.0.2.1:9": "operator-secret", "192.0.2.3:1": ""} {
		if rec := from(t, h, address, "", "/api/v1/rollouts", token); rec.Code != 200 {
			t.Errorf("%s: %d %s", address, rec.Code, rec.Body)
		}
	}
}

func TestHeadersForBrowsers(t *testing.T) {
	h, r, _ := newDoor(t, nil)
	for _, path := range []string{"/", "/login", "/api/v1/rollouts", "/api/v1/rollouts/" + r.ID, "/nothing", "/healthz"} {
		header := from(t, h, "192.0.2.1:1", "", path, "").Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Strict-Transport-Security": "",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Header.Set("X-Forwarded-Proto", "https")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if got := rec.Header().Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("by TLS: %q", got)
	}
}

// A page of another site can make a browser that is signed in send a form, but not have it taken.
func TestOtherSitesChangeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		header, value string
		status        int
	}{
		"the browser says so":          {"Sec-Fetch-Site", "cross-site", 403},
		"a sibling":                    {"Sec-Fetch-Site", "same-site", 403},
		"an older browser":             {"Origin", "https://evil.example", 403},
		"from nowhere":                 {"Origin", "null", 403},
		"our own page":                 {"Sec-Fetch-Site", "same-origin", 200},
		"no browser":                   {"", "", 200},
		"our own, in an older browser": {"Origin", "http://example.com", 200},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cfg := newDoor(t, nil)
			keeper := &conductor{}
			cfg.Conductor = keeper
			h := New(cfg)
			cookie := sessionOf(t, h)
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/rollouts/a/abort", strings.NewReader("{}"))
			req.AddCookie(cookie)
			if c.header != "" {
				req.Header.Set(c.header, c.value)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != c.status || (len(keeper.told) > 0) != (c.status == 200) {
				t.Errorf("%d %s, told %v, want %d", rec.Code, rec.Body, keeper.told, c.status)
			}
		})
	}
}

// sessionOf is the cookie of an operator's session.
func sessionOf(t *testing.T, h http.Handler) *http.Cookie {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader("token=operator-secret"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	for _, cookie := range rec.Result().Cookies() {
		if cookie.Name == sessionCookie {
			return cookie
		}
	}
	t.Fatalf("not signed in: %d %s", rec.Code, rec.Body)
	return nil
}

func TestAPanicIsLoggedWithoutSecrets(t *testing.T) {
	_, _, cfg := newDoor(t, nil)
	log := &bytes.Buffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.Healthy = func() error { panic(errors.New("broken")) }
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil)
	req.Header.Set("Authorization", "Bearer operator-secret")
	req.AddCookie(&http.Cookie{Name: sessionCookie, Value: "session-secret"})
	rec := httptest.NewRecorder()
	New(cfg).ServeHTTP(rec, req)
	if rec.Code != 500 || !strings.Contains(log.String(), "broken") || strings.Contains(log.String()+rec.Body.String(), "-secret") || strings.Contains(rec.Body.String(), "broken") {
		t.Errorf("%d %s\n%s", rec.Code, rec.Body, log)
	}
}

// The server's own deadlines are for whole answers; what stays open has its own.
func TestStreamsOutliveTheServersDeadlines(t *testing.T) {
	h := newHouse(t)
	id := h.release("v2")
	server := httptest.NewUnstartedServer(h.door)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	l := listen(t, server, "/api/v1/rollouts/"+id+"/events", "")
	for percent := 10; percent <= 30; percent += 10 {
		if e, ok := l.next(); !ok {
			t.Fatalf("broken off before %d %%, after %+v", percent, e)
		}
		h.weight(percent)
		h.passes(1)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/verdict?deploy-id=v2&wait=2s", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("an answer that waits: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}
