package web

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // or each test lists the routes
	os.Exit(m.Run())
}

// house is a scene with one Canary, whose releases are short stories.
type house struct {
	*scene
	bad uint64 // of the canary's 100 responses in each second
}

func newHouse(t *testing.T, furnish ...func(*Config)) *house {
	t.Helper()
	h := &house{scene: newScene(t)}
	cfg := h.config(Access{Anonymous: Viewer, Tokens: secrets(t)})
	for _, f := range furnish {
		f(&cfg)
	}
	h.door = New(cfg)
	h.canaries[podinfo] = rollout.Canary{Key: podinfo, Phase: rollout.Succeeded, Policy: "careful", Revision: revision("v1"), Stable: revision("v1"), Interval: 10 * time.Second, Next: 100}
	h.passes(1)
	return h
}

func revision(id string) rollout.Revision {
	return rollout.Revision{Hash: "hash-" + id, DeployID: id, Image: "registry.example/app:" + id}
}

// set changes the Canary.
func (h *house) set(change func(c *rollout.Canary)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.canaries[podinfo]
	change(&c)
	h.canaries[podinfo] = c
}

// passes lets seconds go by; the canary has responses while it has traffic.
func (h *house) passes(seconds int) {
	h.t.Helper()
	if h.canaries[podinfo].Weight == 0 {
		h.pass(seconds, podinfo, 0, 0)
		return
	}
	h.pass(seconds, podinfo, 100-h.bad, h.bad)
}

// release lets a revision be deployed and Flagger begin with it, and returns the id of its rollout.
func (h *house) release(id string) string {
	h.t.Helper()
	h.set(func(c *rollout.Canary) { c.Revision, c.Phase, c.Weight = revision(id), rollout.Progressing, 0 })
	h.mu.Lock()
	h.counted[podinfo] = [2]rollout.Counts{}
	h.mu.Unlock()
	h.passes(2)
	return h.id(podinfo)
}

func (h *house) weight(percent int) { h.set(func(c *rollout.Canary) { c.Weight = percent }) }

// ends lets Flagger come to rest.
func (h *house) ends(phase rollout.Phase) {
	h.t.Helper()
	h.set(func(c *rollout.Canary) {
		c.Phase, c.Weight = phase, 0
		if phase == rollout.Succeeded {
			c.Stable = c.Revision
		}
	})
	h.passes(2)
}

func (h *house) verdict(query string) Verdict { return verdictOf(h.t, h.door, query) }

func verdictOf(t testing.TB, door http.Handler, query string) (v Verdict) {
	t.Helper()
	rec := ask(t, door, http.MethodGet, "/api/v1/verdict?"+query, "", "")
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusOK {
		t.Errorf("%s: %d %s: %v", query, rec.Code, rec.Body, err)
	}
	return v
}

// event is one of a stream.
type event struct{ id, name, data string }

// listener reads a stream of events from a real server.
type listener struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
}

func listen(t *testing.T, server *httptest.Server, path, lastID string) *listener {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &listener{t, resp, bufio.NewScanner(resp.Body)}
}

// next is the stream's next event, ok is false at its end.
func (l *listener) next() (e event, ok bool) {
	for l.lines.Scan() {
		name, value, _ := strings.Cut(l.lines.Text(), ":")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e, true
			}
		}
	}
	return event{}, false
}
