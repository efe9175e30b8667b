package api

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// lost sends a request that must end without an answer, and returns how.
func (s *service) lost(path string) error {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if len(got) > 0 {
		s.t.Errorf("GET %s was answered: %s", path, got)
	}
	return err
}

func TestAnAbortResetsTheConnectionAndCountsAsNoAnswer(t *testing.T) {
	s := start(t, secret)
	if got := s.admin("PUT", `{"abortRate":1,"ttl":"1m","routes":["/api/items"]}`); got.status != 200 {
		t.Fatal(got.body)
	}
	if n, ok := series(s.scrape()["http_requests_errors_total"])["GET /api/items 0"]; !ok || n != 0 {
		t.Error("no answer has no series at zero when the plan is set")
	}
	if err := s.lost("/api/items"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
	if got := s.do("GET", "/", ""); got.status != 200 {
		t.Errorf("another route: %d", got.status)
	}
	eventually(t, "it is counted with status 0", func() bool {
		families := s.scrape()
		for _, name := range []string{"http_requests_total", "http_requests_errors_total", "http_request_duration_seconds"} {
			if moved(series(families[name]))["GET /api/items 0"] != 1 {
				return false
			}
		}
		return families["http_requests_in_flight"].GetMetric()[0].GetGauge().GetValue() == 0
	})
}

func TestAHangEndsWithThePlanWithClearingAndWithTheDrain(t *testing.T) {
	for name, end := range map[string]func(*service){
		"by its time to live":    func(*service) {},
		"when it is cleared":     func(s *service) { s.admin("DELETE", "") },
		"when it is replaced":    func(s *service) { s.admin("PUT", `{"latency":"1ms","ttl":"1m"}`) },
		"when the service stops": func(s *service) { s.Drain() },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, secret)
			ttl := "1h"
			if name == "by its time to live" {
				ttl = "300ms"
			}
			s.admin("PUT", `{"hangRate":1,"ttl":"`+ttl+`"}`)
			ended := make(chan error, 1)
			go func() { ended <- s.lost("/") }()
			eventually(t, "the request hangs", func() bool { return s.injected(chaos.Hang) == 1 })
			select {
			case err := <-ended:
				if ttl == "1h" {
					t.Fatalf("it ended by itself: %v", err)
				}
				return
			default:
			}
			end(s)
			if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the request still hangs")
			}
			eventually(t, "it is counted with status 0", func() bool {
				return moved(series(s.scrape()["http_requests_errors_total"]))["GET / 0"] == 1
			})
		})
	}
}

// gauges reads a family of one value per kind, or of one value ("").
func (s *service) gauges(name string) map[string]float64 {
	s.t.Helper()
	out := map[string]float64{}
	for _, m := range s.scrape()[name].GetMetric() {
		out[labelsOf(m)["kind"]] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return out
}

func (s *service) injected(kind chaos.Kind) float64 {
	return s.gauges("chaos_faults_total")[string(kind)]
}

func TestMetricsShowThePlanInForce(t *testing.T) {
	s := start(t, secret)
	none := map[string]float64{}
	for _, kind := range chaos.Kinds() {
		none[string(kind)] = 0
	}
	shows := func(active, end float64, asked map[string]float64) {
		t.Helper()
		want := map[string]float64{}
		for kind := range none {
			want[kind] = asked[kind]
		}
		if got := s.gauges("chaos_fault"); !equal(got, want) {
			t.Errorf("chaos_fault is %v, want %v", got, want)
		}
		if got := s.gauges("chaos_plan_active")[""]; got != active {
			t.Errorf("chaos_plan_active is %v, want %v", got, active)
		}
		if got := s.gauges("chaos_plan_end_timestamp_seconds")[""]; got != end {
			t.Errorf("chaos_plan_end_timestamp_seconds is %v, want %v", got, end)
		}
	}
	shows(0, 0, nil)
	s.admin("PUT", `{"errorRate":0.5,"abortRate":0.25,"hangRate":0.25,"latency":"2ms","jitter":"1ms","unready":true,"crashAfter":"50s","memory":"1Ki","cpu":1,"ttl":"1m"}`)
	shows(1, float64(s.clock.Now().Add(time.Minute).Unix()), map[string]float64{
		"error": 0.5, "abort": 0.25, "hang": 0.25, "latency": 0.002, "jitter": 0.001, "unready": 1, "crash": 50, "memory": 1024, "cpu": 1,
	})
	s.admin("PUT", `{"errorRate":1,"ttl":"1m"}`)
	shows(1, float64(s.clock.Now().Add(time.Minute).Unix()), map[string]float64{"error": 1})
	for range 3 {
		s.do("GET", "/", "")
	}
	s.clock.advance(time.Minute)
	shows(0, 0, nil)
	s.do("GET", "/", "")
	if got := s.injected(chaos.Error); got != 3 {
		t.Errorf("%v injected errors are counted, want 3", got)
	}
}

func equal(a, b map[string]float64) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return true
}

func TestAnUnreadyPlanTurnsReadinessAloneAndOnlyForItsTime(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"unready":true,"ttl":"1m"}`)
	isProblem(t, s.do("GET", "/readyz", ""), 503, "")
	for _, path := range []string{"/healthz", "/", "/metrics"} {
		if got := s.do("GET", path, ""); got.status != 200 || got.header.Get("Connection") == "close" {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	s.clock.advance(time.Minute)
	if got := s.do("GET", "/readyz", ""); got.status != 200 {
		t.Errorf("after the plan: %d", got.status)
	}
}

func TestACrashIsSaidAndThenDone(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"crashAfter":"100ms","ttl":"1m"}`)
	select {
	case <-s.crash:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not crash")
	}
	if !strings.Contains(s.log.String(), `"level":"ERROR","msg":"crashing, as the chaos plan asks"`) {
		t.Errorf("the log does not say so:\n%s", s.log)
	}
}

func TestACrashThatIsClearedDoesNotHappen(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"crashAfter":"30s","ttl":"1m"}`)
	s.admin("DELETE", "") // returns only when what would crash is gone
	if got := s.injected(chaos.Crash); got != 0 {
		t.Errorf("%v crashes", got)
	}
}

func TestTheSwitchSaysWhoItIsAndHowLongThePlanHas(t *testing.T) {
	s := start(t, secret)
	s.admin("PUT", `{"errorRate":1,"ttl":"10m"}`)
	s.clock.advance(4 * time.Minute)
	var got struct {
		Active           bool
		Until, Remaining string
		Pod              map[string]string
		Plan             map[string]any
	}
	if err := json.Unmarshal([]byte(s.admin("GET", "").body), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Active || got.Until != "2026-01-02T03:14:05Z" || got.Remaining != "6m0s" || got.Plan["errorRate"] != 1.0 {
		t.Errorf("got %+v", got)
	}
	if got.Pod["name"] != "pod-1" || got.Pod["version"] != "1.2.3" || got.Pod["revision"] != "abc123" {
		t.Errorf("the pod is %v", got.Pod)
	}
}
