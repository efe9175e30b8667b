package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// reader is a browser without a script: it keeps cookies and follows where it is sent.
type reader struct {
	t      *testing.T
	server *httptest.Server
	client *http.Client
}

func newReader(t *testing.T, server *httptest.Server) reader {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return reader{t, server, &http.Client{Jar: jar}}
}

func (r reader) send(req *http.Request) (status int, path, text string) {
	r.t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Request.URL.RequestURI(), string(body)
}

func (r reader) get(path string) (status int, at, text string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.send(req)
}

func (r reader) post(path string, form url.Values, headers ...string) (status int, at, text string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return r.send(req)
}

func (r reader) signIn(token string) {
	r.t.Helper()
	if status, at, text := r.post("/login", url.Values{"token": {token}}); status != http.StatusOK || at != "/" {
		r.t.Fatalf("sign in: %d at %s: %s", status, at, text)
	}
}

// form is what the hidden fields of a page's form hold.
func form(text string) url.Values {
	values := url.Values{}
	for _, field := range regexp.MustCompile(`type="hidden" name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		values.Set(field[1], field[2])
	}
	return values
}

// seen checks that a page has all of some texts.
func seen(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q:\n%s", what, want, text)
		}
	}
}

func TestPagesCanBeReadWithoutAScriptAndWithoutATokenWhereThatIsAllowed(t *testing.T) {
	s := newScene(t)
	s.play()
	r := newReader(t, s.serve())
	_, _, list := r.get("/")
	seen(t, "the list", list, "demo/podinfo", "Waits for approval", "A person must approve the promotion", `<progress max="100" value="50"`,
		"shop/cart", "Frozen", "Opens <time datetime=\"2026-03-05T07:00:00Z\">2026-03-05 07:00:00 UTC</time>", "shop/search", "The last one came back", "All 3 rollouts", "Rolled back",
		"<dt>Came back</dt><dd>1 of 1, 100.0 %</dd>", "<dt>Time to restore, median</dt><dd>12 s, of 1</dd>")
	_, _, one := r.get("/rollouts/" + s.id(podinfo))
	seen(t, "one rollout", one, "2.0.0 (6f7c2d9b)", "Waits for approval", "The canary fails", "it is rolled back at 200 : 1", `<th scope="row" class="num">50 % <small>now</small></th>`,
		"<b>approval</b> a person must approve the promotion", "Nobody has decided anything", "canary weight is 25 %", "build-2.0.0", `data-events="/api/v1/rollouts/`, "/report.md", ">Sign in</a> to approve")
	if strings.Contains(one, `href="/rollouts/`+s.id(podinfo)+`/approve"`) {
		t.Error("who has not signed in is shown a button")
	}
	_, _, past := r.get("/rollouts?result=rolled-back")
	seen(t, "the history", past, "1–1 of 1 rollouts", "4.2.0", `<option value="rolled-back" selected>`)
	status, _, missing := r.get("/rollouts/nobody")
	if status != http.StatusNotFound {
		t.Errorf("an unknown rollout: %d", status)
	}
	seen(t, "an unknown rollout", missing, "Not found")
}

func TestHostileNamesStayText(t *testing.T) {
	const hostile = `"><script>alert(1)</script>`
	s := newScene(t)
	s.canary(podinfo, "careful", rollout.Succeeded, 0, 10, "1.0.0", "1.0.0")
	s.pass(1, podinfo, 0, 0)
	s.canary(podinfo, "careful", rollout.Progressing, 0, 10, "1.0.0", "2"+hostile)
	s.pass(2, podinfo, 0, 0)
	if err := s.keeper.Heard(t.Context(), podinfo, "event "+hostile); err != nil {
		t.Fatal(err)
	}
	id := s.id(podinfo)
	if _, err := s.keeper.Decide(t.Context(), id, 0, rollout.Decision{Kind: rollout.Pause, By: hostile, Why: hostile}); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, s.serve())
	r.signIn("operator-secret")
	for _, path := range []string{"/", "/rollouts", "/rollouts?q=" + url.QueryEscape(hostile) + "&canary=" + url.QueryEscape(hostile), "/rollouts/" + id, "/rollouts/" + id + "/abort", "/login?next=" + url.QueryEscape("/"+hostile)} {
		status, _, text := r.get(path)
		if status != http.StatusOK || strings.Contains(text, "<script>alert") {
			t.Errorf("%s: %d, and the name is no text any more:\n%s", path, status, text)
		}
	}
}

