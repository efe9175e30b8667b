package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestEveryShapeRunsFromAPIAndHook(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		shape, json string
		metadata    map[string]string
		hits        uint64
	}{
		{"constant", `"rate":50,"duration":"100ms"`, map[string]string{"rate": "50", "duration": "100ms"}, 5},
		{"ramp", `"rate":20,"to":80,"duration":"200ms"`, map[string]string{"rate": "20", "to": "80", "duration": "200ms"}, 10},
		{"steps", `"steps":"50x100ms,100x100ms"`, map[string]string{"steps": "50x100ms,100x100ms"}, 15},
		{
			"sine", `"rate":50,"amplitude":50,"period":"100ms","duration":"200ms"`,
			map[string]string{"rate": "50", "amplitude": "50", "period": "100ms", "duration": "200ms"},
			10,
		},
		{"top-up", `"samples":10,"duration":"400ms"`, map[string]string{"samples": "10", "duration": "400ms"}, 10},
	} {
		t.Run(tc.shape, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			started := h.state("POST", "/api/v1/attacks", fmt.Sprintf(`{"name":"a","shape":%q,"targets":[{"url":%q}],%s}`, tc.shape, h.target.URL, tc.json), 201)
			if started.Shape != tc.shape {
				t.Errorf("started as %+v", started)
			}
			if end := h.ended("a"); end.Requests != tc.hits || end.Due != tc.hits || end.Sent != tc.hits || end.State != "done" {
				t.Errorf("ended as %+v, want %d requests", end, tc.hits)
			}
			tc.metadata["shape"], tc.metadata["url"] = tc.shape, h.target.URL
			h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", tc.metadata), 201)
			if end := h.ended("demo.podinfo.load"); end.Requests != tc.hits || end.Canary != "demo/podinfo" {
				t.Errorf("the hook's ended as %+v, want %d requests", end, tc.hits)
			}
		})
	}
}

func TestAHookMayListTargets(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	u, err := url.Parse(h.target.URL)
	if err != nil {
		t.Fatal(err)
	}
	list := fmt.Sprintf(`[{"url":%q,"header":{"Host":["a.example"]},"weight":3},{"url":%q,"header":{"Host":["b.example"]}}]`, u, u)
	h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", map[string]string{
		"targets": list, "rate": "80", "duration": "100ms", "http": "1.1", "connections": "1", "keepAlive": "false",
	}), 201)
	h.ended("demo.podinfo.load")
	seen := map[string]int{}
	for range len(h.hits) {
		seen[<-h.hits]++
	}
	if seen["a.example"] != 6 || seen["b.example"] != 2 {
		t.Errorf("asked for %v, want 6 and 2", seen)
	}
}

func TestADifferentRequestUnderARunningName(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.state("POST", "/api/v1/attacks", h.request("users", 1, "1h"), 201)
	status, _, body := h.do("POST", "/api/v1/attacks", h.request("users", 2, "30m"))
	if status != 409 || !strings.Contains(body, "another rate, duration") {
		t.Errorf("the API answered %d %s, want 409 and what differs", status, body)
	}
	one := map[string]string{"url": h.target.URL, "rate": "1", "duration": "1h"}
	two := map[string]string{"url": h.target.URL, "rate": "999", "duration": "1h"} // fits only in the place of one
	h.state("DELETE", "/api/v1/attacks/users", "", 200)
	first := h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", one), 201)
	h.attacks.mu.Lock()
	old := h.attacks.find(first.Name)
	h.attacks.mu.Unlock()
	h.state("POST", "/hooks/v1/load", h.hookBody("Progressing", two), 201)
	<-old.done
	if s := h.attacks.show(old); s.State != "stopped" {
		t.Errorf("the old attack is %+v", s)
	}
	if s := h.state("GET", "/api/v1/attacks/"+first.Name, "", 200); s.State != "running" || s.RateNow != 999 {
		t.Errorf("the name stands for %+v", s)
	}
	// A request that is refused leaves what runs as it is.
	three := map[string]string{"url": h.target.URL, "rate": "1001", "duration": "1h"}
	if status, _, body := h.do("POST", "/hooks/v1/load", h.hookBody("Progressing", three)); status != 403 {
		t.Errorf("over the limit answered %d %s", status, body)
	}
	if s := h.state("GET", "/api/v1/attacks/"+first.Name, "", 200); s.State != "running" {
		t.Errorf("after a refusal %+v", s)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	h := newHouseWith(t, nil, func(c *Config) { c.MaxInFlight, c.MaxAttacks = 100, 2 })
	target := fmt.Sprintf(`"targets":[{"url":%q}]`, h.target.URL)
	for _, tc := range []struct {
		proves, body string
		status       int
		names        string
	}{
		{"the end of a ramp counts", `{"name":"a",` + target + `,"shape":"ramp","rate":1,"to":1001,"duration":"1s"}`, 403, "rate 1001"},
		{"the peak of a sine counts", `{"name":"a",` + target + `,"shape":"sine","rate":600,"amplitude":600,"period":"1s","duration":"1s"}`, 403, "rate 1200"},
		{"the highest step counts", `{"name":"a",` + target + `,"shape":"steps","steps":"1x1s,1001x1s"}`, 403, "rate 1001"},
		{"all steps are the duration", `{"name":"a",` + target + `,"shape":"steps","steps":"1x31m,1x31m"}`, 403, "duration 1h2m0s"},
		{"the cap of a top-up counts", `{"name":"a",` + target + `,"shape":"top-up","samples":1,"rate":1001,"duration":"1s"}`, 403, "rate 1001"},
		{"connections", `{"name":"a",` + target + `,"rate":1,"duration":"1s","connections":101}`, 403, "connections 101"},
		{"connections under nothing", `{"name":"a",` + target + `,"rate":1,"duration":"1s","connections":-1}`, 400, "connections"},
		{"an unknown http", `{"name":"a",` + target + `,"rate":1,"duration":"1s","http":"3"}`, 400, "http"},
		{"an unknown shape", `{"name":"a",` + target + `,"shape":"square","rate":1,"duration":"1s"}`, 400, "shape"},
		{"a field of another shape", `{"name":"a",` + target + `,"rate":1,"to":2,"duration":"1s"}`, 400, "to"},
		{"a weight of nothing", `{"name":"a","targets":[{"url":"http://127.0.0.1","weight":0}],"rate":1,"duration":"1s"}`, 400, "target 1: weight 0"},
		{"a query without Prometheus", `{"name":"a",` + target + `,"shape":"top-up","samples":1,"duration":"1s","seenQuery":"x"}`, 403, "LOADGEN_PROMETHEUS_URL"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			status, _, body := h.do("POST", "/api/v1/attacks", tc.body)
			if status != tc.status || !strings.Contains(body, tc.names) {
				t.Errorf("answered %d %s, want %d and %q", status, body, tc.status, tc.names)
			}
		})
	}
	// At ten per second and a timeout of ten seconds, 100 can be under way.
	h.state("POST", "/api/v1/attacks", h.request("ten", 10, "1h"), 201)
	if status, _, body := h.do("POST", "/api/v1/attacks", h.request("more", 1, "1h")); status != 403 || !strings.Contains(body, "in flight") {
		t.Errorf("answered %d %s, want 403 for what is in flight", status, body)
	}
	h.state("DELETE", "/api/v1/attacks/ten", "", 200)
	h.state("POST", "/api/v1/attacks", h.request("one", 1, "1h"), 201)
	h.state("POST", "/api/v1/attacks", h.request("two", 1, "1h"), 201)
	if status, _, body := h.do("POST", "/api/v1/attacks", h.request("three", 1, "1h")); status != 403 || !strings.Contains(body, "2 attacks") {
		t.Errorf("answered %d %s, want 403 for the number of attacks", status, body)
	}
}

func TestHookRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for key, value := range map[string]string{
		"connections": "many", "keepAlive": "perhaps", "samples": "-1", "to": "fast", "amplitude": "NaN",
		"targets": `[{"uri":"http://h"}]`, "period": "1",
	} {
		metadata := map[string]string{"rate": "1", "duration": "1s", key: value}
		if key != "targets" {
			metadata["url"] = h.target.URL
		}
		status, _, body := h.do("POST", "/hooks/v1/load", h.hookBody("Progressing", metadata))
		if status != 400 || !strings.Contains(body, key) {
			t.Errorf("%s %q answered %d %s, want 400 and the key", key, value, status, body)
		}
	}
	both := map[string]string{"url": h.target.URL, "targets": "[]", "rate": "1", "duration": "1s"}
	if status, _, body := h.do("POST", "/hooks/v1/load", h.hookBody("Progressing", both)); status != 400 || !strings.Contains(body, "targets") {
		t.Errorf("url and targets answered %d %s", status, body)
	}
}

func TestATopUpShowsWhatOthersHaveSent(t *testing.T) {
	t.Parallel()
	queries := make(chan string, 10)
	answers := func(seen uint64, err error) func(*Config) {
		return func(c *Config) {
			c.Seen = func(_ context.Context, query string, _ time.Duration) (uint64, error) {
				queries <- query
				return seen, err
			}
		}
	}
	body := `{"name":"a","shape":"top-up","targets":[{"url":%q}],"samples":1000,"duration":"1h","seenQuery":"others"}`
	h := newHouseWith(t, nil, answers(990, nil))
	h.state("POST", "/api/v1/attacks", fmt.Sprintf(body, h.target.URL), 201)
	if query := <-queries; query != "others" {
		t.Errorf("asked %q", query)
	}
	shown := func(h *house, enough func(seenState) bool) seenState {
		var s seenState
		for range 500 {
			if s = h.state("GET", "/api/v1/attacks/a", "", 200); enough(s) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return s
	}
	if s := shown(h, func(s seenState) bool { return s.Seen != nil && *s.Seen == 990 }); s.Seen == nil || *s.Seen != 990 || s.SeenError != "" {
		t.Errorf("shown %+v, want 990 of others", s)
	}
	away := newHouseWith(t, nil, answers(0, errors.New("Prometheus is away")))
	away.state("POST", "/api/v1/attacks", fmt.Sprintf(body, away.target.URL), 201)
	if s := shown(away, func(s seenState) bool { return s.SeenError != "" }); s.SeenError != "Prometheus is away" || s.Seen == nil {
		t.Errorf("shown %+v, want why nothing is known", s)
	}
}

func TestWhoAskedIsPassedOnAndSampledRequestsAreExemplars(t *testing.T) {
	t.Parallel()
	const asked = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	parents := make(chan string, 100)
	h := newHouseWith(t, func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") },
		func(c *Config) { c.Tracing = sdktrace.NewTracerProvider() })
	req, err := http.NewRequestWithContext(t.Context(), "POST", h.api.URL+"/api/v1/attacks", strings.NewReader(h.request("a", 50, "100ms")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", asked)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	h.ended("a")
	if p := <-parents; !strings.HasPrefix(p, asked[:36]) || strings.Contains(p, asked[36:52]) {
		t.Errorf("the target saw %s, want a span of its own in the trace of %s", p, asked)
	}
	req, err = http.NewRequestWithContext(t.Context(), "GET", h.api.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if err := resp.Write(&text); err != nil || !strings.Contains(text.String(), `# {trace_id="`+asked[3:35]+`"}`) {
		t.Errorf("no exemplar in %s (%v)", text.String(), err)
	}
}
