package web

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// issuer signs tokens as GitHub does: discovery, a key set, RS256.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	key    *rsa.PrivateKey
	keyID  atomic.Value
	asked  atomic.Int64 // for its keys
	down   atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, key: newKey(t)}
	i.keyID.Store("first")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "none"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		id, _ := i.keyID.Load().(string)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"}}})
	})
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.server.Close)
	return i
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a token with a key, of whatever algorithm fits it.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, keyID string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are those of a pipeline that may come, as GitHub names them.
func (i *issuer) claims(now time.Time) map[string]any {
	return map[string]any{
		"iss": i.server.URL, "aud": "gatekeeper", "sub": "repo:acme/shop:environment:production", "repository": "acme/shop", "environment": "production",
		"workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main", "actor": "octocat",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
}

func TestPipelinesWithTokensOfTheirOwn(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	i := newIssuer(t)
	with := func(changes map[string]any) string {
		claims := i.claims(now)
		maps.Copy(claims, changes)
		return sign(t, jose.RS256, i.key, "first", claims)
	}
	whole := with(nil)
	parts := strings.Split(whole, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"first"}`)) + "." + parts[1] + "."
	public, err := json.Marshal(jose.JSONWebKey{Key: i.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token  string
		status int
		says   string
	}{
		"as it should be":           {whole, 200, ""},
		"within the clocks' skew":   {with(map[string]any{"exp": now.Add(-skew + time.Second).Unix()}), 200, ""},
		"for several audiences":     {with(map[string]any{"aud": []string{"other", "gatekeeper"}}), 200, ""},
		"expired":                   {with(map[string]any{"exp": now.Add(-skew - time.Second).Unix()}), 401, "expired"},
		"not yet in force":          {with(map[string]any{"nbf": now.Add(time.Hour).Unix()}), 401, "before the nbf"},
		"another audience":          {with(map[string]any{"aud": "https://github.com/acme"}), 401, "audience"},
		"no audience":               {with(map[string]any{"aud": nil}), 401, "audience"},
		"another issuer":            {with(map[string]any{"iss": "https://example.com"}), 401, "different provider"},
		"another repository":        {with(map[string]any{"repository": "acme/other"}), 401, `the repository \"acme/other\"`},
		"the end of the same name":  {with(map[string]any{"repository": "evilacme/shop"}), 401, "the repository"},
		"more than the name":        {with(map[string]any{"repository": "acme/shop\nacme/other"}), 401, "the repository"},
		"another environment":       {with(map[string]any{"environment": "staging"}), 401, "the environment"},
		"no environment":            {with(map[string]any{"environment": nil}), 401, "the environment"},
		"another subject":           {with(map[string]any{"sub": "repo:acme/shop:pull_request"}), 401, "the subject"},
		"not signed":                {unsigned, 401, "malformed"},
		"signed by another":         {sign(t, jose.RS256, newKey(t), "first", i.claims(now)), 401, "signature"},
		"signed by an unknown key":  {sign(t, jose.RS256, newKey(t), "second", i.claims(now)), 401, "signature"},
		"the public key as secret":  {sign(t, jose.HS256, public, "first", i.claims(now)), 401, "malformed"},
		"another algorithm":         {sign(t, jose.PS256, i.key, "first", i.claims(now)), 401, "malformed"},
		"a claim changed":           {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"gatekeeper"}`)) + "." + parts[2], 401, "signature"},
		"no token but of its shape": {"ey.ey.ey", 401, "malformed"},
		"too long":                  {"ey." + strings.Repeat("x", maxPipelineToken) + ".ey", 401, "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cfg := newDoor(t, nil)
			keeper := &conductor{}
			cfg.Conductor = keeper
			cfg.Access.Pipelines, err = NewPipelines(PipelineRules{
				Issuer: i.server.URL, Audience: "gatekeeper", Repositories: []string{"acme/shop", "acme/site-*"}, Subjects: []string{"repo:acme/*:environment:*"},
				Environments: []string{"production"},
			}, func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			h := New(cfg)
			rec := ask(t, h, http.MethodPost, "/api/v1/rollouts/a/abort", c.token, `{"why":"cancelled"}`)
			if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) || strings.Contains(rec.Body.String(), c.token) {
				t.Errorf("%d %s, want %d …%s…", rec.Code, rec.Body, c.status, c.says)
			}
			const told = "abort a acme/shop/.github/workflows/deploy.yml@refs/heads/main by octocat via ci cancelled"
			if c.status == 200 && (len(keeper.told) != 1 || keeper.told[0] != told) || c.status != 200 && len(keeper.told) != 0 {
				t.Errorf("told %v", keeper.told)
			}
			if rec := ask(t, h, http.MethodPost, "/api/v1/rollouts/a/approve", c.token, "{}"); rec.Code != max(c.status, 401) && rec.Code != 403 {
				t.Errorf("a pipeline approves: %d %s", rec.Code, rec.Body)
			}
		})
	}
}

// The issuer may be away when the gatekeeper starts and changes its keys; and it is not asked for ever.
func TestKeysOfTheIssuer(t *testing.T) {
	now := time.Now()
	i := newIssuer(t)
	p, err := NewPipelines(PipelineRules{Issuer: i.server.URL, Audience: "gatekeeper", Repositories: []string{"acme/*"}}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jose.RS256, i.key, "first", i.claims(now))
	i.down.Store(true)
	if _, err := p.who(t.Context(), token); err == nil || !strings.Contains(err.Error(), "ask the issuer") {
		t.Errorf("without the issuer: %v", err)
	}
	i.down.Store(false)
	for range 3 {
		if who, err := p.who(t.Context(), token); err != nil || who.Role != CI {
			t.Errorf("got %+v %v", who, err)
		}
	}
	if got := i.asked.Load(); got != 1 {
		t.Errorf("asked for its keys %d times, want once", got)
	}
	i.keyID.Store("second")
	if _, err := p.who(t.Context(), sign(t, jose.RS256, i.key, "second", i.claims(now))); err != nil {
		t.Errorf("with a new key: %v", err)
	}
	for range 50 {
		if _, err := p.who(t.Context(), sign(t, jose.RS256, i.key, "made-up", i.claims(now))); err == nil {
			t.Error("a key that nobody has")
		}
	}
	if got := i.asked.Load(); got > fetchBurst {
		t.Errorf("asked for its keys %d times", got)
	}
}

func TestPipelineRulesLetNoStrangersIn(t *testing.T) {
	good := PipelineRules{Issuer: "https://token.actions.githubusercontent.com", Audience: "gatekeeper", Repositories: []string{"acme/*"}}
	for name, c := range map[string]struct {
		change  func(*PipelineRules)
		trouble string
	}{
		"good":                         {func(*PipelineRules) {}, ""},
		"by subject":                   {func(r *PipelineRules) { r.Repositories, r.Subjects = nil, []string{"repo:acme/shop:*"} }, ""},
		"no audience":                  {func(r *PipelineRules) { r.Audience = "" }, "audience"},
		"no issuer":                    {func(r *PipelineRules) { r.Issuer = "" }, "issuer"},
		"nobody in particular":         {func(r *PipelineRules) { r.Repositories = nil }, "everybody"},
		"everybody's environment":      {func(r *PipelineRules) { r.Repositories, r.Environments = nil, []string{"production"} }, "everybody"},
		"everybody":                    {func(r *PipelineRules) { r.Repositories = []string{"*"} }, "must name the owner"},
		"everybody's shop":             {func(r *PipelineRules) { r.Repositories = []string{"*/shop"} }, "must name the owner"},
		"owners that begin like us":    {func(r *PipelineRules) { r.Repositories = []string{"acme*"} }, "must name the owner"},
		"everybody, among others":      {func(r *PipelineRules) { r.Repositories = []string{"acme/a", "*/*"} }, "must name the owner"},
		"subjects of everybody":        {func(r *PipelineRules) { r.Subjects = []string{"repo:*"} }, "must name the owner"},
		"an owner that is not written": {func(r *PipelineRules) { r.Repositories = []string{"/shop"} }, "must name the owner"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := good
			c.change(&rules)
			_, err := NewPipelines(rules, time.Now)
			if c.trouble == "" && err != nil || c.trouble != "" && (err == nil || !strings.Contains(err.Error(), c.trouble)) {
				t.Errorf("got %v, want %q", err, c.trouble)
			}
		})
	}
}