func TestNothingIsToldWithoutATokenWhereNobodyMayLook(t *testing.T) {
	s := newScene(t)
	s.play()
	s.open(Access{Anonymous: None, Tokens: secrets(t)})
	r := newReader(t, s.serve())
	for _, path := range []string{"/", "/rollouts", "/rollouts?q=podinfo", "/rollouts/" + s.id(podinfo), "/rollouts/nobody", "/rollouts/" + s.id(podinfo) + "/approve"} {
		_, at, text := r.get(path)
		if at != "/login?next="+url.QueryEscape(path) || strings.Contains(text, "2.0.0") || strings.Contains(text, "podinfo\"><") {
			t.Errorf("%s leads to %s and tells:\n%s", path, at, text)
		}
	}
	status, at, text := r.post("/login", url.Values{"token": {"viewer-secret"}, "next": {"/rollouts?canary=demo%2Fpodinfo"}})
	if status != http.StatusOK || at != "/rollouts?canary=demo%2Fpodinfo" {
		t.Errorf("signed in: %d at %s", status, at)
	}
	seen(t, "the page that was asked for", text, "vic (viewer)", "1–1 of 1 rollouts")
}

func TestAnOperatorDecidesByForms(t *testing.T) {
	s := newScene(t)
	s.play()
	id := s.id(podinfo)
	r := newReader(t, s.serve())
	r.signIn("operator-secret")
	_, _, one := r.get("/rollouts/" + id)
	seen(t, "the rollout", one, "ann (operator)", ">Approve…</a>", ">Reject…</a>", ">Hold…</a>", ">Abort…</a>")
	_, _, asked := r.get("/rollouts/" + id + "/approve")
	seen(t, "the question", asked, "Approve 2.0.0 (6f7c2d9b)?", "The approval gate opens", "Waits for approval")
	answer := form(asked)
	answer.Set("why", "looks good <b>")
	status, at, after := r.post("/rollouts/"+id+"/approve", answer)
	if status != http.StatusOK || at != "/rollouts/"+id {
		t.Errorf("approved: %d at %s", status, at)
	}
	seen(t, "the rollout afterwards", after, "You approved this rollout.", "Approved by ann: looks good &lt;b&gt;", "by way of page", "Going well at 50 %")
	if _, _, again := r.get("/rollouts/" + id); strings.Contains(again, "You approved") {
		t.Error("what was done is told twice")
	}
	decided := s.decisions(podinfo)
	if len(decided) != 1 || decided[0].Kind != rollout.Approve || decided[0].By != "ann" || decided[0].Via != "page" || decided[0].Why != "looks good <b>" {
		t.Errorf("decisions: %+v", decided)
	}
	status, _, again := r.post("/rollouts/"+id+"/abort", answer)
	if status != http.StatusConflict || len(s.decisions(podinfo)) != 1 {
		t.Errorf("an old page decided: %d, %+v", status, s.decisions(podinfo))
	}
	seen(t, "the old page", again, "Somebody else has decided", "Approved by ann: looks good", `name="version" value="1"`)
	if status, at, _ = r.post("/rollouts/"+id+"/abort", form(again)); status != http.StatusOK || at != "/rollouts/"+id {
		t.Errorf("in sight of how it stands: %d at %s", status, at)
	}
	status, _, over := r.post("/rollouts/"+id+"/hold", form(again))
	if status != http.StatusConflict {
		t.Errorf("held when on its way back: %d", status)
	}
	if got := s.decisions(podinfo); len(got) != 2 || got[1].Kind != rollout.Abort {
		t.Errorf("decisions: %+v\n%s", got, over)
	}
}

