package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// The whole way of one release, asked for from before it is deployed; and what the release before came to never answers for
// it (flagger-facts §0.17).
func TestVerdictFollowsOneDeployID(t *testing.T) {
	h := newHouse(t)
	want := func(id string, state State, says string) Verdict {
		t.Helper()
		v := h.verdict("deploy-id=" + id + "&canary=demo/podinfo")
		if other := h.verdict("deploy-id=" + id); other.State != v.State || other.Mark != v.Mark {
			t.Errorf("without the Canary's name %s is %+v, with it %+v", id, other, v)
		}
		if v.State != state || !strings.Contains(v.Text, says) || v.DeployID != id {
			t.Fatalf("%s is %s: %s; want %s: …%s…", id, v.State, v.Text, state, says)
		}
		return v
	}
	want("v1", NothingToDo, "demo/podinfo runs the deploy id v1 already")
	want("v2", Unknown, "nothing carries the deploy id v2 yet")
	h.set(func(c *rollout.Canary) { c.Revision = revision("v2") })
	h.passes(2)
	want("v2", Waiting, "Flagger has not begun with it (phase Succeeded)")
	want("v1", Unknown, "")

	h.release("v2")
	v := want("v2", UnderWay, "is on its way")
	if len(v.Gates) != 1 || v.Gates[0].Open || v.Verdict == nil || v.Rollout.Revision.DeployID != "v2" || v.Rollout.Weight != 0 {
		t.Errorf("got %+v", v)
	}
	h.weight(10)
	h.passes(2)
	if w := want("v2", UnderWay, "is on its way"); w.Mark == v.Mark || w.Rollout.Weight != 10 || w.Rollout.Canaries.Good != 200 {
		t.Errorf("traffic flows: %+v", w)
	}
	h.ends(rollout.Succeeded)
	want("v2", State(rollout.Promoted), "was promoted")

	// At once after the next helm upgrade everything still says success, of v2.
	h.set(func(c *rollout.Canary) { c.Revision = rollout.Revision{} })
	h.passes(1)
	want("v3", Unknown, "")
	h.set(func(c *rollout.Canary) { c.Revision = revision("v3") })
	h.passes(1)
	want("v3", Waiting, "")
	h.release("v3")
	h.release("v4")
	want("v3", State(rollout.Superseded), "superseded")
	h.weight(10)
	h.bad = 50
	h.passes(200)
	want("v4", UnderWay, "is on its way")
	h.ends(rollout.Failed)
	if v := want("v4", State(rollout.RolledBack), "was rolled back"); len(v.Verdict.Reasons) == 0 || v.Verdict.Outcome != rollout.Fail {
		t.Errorf("got %+v", v.Verdict)
	}
	want("v2", State(rollout.Promoted), "")

	// A pipeline of long ago is run again: the cluster has exactly its template again, and Flagger has not looked yet.
	for _, phase := range []rollout.Phase{rollout.Succeeded, rollout.Failed} {
		h.set(func(c *rollout.Canary) { c.Phase, c.Revision = phase, revision("v2") })
		h.passes(1)
		want("v2", Waiting, "Flagger has not begun with it")
		h.set(func(c *rollout.Canary) { c.Revision = revision("v3") })
		h.passes(1)
		want("v3", Waiting, "Flagger has not begun with it")
	}
	h.set(func(c *rollout.Canary) { c.Revision = revision("v4") })
	h.passes(1)
	want("v4", State(rollout.RolledBack), "was rolled back")

	// The same id on another revision: the result of the first one is not that of the second.
	h.set(func(c *rollout.Canary) { c.Revision.Hash = "another" })
	h.passes(1)
	want("v4", Waiting, "(phase Failed)")

	h.set(func(c *rollout.Canary) { c.Phase, c.Revision = rollout.Initializing, revision("v5") })
	h.passes(1)
	want("v5", Waiting, "Initializing")
}

func TestVerdictOfSeveralCanaries(t *testing.T) {
	h := newHouse(t)
	h.mu.Lock()
	second := h.canaries[podinfo]
	second.Key, second.Revision = cart, revision("v2")
	h.canaries[cart] = second
	h.mu.Unlock()
	h.release("v2")
	if rec := ask(t, h.door, "GET", "/api/v1/verdict?deploy-id=v2", "", ""); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "canary=namespace/name") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if v := h.verdict("deploy-id=v2&canary=shop/cart"); v.State != Waiting || *v.Canary != cart {
		t.Errorf("got %+v", v)
	}
	if v := h.verdict("deploy-id=v2&canary=demo/podinfo"); v.State != UnderWay {
		t.Errorf("got %+v", v)
	}
}

