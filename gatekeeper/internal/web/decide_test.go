package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// conductor notes what it is told.
type conductor struct{ told []string }

func (c *conductor) Why(key rollout.Key) (policy.Standing, error) {
	if key.Name != "podinfo" {
		return policy.Standing{}, fmt.Errorf("canary %s: %w", key, rollout.ErrUnknownCanary)
	}
	return policy.Standing{Canary: key, Gates: []policy.Gate{{Kind: policy.GateFreeze, Why: "frozen"}}}, nil
}

func (c *conductor) Standings() []policy.Standing { return nil }

func (c *conductor) Canaries() []rollout.Canary { return nil }

func (c *conductor) Decide(_ context.Context, id string, inSightOf int, d rollout.Decision) (rollout.Rollout, error) {
	if id == "over" {
		return rollout.Rollout{}, fmt.Errorf("approve: %w", rollout.ErrOver)
	}
	by := d.By
	if d.Claims != "" {
		by += " (" + d.Claims + ")"
	}
	by += " via " + d.Via
	if inSightOf >= 0 {
		by += fmt.Sprint(" in sight of ", inSightOf)
	}
	c.told = append(c.told, fmt.Sprint(d.Kind, " ", id, " ", by, " ", d.Why))
	return rollout.Rollout{ID: id, Decisions: []rollout.Decision{d}}, nil
}

func (c *conductor) Alerted(_ context.Context, _ string, firing map[string]policy.Alert, over []string) error {
	for id, a := range firing {
		c.told = append(c.told, "fires "+id+" "+a.Labels["alertname"]+" "+a.Summary)
	}
	c.told = append(c.told, over...)
	return nil
}

func TestOnlyWhoHasTheRoleChangesAnything(t *testing.T) {
	const firing = `{"version":"4","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{"summary":"s"},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"f1"},
		{"status":"resolved","labels":{"alertname":"Up"},"fingerprint":"f2"}]}`
	const a = "/api/v1/rollouts/a/"
	for name, c := range map[string]struct {
		path, auth, body string
		status           int
		told             string
	}{
		"approve":                             {a + "approve", "Bearer operator-secret", `{"why":"ok"}`, 200, "[approve a ann via api ok]"},
		"in somebody's name":                  {a + "approve", "bearer operator-secret", `{"by":"bob","why":"ok"}`, 200, "[approve a ann (bob) via api ok]"},
		"in one's own name":                   {a + "approve", "Bearer operator-secret", `{"by":"ann","version":7}`, 200, "[approve a ann via api in sight of 7 ]"},
		"reject":                              {a + "reject", "Bearer operator-secret", `{}`, 200, "[reject a ann via api ]"},
		"abort":                               {a + "abort", "Bearer operator-secret", `{}`, 200, "[abort a ann via api ]"},
		"hold":                                {a + "hold", "Bearer operator-secret", `{}`, 200, "[hold a ann via api ]"},
		"resume":                              {a + "resume", "Bearer operator-secret", `{}`, 200, "[resume a ann via api ]"},
		"a pipeline aborts":                   {a + "abort", "Bearer ci-secret", `{}`, 200, "[abort a build via ci ]"},
		"a pipeline approves nothing":         {a + "approve", "Bearer ci-secret", `{}`, 403, "[]"},
		"nor rejects":                         {a + "reject", "Bearer ci-secret", `{}`, 403, "[]"},
		"nor resumes":                         {a + "resume", "Bearer ci-secret", `{}`, 403, "[]"},
		"a viewer decides nothing":            {a + "abort", "Bearer viewer-secret", `{}`, 403, "[]"},
		"no token":                            {a + "approve", "", `{}`, 401, "[]"},
		"a wrong one":                         {a + "approve", "Bearer operator-secre", `{}`, 401, "[]"},
		"an empty one":                        {a + "approve", "Bearer ", `{}`, 401, "[]"},
		"that of the alerts":                  {a + "approve", "Bearer alerts-secret", `{}`, 403, "[]"},
		"not a bearer's":                      {a + "approve", "operator-secret", `{}`, 401, "[]"},
		"a basic one":                         {a + "approve", "Basic b3BlcmF0b3Itc2VjcmV0", `{}`, 401, "[]"},
		"a field that is not known":           {a + "approve", "Bearer operator-secret", `{"revision":"x"}`, 400, "[]"},
		"a version that none is":              {a + "approve", "Bearer operator-secret", `{"version":-2}`, 400, "[]"},
		"two documents":                       {a + "approve", "Bearer operator-secret", `{}{}`, 400, "[]"},
		"nothing":                             {a + "approve", "Bearer operator-secret", ``, 400, "[]"},
		"too many words":                      {a + "approve", "Bearer operator-secret", `{"why":"` + strings.Repeat("x", 1001) + `"}`, 400, "[]"},
		"over":                                {"/api/v1/rollouts/over/approve", "Bearer operator-secret", `{}`, 409, "[]"},
		"alerts":                              {"/api/v1/alerts", "Bearer alerts-secret", firing, 200, "[fires f1 Down s f2]"},
		"alerts with the operator's token":    {"/api/v1/alerts", "Bearer operator-secret", firing, 403, "[]"},
		"alerts without a token":              {"/api/v1/alerts", "", firing, 401, "[]"},
		"alerts that are none":                {"/api/v1/alerts", "Bearer alerts-secret", `{"alerts":[{"status":"firing"}]}`, 400, "[]"},
		"alerts that can not be read":         {"/api/v1/alerts", "Bearer alerts-secret", `[`, 400, "[]"},
		"a body beyond the bound is not read": {"/api/v1/alerts", "Bearer alerts-secret", `{"alerts":"` + strings.Repeat("x", 2<<20), 413, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cfg := newDoor(t, nil)
			keeper := &conductor{}
			cfg.Conductor = keeper
			rec := httptest.NewRecorder()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, strings.NewReader(c.body))
			if c.auth != "" {
				req.Header.Set("Authorization", c.auth)
			}
			New(cfg).ServeHTTP(rec, req)
			if rec.Code != c.status || fmt.Sprint(keeper.told) != c.told {
				t.Errorf("status %d %s, told %v; want %d and %s", rec.Code, rec.Body, keeper.told, c.status, c.told)
			}
			if (rec.Code == 401) != (rec.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%d with WWW-Authenticate %q", rec.Code, rec.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestWhyAndTape(t *testing.T) {
	h, r, _ := newDoor(t, nil)
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/api/v1/why?canary=demo/podinfo":    {200, `"why":"frozen"`},
		"/api/v1/why?canary=demo/nobody":     {404, "unknown canary"},
		"/api/v1/why?canary=podinfo":         {400, "namespace/name"},
		"/api/v1/rollouts/" + r.ID + "/tape": {200, `"outcome":"hold"`},
		"/api/v1/rollouts/nobody/tape":       {404, "not found"},
	} {
		if status, body := get(h, path); status != want.status || !strings.Contains(body, want.says) {
			t.Errorf("%s: %d %s, want %d …%s…", path, status, body, want.status, want.says)
		}
	}
}
