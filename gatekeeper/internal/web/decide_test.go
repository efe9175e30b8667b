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

func (c *conductor) Decide(_ context.Context, id string, _ int, d rollout.Decision) (rollout.Rollout, error) {
	if id == "over" {
		return rollout.Rollout{}, fmt.Errorf("approve: %w", rollout.ErrOver)
	}
	c.told = append(c.told, fmt.Sprint(d.Kind, " ", id, " ", d.By, " ", d.Why))
	return rollout.Rollout{ID: id, Decisions: []rollout.Decision{d}}, nil
}

func (c *conductor) Alerted(_ context.Context, firing map[string]policy.Alert, over []string) error {
	for id, a := range firing {
		c.told = append(c.told, "fires "+id+" "+a.Labels["alertname"]+" "+a.Summary)
	}
	c.told = append(c.told, over...)
	return nil
}

func TestOnlyWhoHasTheTokenChangesAnything(t *testing.T) {
	const firing = `{"version":"4","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Down"},"annotations":{"summary":"s"},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"f1"},
		{"status":"resolved","labels":{"alertname":"Up"},"fingerprint":"f2"}]}`
	for name, c := range map[string]struct {
		path, auth, body string
		enabled          bool
		status           int
		told             string
	}{
		"approve":                             {"/api/v1/rollouts/a/approve", "Bearer secret", `{"by":"ann","why":"ok"}`, true, 200, "[approve a ann ok]"},
		"reject":                              {"/api/v1/rollouts/a/reject", "Bearer secret", `{"by":"ann"}`, true, 200, "[reject a ann ]"},
		"no token":                            {"/api/v1/rollouts/a/approve", "", `{"by":"ann"}`, true, 401, "[]"},
		"a wrong one":                         {"/api/v1/rollouts/a/approve", "Bearer secre", `{"by":"ann"}`, true, 401, "[]"},
		"that of the alerts":                  {"/api/v1/rollouts/a/approve", "Bearer alerts", `{"by":"ann"}`, true, 401, "[]"},
		"not a bearer's":                      {"/api/v1/rollouts/a/approve", "secret", `{"by":"ann"}`, true, 401, "[]"},
		"nobody may where there is no token":  {"/api/v1/rollouts/a/approve", "Bearer ", `{"by":"ann"}`, false, 403, "[]"},
		"who?":                                {"/api/v1/rollouts/a/approve", "Bearer secret", `{}`, true, 400, "[]"},
		"a field that is not known":           {"/api/v1/rollouts/a/approve", "Bearer secret", `{"by":"ann","revision":"x"}`, true, 400, "[]"},
		"two documents":                       {"/api/v1/rollouts/a/approve", "Bearer secret", `{"by":"ann"}{"by":"bob"}`, true, 400, "[]"},
		"too many words":                      {"/api/v1/rollouts/a/approve", "Bearer secret", `{"by":"ann","why":"` + strings.Repeat("x", 1001) + `"}`, true, 400, "[]"},
		"over":                                {"/api/v1/rollouts/over/approve", "Bearer secret", `{"by":"ann"}`, true, 409, "[]"},
		"alerts":                              {"/api/v1/alerts", "Bearer alerts", firing, true, 200, "[fires f1 Down s f2]"},
		"alerts with the operator's token":    {"/api/v1/alerts", "Bearer secret", firing, true, 401, "[]"},
		"alerts where they are not enabled":   {"/api/v1/alerts", "Bearer alerts", firing, false, 403, "[]"},
		"alerts that are none":                {"/api/v1/alerts", "Bearer alerts", `{"alerts":[{"status":"firing"}]}`, true, 400, "[]"},
		"alerts that can not be read":         {"/api/v1/alerts", "Bearer alerts", `[`, true, 400, "[]"},
		"a body beyond the bound is not read": {"/api/v1/alerts", "Bearer alerts", `{"alerts":"` + strings.Repeat("x", 2<<20), true, 400, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cfg := newDoor(t, nil)
			keeper := &conductor{}
			cfg.Conductor = keeper
			if c.enabled {
				cfg.OperatorToken, cfg.AlertsToken = "secret", "alerts"
			}
			rec := httptest.NewRecorder()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, strings.NewReader(c.body))
			req.Header.Set("Authorization", c.auth)
			New(cfg).ServeHTTP(rec, req)
			if rec.Code != c.status || fmt.Sprint(keeper.told) != c.told {
				t.Errorf("status %d %s, told %v; want %d and %s", rec.Code, rec.Body, keeper.told, c.status, c.told)
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
