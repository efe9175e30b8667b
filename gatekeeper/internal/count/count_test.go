package count

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func is2xx(status string) bool { return strings.HasPrefix(status, "2") }

var sli = rollout.SLI{Requests: "http_requests_total", Status: "status", IsGood: is2xx}

func TestParse(t *testing.T) {
	page := `# TYPE http_requests_total counter
http_requests_total{method="GET",route="/",status="200"} 10
http_requests_total{method="GET",route="/",status="204"} 2
http_requests_total{method="GET",route="/",status="301"} 3
http_requests_total{method="GET",route="/",status="500"} 4
# TYPE other_total counter
other_total{status="200"} 99
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
`
	got, err := Parse(strings.NewReader(page), sli)
	want := rollout.Reading{Counts: rollout.Counts{Good: 12, Bad: 7}, Start: 1.7e9}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
	if _, err := Parse(strings.NewReader("other_total 1\n"), sli); !errors.Is(err, ErrNoRequestsMetric) {
		t.Errorf("a page without the metric: %v, it must not read as no requests", err)
	}
	if _, err := Parse(strings.NewReader("<html>"), sli); err == nil {
		t.Error("a page that is no metrics page was read")
	}
}

// fakePod serves a metrics page whose counts the test moves.
type fakePod struct {
	good, bad, start atomic.Int64
	broken           atomic.Bool
}

func (p *fakePod) serve(t *testing.T) (address string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if p.broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "http_requests_total{status=\"200\"} %d\nhttp_requests_total{status=\"500\"} %d\nprocess_start_time_seconds %d\n",
			p.good.Load(), p.bad.Load(), p.start.Load())
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestRead(t *testing.T) {
	began := time.Now()
	r := rollout.Rollout{Revision: rollout.Revision{Hash: "new"}, Stable: rollout.Revision{Hash: "old"}, StartedAt: began}
	var canary, primary, other, young fakePod
	primary.good.Store(1000)
	other.good.Store(77)
	young.good.Store(5)
	pod := func(p *fakePod, uid string, track rollout.Track, hash string, created time.Time) rollout.Pod {
		return rollout.Pod{UID: uid, Name: uid, Address: p.serve(t), Path: "/metrics", Track: track, Hash: hash, Ready: true, CreatedAt: created}
	}
	before := began.Add(-time.Hour)
	c := rollout.Canary{Weight: 10, Pods: []rollout.Pod{
		pod(&canary, "c", rollout.TrackCanary, "new", began),
		pod(&primary, "p", rollout.TrackPrimary, "old", before),
		pod(&young, "y", rollout.TrackPrimary, "old", began.Add(time.Second)),
		pod(&other, "x", rollout.TrackCanary, "older", before), // a pod of the revision before, on its way out
		{UID: "pending", Track: rollout.TrackCanary, Hash: "new"},
	}}
	meter, book := New(time.Second, nil), rollout.Book{}
	read := func(s int) rollout.Tick {
		return meter.Read(t.Context(), began.Add(time.Duration(s)*time.Second), r, c, book, sli)
	}

	tick := read(1)
	if tick.Canary != (rollout.Counts{}) || tick.Primary != (rollout.Counts{Good: 5}) || tick.Answering != 1 || tick.Age != 0 || tick.Weight != 10 {
		t.Errorf("first tick: %+v", tick)
	}
	canary.good.Store(9)
	canary.bad.Store(1)
	primary.good.Store(1090)
	if tick = read(2); tick.Canary != (rollout.Counts{Good: 9, Bad: 1}) || tick.Primary != (rollout.Counts{Good: 95}) {
		t.Errorf("second tick: %+v", tick)
	}

	canary.broken.Store(true)
	if tick = read(5); tick.Canary != (rollout.Counts{Good: 9, Bad: 1}) || tick.Age != 3*time.Second || tick.Answering != 0 {
		t.Errorf("a silent pod: %+v, want the old counts, three seconds old", tick)
	}
	canary.broken.Store(false)
	canary.start.Store(1)
	canary.good.Store(2)
	canary.bad.Store(0)
	if tick = read(6); tick.Canary != (rollout.Counts{Good: 11, Bad: 1}) || tick.Age != 0 {
		t.Errorf("a restarted process: %+v", tick)
	}

	c.Pods = c.Pods[1:] // the canary pod is gone
	if tick = read(7); tick.Canary != (rollout.Counts{Good: 11, Bad: 1}) || tick.Answering != 0 {
		t.Errorf("a pod that is gone takes nothing along: %+v", tick)
	}
}