func TestNobodyElseDecides(t *testing.T) {
	s := newScene(t)
	s.play()
	id := s.id(podinfo)
	server := s.serve()
	ann := newReader(t, server)
	ann.signIn("operator-secret")
	_, _, asked := ann.get("/rollouts/" + id + "/abort")
	sealed := form(asked)
	changed := func(key, value string) url.Values {
		other := form(asked)
		other.Set(key, value)
		return other
	}
	other := newReader(t, server)
	other.signIn("operator-secret")
	viewer := newReader(t, server)
	viewer.signIn("viewer-secret")
	pipeline := newReader(t, server)
	pipeline.signIn("ci-secret")
	for name, c := range map[string]struct {
		by      reader
		form    url.Values
		headers []string
		status  int
	}{
		"nobody is asked to sign in":          {newReader(t, server), sealed, nil, http.StatusOK},
		"a viewer":                            {viewer, sealed, nil, http.StatusForbidden},
		"a pipeline has the API for that":     {pipeline, sealed, nil, http.StatusForbidden},
		"without the seal":                    {ann, changed("seal", ""), nil, http.StatusForbidden},
		"with a seal that is not known":       {ann, changed("seal", "X"), nil, http.StatusForbidden},
		"with the seal of another session":    {other, sealed, nil, http.StatusForbidden},
		"with a token in place of a session":  {newReader(t, server), sealed, []string{"Authorization", "Bearer operator-secret"}, http.StatusForbidden},
		"from another site":                   {ann, sealed, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"from another origin":                 {ann, sealed, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"without a version":                   {ann, changed("version", ""), nil, http.StatusBadRequest},
		"in sight of any version":             {ann, changed("version", "-1"), nil, http.StatusBadRequest},
		"in sight of one that has not been":   {ann, changed("version", "7"), nil, http.StatusConflict},
		"with a reason that is too long":      {ann, changed("why", strings.Repeat("x", maxWords+1)), nil, http.StatusBadRequest},
		"with more than a form":               {ann, changed("why", strings.Repeat("x", maxForm)), nil, http.StatusForbidden},
		"with a token that does not hold too": {ann, sealed, []string{"Authorization", "Bearer nonsense"}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			if status, at, text := c.by.post("/rollouts/"+id+"/abort", c.form, c.headers...); status != c.status {
				t.Errorf("%d at %s, want %d:\n%s", status, at, c.status, text)
			}
			if got := s.decisions(podinfo); len(got) != 0 {
				t.Fatalf("it decided: %+v", got)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	now := time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)
	tokens := []Token{{Operator, "ann", "operator-secret"}, {Alerts, "alertmanager", "alerts-secret"}}
	known, err := NewTokens(tokens, "", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := newSessions(known, func() time.Time { return now })
	with := func(id string) *http.Request {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.AddCookie(&http.Cookie{Name: sessionCookie, Value: id})
		return req
	}
	for _, secret := range []string{"", "operator-secre", "alerts-secret"} {
		if id, ok := s.begin(secret); ok || id != "" {
			t.Errorf("%q opens a session", secret)
		}
	}
	begin := func() string {
		id, ok := s.begin("operator-secret")
		if !ok || len(id) < 52 { // 26 letters of 5 bits are rand.Text's 128 bits
			t.Fatalf("session %q: %t", id, ok)
		}
		return id
	}
	first := begin()
	if who, ok := s.identify(with(first)); !ok || who != (identity{"ann", Operator, "page"}) {
		t.Errorf("it is %+v, %t", who, ok)
	}
	if _, ok := s.identify(with("nonsense")); ok {
		t.Error("an id that was never given is a session")
	}
	now = now.Add(time.Second)
	for range maxSessions {
		begin()
	}
	if _, ok := s.identify(with(first)); ok || len(s.byID) != maxSessions {
		t.Errorf("of %d sessions the oldest is there: %t", len(s.byID), ok)
	}
	late := begin()
	now = now.Add(sessionTime - 1)
	if _, ok := s.identify(with(late)); !ok {
		t.Error("a session ends before its time")
	}
	now = now.Add(1)
	if _, ok := s.identify(with(late)); ok {
		t.Error("a session outlives its time")
	}
	left := begin()
	if len(s.byID) != 1 {
		t.Errorf("%d sessions are remembered, all but one are over", len(s.byID))
	}
	s.tokens, _ = NewTokens(nil, "", time.Now, slog.New(slog.DiscardHandler))
	if _, ok := s.identify(with(left)); ok || len(s.byID) != 0 {
		t.Error("a session outlives its token")
	}
}

func TestTheCookieIsForThisSiteOnlyAndNoTokenIsLogged(t *testing.T) {
	var log strings.Builder
	for name, c := range map[string]struct {
		secure bool
		token  string
		want   string
	}{
		"with TLS before the door": {true, "operator-secret", "Path=/; Max-Age=28800; HttpOnly; Secure; SameSite=Strict"},
		"without":                  {false, "operator-secret", "Path=/; Max-Age=28800; HttpOnly; SameSite=Strict"},
		"no cookie for a guess":    {true, "operator-guess-9", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cfg := newDoor(t, nil)
			cfg.SecureCookies, cfg.Log = c.secure, slog.New(slog.NewTextHandler(&log, nil))
			rec := httptest.NewRecorder()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader("token="+c.token))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			New(cfg).ServeHTTP(rec, req)
			_, attributes, _ := strings.Cut(rec.Header().Get("Set-Cookie"), "; ")
			if attributes != c.want || strings.Contains(rec.Body.String(), c.token) {
				t.Errorf("%d, cookie %q, want %q", rec.Code, attributes, c.want)
			}
		})
	}
	if log.Len() == 0 || strings.Contains(log.String(), "operator-") {
		t.Errorf("log: %s", log.String())
	}
}

func TestSigningOutEndsTheSession(t *testing.T) {
	s := newScene(t)
	server := s.serve()
	r := newReader(t, server)
	r.signIn("operator-secret")
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := r.client.Jar.Cookies(at)
	_, _, text := r.get("/")
	if status, _, _ := r.post("/logout", nil); status != http.StatusForbidden {
		t.Errorf("another page signs out: %d", status)
	}
	_, _, text = r.post("/logout", form(text))
	seen(t, "the page afterwards", text, ">Sign in</a>")
	r.client.Jar.SetCookies(at, cookies) // somebody kept it
	_, _, text = r.get("/")
	seen(t, "the page with the old cookie", text, ">Sign in</a>")
}

func TestSigningInLeadsNowhereElse(t *testing.T) {
	for given, want := range map[string]string{
		"": "/", "/": "/", "/rollouts?q=a+b": "/rollouts?q=a+b", "/rollouts/x/approve": "/rollouts/x/approve",
		"https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "javascript:alert(1)": "/", "evil": "/", "/\tevil": "/",
		"///evil.example": "/", "http:evil": "/", "/a\r\nSet-Cookie: x": "/", "/%2fevil.example": "/", "https:/evil.example": "/", "/rollouts#x": "/rollouts",
	} {
		if got := local(given); got != want {
			t.Errorf("%q leads to %q, want %q", given, got, want)
		}
	}
}

func TestAssets(t *testing.T) {
	h, _, _ := newDoor(t, nil)
	_, text := get(h, "/")
	for _, found := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(text, -1) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, found[1], nil))
		if rec.Code != http.StatusOK || !strings.Contains(rec.Header().Get("Cache-Control"), "immutable") || rec.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", found[1], rec.Code, rec.Header())
		}
	}
	for _, path := range []string{"/assets/x/layout.html", "/assets/x/nothing.css", "/assets/x/..%2fpage.go", "/assets/x/", "/assets/page.css"} {
		if status, _ := get(h, path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	if script, err := assets.ReadFile("assets/live.js"); err != nil || len(script) > 5000 {
		t.Errorf("the script has %d bytes: %v", len(script), err)
	}
}
