package drill

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

func hook(kind string, status int) Call {
	return Call{Hook: kind, Status: status, Body: `{"phase":"Progressing"}`}
}

func eventCall(message string) Call {
	return Call{Hook: "event", Status: 200, Body: fmt.Sprintf(`{"phase":"Progressing","metadata":{"eventType":"Normal","eventMessage":%q}}`, message)}
}

func TestTranscript(t *testing.T) {
	events := []timeline.Event{{Subject: phase, Value: "Progressing"}, {Subject: weight, Value: "10"}, {Subject: phase, Value: "Failed"}, {Subject: weight, Value: "0"}}
	const advance = "Advance podinfo.demo canary weight 10"
	calls := []Call{
		hook("pre-rollout", 409), hook("pre-rollout", 200), hook("confirm-traffic-increase", 200), eventCall(advance),
		hook("rollback", 403), eventCall("Rollback hook abort not signaling a rollback"), hook("rollout", 200),
		hook("confirm-traffic-increase", 403), eventCall("Halt podinfo.demo advancement waiting for traffic increase approval step"),
		hook("rollback", 403), hook("rollback", 200), eventCall("canary deployment podinfo.demo not ready: waiting"), eventCall("Canary failed! Scaling down podinfo.demo"),
	}
	want := []string{
		"phase: Progressing Failed",
		"weight: 10 0",
		"weight 0: pre-rollout in Progressing: 200",
		"weight 0: confirm-traffic-increase in Progressing: 200",
		`weight 0: event Normal "` + advance + `": 200`,
		"weight 10: rollback in Progressing: 200",
		`weight 10: event Normal "Canary failed! Scaling down podinfo.demo": 200`,
	}
	got, err := transcript(events, calls)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := transcript(nil, []Call{{Body: "no JSON"}}); err == nil {
		t.Error("a body that can not be read must be an error")
	}
}

func TestACourseIsComparedLineByLine(t *testing.T) {
	for number := 1; number <= 3; number++ {
		misses, err := compare(number, []string{"phase: Progressing"})
		if err != nil || len(misses) != 1 || !strings.Contains(misses[0], "from line 1 on") || !strings.Contains(misses[0], "want\nphase: ") {
			t.Errorf("scenario %d: got %v, %q", number, err, misses)
		}
	}
}

func TestCaptureMasksWhatNoTwoCallsShare(t *testing.T) {
	first := Call{
		Number: 1, Hook: "event", Method: "POST", Path: "/hooks/v1/event", Headers: http.Header{"Content-Length": {"9"}, "Content-Type": {"application/json"}},
		Body: `{"name":"podinfo","checksum":"85d557f47b","metadata":{"timestamp":"1578607635167","eventType":"Normal"}}`,
	}
	second := first
	second.Body = `{"name":"other"}`
	folder := filepath.Join(t.TempDir(), "new")
	o := Outcome{Scenarios: []Result{{Number: 1, Course: []string{"phase: Failed"}, calls: []Call{first, second}}, {Number: 4}}}
	if err := o.Capture(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "hooks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var requests []Request
	if err := json.Unmarshal(text, &requests); err != nil || len(requests) != 1 {
		t.Fatalf("want the first call of each hook, got %v %s", err, text)
	}
	metadata, _ := requests[0].Body["metadata"].(map[string]any)
	if requests[0].Body["name"] != "podinfo" || requests[0].Body["checksum"] != "<hash>" || metadata["timestamp"] != "<unix ms>" || requests[0].Headers.Get("Content-Length") != "" {
		t.Errorf("got %s", text)
	}
	courses, err := os.ReadFile(filepath.Join(folder, "transcripts.json"))
	if err != nil || !strings.Contains(string(courses), `"1": [`) || strings.Contains(string(courses), `"4"`) {
		t.Errorf("got %s, %v", courses, err)
	}
}