// Most client libraries put a counter with labels on the page with the first response, and that one is counted too.
func TestACounterThatBeginsWithTheFirstResponse(t *testing.T) {
	const text = "text/plain; version=0.0.4; charset=utf-8"
	kind, page := text, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, page)
	}))
	t.Cleanup(server.Close)
	began := time.Now()
	r := rollout.Rollout{Revision: rollout.Revision{Hash: "new"}, StartedAt: began}
	c := rollout.Canary{Weight: 10, Pods: []rollout.Pod{{
		UID: "c", Name: "c", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Hash: "new", Ready: true, CreatedAt: began,
	}}}
	book := rollout.Book{}
	for i, step := range []struct {
		what, kind, page     string
		answering, uncounted int
		good                 uint64
	}{
		{"some text is no metrics page", "text/plain; charset=utf-8", "ok", 0, 0, 0},
		{"nor is a page for browsers", "text/html", "<p>here is nothing</p>", 0, 0, 0},
		{"an empty page, of a process that counts nothing else", text, "", 1, 1, 0},
		{"a page with other metrics", text, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 100\n", 1, 1, 0},
		{"the same in OpenMetrics", "application/openmetrics-text; version=1.0.0", "process_start_time_seconds 100\n# EOF\n", 1, 1, 0},
		{"a counter that is announced", text, "# TYPE http_requests_total counter\nprocess_start_time_seconds 100\n", 1, 0, 0},
		{"the first responses", text, "http_requests_total{status=\"200\"} 3\nprocess_start_time_seconds 100\n", 1, 0, 3},
		{"a counter that is lost is no zero", text, "process_start_time_seconds 100\n", 0, 0, 3},
		{"for it may come back", text, "http_requests_total{status=\"200\"} 4\nprocess_start_time_seconds 100\n", 1, 0, 4},
		{"a new process has counted nothing", text, fmt.Sprintf("process_start_time_seconds %d\n", began.Add(8*time.Second).Unix()), 1, 1, 4},
		{"and counts from zero", text, fmt.Sprintf("http_requests_total{status=\"200\"} 5\nprocess_start_time_seconds %d\n", began.Add(8*time.Second).Unix()), 1, 0, 9},
	} {
		kind, page = step.kind, step.page
		tick := New(time.Second, nil).Read(t.Context(), began.Add(time.Duration(i)*time.Second), r, c, book, sli)
		if tick.NoCounter != (tick.Uncounted > 0) {
			t.Errorf("%s: without a primary, NoCounter is %v", step.what, tick.NoCounter)
		}
		if tick.Answering != step.answering || tick.Uncounted != step.uncounted || tick.Canary != (rollout.Counts{Good: step.good}) {
			t.Errorf("%s: %d answer, %d of them without the counter, %+v, trouble %q", step.what, tick.Answering, tick.Uncounted, tick.Canary, tick.Trouble)
		}
	}
}

// An exporter may leave out what has been idle for long, and say it again with all that it ever counted.
func TestThePrimarysCountBeginsWhereItsCounterIsFirstSeen(t *testing.T) {
	page := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, page)
	}))
	t.Cleanup(server.Close)
	began := time.Now()
	r := rollout.Rollout{Revision: rollout.Revision{Hash: "new"}, Stable: rollout.Revision{Hash: "old"}, StartedAt: began}
	c := rollout.Canary{Pods: []rollout.Pod{{
		UID: "p", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackPrimary, Hash: "old", Ready: true, CreatedAt: began.Add(-time.Hour),
	}}}
	book := rollout.Book{}
	for i, want := range []uint64{0, 0, 7} {
		page = []string{"", "http_requests_total{status=\"200\"} 100000\n", "http_requests_total{status=\"200\"} 100007\n"}[i]
		tick := New(time.Second, nil).Read(t.Context(), began.Add(time.Duration(i)*time.Second), r, c, book, sli)
		if tick.Primary != (rollout.Counts{Good: want}) {
			t.Errorf("page %d: %+v, want %d", i, tick.Primary, want)
		}
	}
}

func TestAPodCanNotSendUsToAnotherHost(t *testing.T) {
	var pod, elsewhere fakePod
	elsewhere.good.Store(1000)
	r := rollout.Rollout{Revision: rollout.Revision{Hash: "new"}}
	for _, path := range []string{"@" + elsewhere.serve(t) + "/metrics", "//" + elsewhere.serve(t) + "/metrics"} {
		c := rollout.Canary{Pods: []rollout.Pod{{UID: "c", Address: pod.serve(t), Path: path, Track: rollout.TrackCanary, Hash: "new"}}}
		if tick := New(time.Second, nil).Read(t.Context(), time.Now(), r, c, rollout.Book{}, sli); tick.Canary.Total() != 0 {
			t.Errorf("%s: counted %+v of another host", path, tick.Canary)
		}
	}
}

func TestReadIsNotHeldUpByOnePod(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	now := time.Now()
	r := rollout.Rollout{Revision: rollout.Revision{Hash: "new"}, StartedAt: now.Add(-time.Minute)}
	c := rollout.Canary{Pods: []rollout.Pod{{
		UID: "c", Address: strings.TrimPrefix(slow.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Hash: "new", Ready: true, CreatedAt: now.Add(-10 * time.Second),
	}}}
	tick := New(20*time.Millisecond, nil).Read(t.Context(), now, r, c, rollout.Book{}, sli)
	if tick.Answering != 0 || tick.Age != 10*time.Second {
		t.Errorf("got %+v, want no answer and an age since the pod came", tick)
	}
}
