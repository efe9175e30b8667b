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