func TestVerdictRefusesWhatItCanNotAnswer(t *testing.T) {
	h := newHouse(t)
	for _, query := range []string{
		"", "deploy-id=", "deploy-id=" + strings.Repeat("x", 301), "deploy-id=v1&canary=podinfo", "deploy-id=v1&canary=a/b/c",
		"deploy-id=v1&wait=soon", "deploy-id=v1&wait=51s", "deploy-id=v1&wait=-1s",
	} {
		if rec := ask(t, h.door, "GET", "/api/v1/verdict?"+query, "", ""); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "error") {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// Answers that wait: for the end, or for news; and they do not outlive the process.
func TestVerdictWaits(t *testing.T) {
	stopping := make(chan struct{})
	h := newHouse(t, func(c *Config) { c.Stopping = stopping })
	h.release("v2")
	under := h.verdict("deploy-id=v2&seen=")
	var group sync.WaitGroup
	answers := map[string]*Verdict{"deploy-id=v2&wait=50s": {}, "deploy-id=v2&wait=50s&seen=" + under.Mark: {}}
	asked := make(chan bool, len(answers))
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		h.door.ServeHTTP(w, r)
	})
	for query, answer := range answers {
		group.Go(func() { *answer = verdictOf(t, busy, query) })
	}
	for range answers {
		<-asked
	}
	h.ends(rollout.Succeeded)
	group.Wait()
	for query, answer := range answers {
		news := strings.Contains(query, "seen") && answer.Mark != under.Mark // of the way to the end, too
		if answer.State != State(rollout.Promoted) && !news {
			t.Errorf("%s: %+v", query, answer)
		}
	}
	if v := h.verdict("deploy-id=v2&wait=50s"); v.State != State(rollout.Promoted) {
		t.Errorf("after the end: %+v", v)
	}
	close(stopping)
	if v := h.verdict("deploy-id=v9&wait=50s"); v.State != Unknown {
		t.Errorf("got %+v", v)
	}
}

func TestEventsOfARollout(t *testing.T) {
	h := newHouse(t)
	id := h.release("v2")
	server := httptest.NewServer(h.door)
	t.Cleanup(server.Close)
	path := "/api/v1/rollouts/" + id + "/events"
	l := listen(t, server, path, "")
	if got := l.resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("it is %q", got)
	}
	first, ok := l.next()
	if !ok || first.name != "state" || !strings.Contains(first.data, `"weight":0`) || !strings.Contains(first.data, `"kind":"approval"`) {
		t.Fatalf("got %+v %v", first, ok)
	}
	again := listen(t, server, path, first.id) // it knows all of that
	h.weight(10)
	h.passes(1)
	for _, l := range []*listener{l, again} {
		if second, ok := l.next(); !ok || second.id == first.id || !strings.Contains(second.data, `"weight":10`) {
			t.Fatalf("got %+v %v", second, ok)
		}
	}
	h.ends(rollout.Succeeded)
	last, ok := l.next()
	for ok && last.name != "end" {
		last, ok = l.next()
	}
	if !ok || !strings.Contains(last.data, `"result":"promoted"`) {
		t.Fatalf("got %+v %v", last, ok)
	}
	if extra, more := l.next(); more {
		t.Errorf("after the end comes %+v", extra)
	}
	if got := listen(t, server, path, last.id); got.resp.StatusCode != http.StatusNoContent {
		t.Errorf("who knows the end and comes again: %s", got.resp.Status)
	}
	if got := listen(t, server, path, ""); got.resp.StatusCode != 200 {
		t.Errorf("who comes late: %s", got.resp.Status)
	} else if e, ok := got.next(); !ok || e.name != "end" {
		t.Errorf("who comes late hears %+v", e)
	}
	if got := listen(t, server, "/api/v1/rollouts/nobody/events", ""); got.resp.StatusCode != http.StatusNotFound {
		t.Errorf("of no rollout: %s", got.resp.Status)
	}
}

func TestStreamsEndWithTheProcess(t *testing.T) {
	stopping := make(chan struct{})
	h := newHouse(t, func(c *Config) { c.Stopping = stopping })
	server := httptest.NewServer(h.door)
	t.Cleanup(server.Close)
	id := h.release("v2")
	l := listen(t, server, "/api/v1/rollouts/"+id+"/events", "")
	if _, ok := l.next(); !ok {
		t.Fatal("nothing was told")
	}
	close(stopping)
	if e, ok := l.next(); ok {
		t.Errorf("it goes on with %+v", e)
	}
}

func TestOnlySoManyStayOpen(t *testing.T) {
	s := stays{of: map[string]int{}}
	open := 0
	for client := range 20 {
		for s.begin(string(rune('a' + client))) {
			open++
		}
	}
	if open != maxStays || s.of["a"] != maxStaysEach {
		t.Errorf("%d stay open, %d of one client", open, s.of["a"])
	}
	s.end("a")
	if !s.begin("a") || s.begin("a") {
		t.Error("a place that was left is not free for one")
	}
	for client, n := range s.of {
		for range n {
			s.end(client)
		}
	}
	if s.all != 0 || len(s.of) != 0 {
		t.Errorf("left: %+v", s.of)
	}
}
