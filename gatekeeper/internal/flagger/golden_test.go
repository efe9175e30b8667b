package flagger

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// golden is a request that a real Flagger made, captured by `make golden`; lab compares it with what Flagger sends now.
type golden struct {
	Hook, Method, Path string
	Headers            http.Header
	Body               json.RawMessage
}

func TestFlaggersOwnRequestsAreUnderstood(t *testing.T) {
	text, err := os.ReadFile("testdata/hooks.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	seen := map[rollout.Hook]bool{}
	for _, g := range all {
		seen[rollout.Hook(g.Hook)] = true
		a := &answerer{yes: true}
		request := httptest.NewRequestWithContext(t.Context(), g.Method, g.Path, strings.NewReader(string(g.Body)))
		request.Header = g.Headers
		answer := httptest.NewRecorder()
		newDoor(a, nil).ServeHTTP(answer, request)
		if answer.Code != http.StatusOK || !strings.Contains(a.told, " demo/podinfo") {
			t.Errorf("%s: status %d, the door %q", g.Hook, answer.Code, a.told)
		}
		if p, err := Decode(strings.NewReader(string(g.Body))); err != nil || p.Phase == "" || p.Checksum == "" || p.Metadata["policy"] == "" {
			t.Errorf("%s: got %+v, %v", g.Hook, p, err)
		}
	}
	for _, hook := range rollout.Hooks() {
		if !seen[hook] {
			t.Errorf("there is no request of Flagger's for %s", hook)
		}
	}
}
