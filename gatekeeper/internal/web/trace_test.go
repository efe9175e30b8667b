package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// The page, the API and the report lead to the rollout's trace and to those of requests that failed.
func TestTracesAreLinked(t *testing.T) {
	s := newScene(t)
	s.play()
	id := s.ended(search)
	own, _, _ := trace.Context(id, "")
	failed := strings.Repeat("ab", 16)
	status, text := get(s.door, "/api/v1/rollouts/"+id)
	var r struct {
		TraceID, TraceURL string
		Failing           []struct{ Trace, Route, URL string }
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	if r.TraceID != own.String() || r.TraceURL != "https://traces.example/"+own.String() || len(r.Failing) != 1 || r.Failing[0].Trace != failed || r.Failing[0].Route != "/search" || r.Failing[0].URL != "https://traces.example/"+failed {
		t.Errorf("got %+v", r)
	}
	for path, parts := range map[string][]string{
		"/rollouts/" + id:                       {`<a href="https://traces.example/` + failed + `">`, `<a href="https://traces.example/` + own.String() + `">`, "12.5 ms"},
		"/api/v1/rollouts/" + id + "/report.md": {"](https://traces.example/" + failed + ")", "](https://traces.example/" + own.String() + ")"},
		"/api/v1/verdict?deploy-id=build-4.2.0": {`"traceUrl":"https://traces.example/` + own.String() + `"`},
		"/deployment_report.md":                 {"](https://traces.example/" + failed + ")"},
	} {
		status, text := get(s.door, path)
		for _, part := range parts {
			if status != http.StatusOK || !strings.Contains(text, part) {
				t.Errorf("%s lacks %s", path, part)
			}
		}
	}
}
