package web

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ask sends a request with a bearer token, "" for none.
func ask(t testing.TB, h http.Handler, method, path, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// Each route of the table asked by each role: 401 or 403 exactly for those who lack it, also for reading where nobody may
// read without a token.
func TestEveryRouteNeedsItsRole(t *testing.T) {
	tokens := map[Role]string{None: "", Viewer: "viewer-secret", Operator: "operator-secret", CI: "ci-secret", Alerts: "alerts-secret", Flagger: "flagger-secret"}
	allowed := map[Role][]Role{
		None: {None, Viewer, Operator, CI, Alerts, Flagger}, Viewer: {Viewer, Operator, CI}, Operator: {Operator}, CI: {CI, Operator}, Alerts: {Alerts},
	}
	for _, public := range []Role{None, Viewer} {
		_, r, cfg := newDoor(t, nil)
		cfg.Access.Anonymous = public
		stopped := make(chan struct{}) // so that nothing stays open
		close(stopped)
		cfg.Stopping = stopped
		h := New(cfg)
		for _, route := range (door{cfg: cfg}).routes() {
			if route.path == "/slack/actions" {
				continue // its role is in Slack's signature: slack_test.go
			}
			path := strings.ReplaceAll(route.path, ":id", r.ID)
			for role, token := range tokens {
				want := 0
				is := role
				if role == None {
					is = public
				}
				if !slices.Contains(allowed[route.needs], is) {
					want = http.StatusForbidden
					if role == None {
						want = http.StatusUnauthorized
					}
				}
				got := ask(t, h, route.method, path, token, "{}")
				if refused := got.Code == 401 || got.Code == 403; refused != (want != 0) || refused && got.Code != want {
					t.Errorf("%s %s by %s, anonymous is %s: %d %s, want %d", route.method, path, role, public, got.Code, got.Body, want)
				}
				if want != 0 && strings.Contains(got.Body.String(), "podinfo") {
					t.Errorf("%s %s tells %s something: %s", route.method, path, role, got.Body)
				}
			}
		}
	}
}

// A token that does not hold is refused also where none is needed: its sender believes to be somebody.
func TestAWrongTokenIsNotNoToken(t *testing.T) {
	h, _, _ := newDoor(t, nil)
	if got := ask(t, h, "GET", "/api/v1/rollouts", "wrong", ""); got.Code != 401 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestParseTokens(t *testing.T) {
	const long = "0123456789abcdef"
	for name, c := range map[string]struct{ text, trouble string }{
		"two and a comment": {"# who\n\noperator ann " + long + "\n  ci\tbuild " + long + "2\n", ""},
		"none":              {"", ""},
		"four words":        {"operator ann the third " + long, "line 1: want three words, role, name and token, there are 5"},
		"an unknown role":   {"\nroot ann " + long, `line 2: there is no role "root"`},
		"no way in":         {"none ann " + long, `line 1: there is no role "none"`},
		"two roles":         {"operator ann " + long + "\nflagger flagger " + long, "line 2: the token of flagger is also that of ann"},
		"one role twice":    {"ci build " + long + "\nci test " + long, ""},
		"a short token":     {"operator ann s3cret", "line 1: the token of ann is shorter than 16"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseTokens([]byte(c.text))
			if c.trouble == "" && err != nil || c.trouble != "" && (err == nil || !strings.Contains(err.Error(), c.trouble)) {
				t.Errorf("got %v, want %q", err, c.trouble)
			}
			if err != nil && (strings.Contains(err.Error(), long) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("the error gives a token away: %v", err)
			}
		})
	}
}

func TestTokensOfAFileAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	log := &bytes.Buffer{}
	open := func() (*Tokens, error) {
		return NewTokens([]Token{{Operator, "operator", "given"}, {Alerts, "alertmanager", ""}}, file, func() time.Time { return now }, slog.New(slog.NewTextHandler(log, nil)))
	}
	if _, err := open(); err == nil {
		t.Error("a file that is not there was taken for one without tokens")
	}
	write("operator ann first-token-of-ann\n")
	tokens, err := open()
	if err != nil {
		t.Fatal(err)
	}
	want := func(secret, name string) {
		t.Helper()
		if who, ok := tokens.who(keyOf(secret)); who.Name != name || ok != (name != "") {
			t.Errorf("%q is %+v %v, want %q", secret, who, ok, name)
		}
	}
	want("first-token-of-ann", "ann")
	want("given", "operator")
	want("", "")

	write("operator ann second-token-of-ann\n")
	now = now.Add(time.Second)
	want("second-token-of-ann", "ann")
	want("first-token-of-ann", "")

	if tokens.Any(Flagger) || !tokens.Any(Operator) {
		t.Error("there is a token of ann's, an operator, and none of the role flagger")
	}
	write("operator ann second-token-of-ann\nflagger flagger token-of-flagger\n")
	now = now.Add(time.Second)
	if !tokens.Has(Flagger, "token-of-flagger") || tokens.Has(Flagger, "second-token-of-ann") || tokens.Has(Flagger, "") {
		t.Error("hooks are not open to the one token of the role flagger alone")
	}
	if !tokens.Any(Flagger) {
		t.Error("the token of the role flagger is not seen")
	}

	write("operator ann short\n")
	for range 3 {
		now = now.Add(time.Second)
		want("second-token-of-ann", "ann")
	}
	if got := strings.Count(log.String(), "level=ERROR"); got != 1 || strings.Contains(log.String(), "token-of") || strings.Contains(log.String(), "short\n") {
		t.Errorf("%d errors, want one without a token in it:\n%s", got, log)
	}
}
