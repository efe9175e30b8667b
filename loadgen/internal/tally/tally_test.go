package tally

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSummaryAddsUp(t *testing.T) {
	t.Parallel()
	sum := New()
	for _, code := range []int{200, 201, 204, 302, 404, 500, 500} {
		sum.Add(code, time.Millisecond, "")
	}
	sum.Add(0, time.Second, "connection refused")
	s := sum.Summary()
	want := map[string]uint64{"200": 1, "201": 1, "204": 1, "302": 1, "404": 1, "500": 2, "0": 1}
	if s.Requests != 8 || fmt.Sprint(s.Codes) != fmt.Sprint(want) {
		t.Errorf("%d requests, codes %v; want 8 and %v", s.Requests, s.Codes, want)
	}
	if s.Success != 3.0/8 {
		t.Errorf("success %v: only 2xx are good, want 0.375", s.Success)
	}
	if len(s.Errors) != 1 || s.Errors["connection refused"] != 1 {
		t.Errorf("errors %v, want the one that had no answer", s.Errors)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	sum := New()
	for i := 1; i <= 1000; i++ {
		sum.Add(200, time.Duration(i)*time.Millisecond, "")
	}
	l := sum.Summary().Latency
	for _, tc := range []struct {
		name      string
		got, want Duration
	}{
		{"p50", l.P50, Duration(500 * time.Millisecond)},
		{"p95", l.P95, Duration(950 * time.Millisecond)},
		{"p99", l.P99, Duration(990 * time.Millisecond)},
	} {
		if off := float64(tc.got-tc.want) / float64(tc.want); off < -0.001 || off > 0.001 {
			t.Errorf("%s is %s, want %s within a thousandth", tc.name, tc.got, tc.want)
		}
	}
	if l.Max != Duration(time.Second) {
		t.Errorf("max is %s, want exactly 1s", l.Max)
	}
}

func TestLatencyOutsideTheRangeIsKept(t *testing.T) {
	t.Parallel()
	sum := New()
	sum.Add(200, -time.Second, "")
	sum.Add(200, 3*time.Hour, "")
	if s := sum.Summary(); s.Requests != 2 || s.Latency.Max != Duration(3*time.Hour) || s.Latency.P50 > Duration(time.Millisecond) {
		t.Errorf("summary %+v", s)
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	t.Parallel()
	sum := New()
	for i := range 1000 {
		sum.Add(0, time.Millisecond, fmt.Sprintf("%d %s", i, strings.Repeat("ü", 500)))
	}
	s := sum.Summary()
	total := uint64(0)
	for text, n := range s.Errors {
		total += n
		if len(text) > maxErrorText+len("…") || strings.ContainsRune(text, '\uFFFD') {
			t.Errorf("text of %d bytes: %q", len(text), text)
		}
	}
	if len(s.Errors) != maxErrors+1 || total != 1000 || s.Errors[otherErrors] != 1000-maxErrors {
		t.Errorf("%d texts for %d errors, %d of them other", len(s.Errors), total, s.Errors[otherErrors])
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	sum := New()
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			for range 500 {
				sum.Add(200, time.Millisecond, "")
				_ = sum.Summary().Requests
			}
		})
	}
	adding.Wait()
	if n := sum.Summary().Requests; n != 4000 {
		t.Errorf("%d requests, want 4000", n)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	share := func(f float64) *float64 { return &f }
	most := func(d time.Duration) *time.Duration { return &d }
	for _, tc := range []struct {
		proves    string
		good, bad int
		asked     Thresholds
		missed    int // lines
	}{
		{"all good passes with nothing allowed", 10, 0, Thresholds{ErrorRate: share(0)}, 0},
		{"one bad misses when nothing is allowed", 999, 1, Thresholds{ErrorRate: share(0)}, 1},
		{"as many as allowed pass", 99, 1, Thresholds{ErrorRate: share(0.01)}, 0},
		{"one more misses", 98, 2, Thresholds{ErrorRate: share(0.01)}, 1},
		{"all bad pass when all are allowed", 0, 10, Thresholds{ErrorRate: share(1)}, 0},
		{"all bad pass when nothing is asked", 0, 10, Thresholds{}, 0},
		{"a p99 as large as allowed passes", 10, 0, Thresholds{P99: most(time.Millisecond)}, 0},
		{"a larger p99 misses", 10, 0, Thresholds{P99: most(999 * time.Microsecond)}, 1},
		{"each missed threshold has its line", 0, 10, Thresholds{ErrorRate: share(0), P99: most(1)}, 2},
		{"no requests prove nothing", 0, 0, Thresholds{ErrorRate: share(1)}, 1},
		{"no requests prove no latency", 0, 0, Thresholds{P99: most(time.Hour)}, 1},
		{"no requests are no fault when nothing is asked", 0, 0, Thresholds{}, 0},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			sum := New()
			for range tc.good {
				sum.Add(200, time.Millisecond, "")
			}
			for range tc.bad {
				sum.Add(503, time.Millisecond, "")
			}
			err := sum.Summary().Check(tc.asked)
			if errors.Is(err, ErrMissed) != (tc.missed > 0) || (err != nil && strings.Count(err.Error(), "\n") != tc.missed-1) {
				t.Errorf("Check: %v, want %d lines", err, tc.missed)
			}
		})
	}
}

func TestUnfinishedRequestsAreInNoOtherCount(t *testing.T) {
	t.Parallel()
	sum := New()
	sum.Add(200, time.Millisecond, "")
	sum.AddUnfinished()
	sum.AddUnfinished()
	if s := sum.Summary(); s.Unfinished != 2 || s.Requests != 1 || s.Success != 1 || len(s.Codes) != 1 || len(s.Errors) != 0 {
		t.Errorf("summary %+v", s)
	}
}

func TestWriteHDR(t *testing.T) {
	t.Parallel()
	sum := New()
	for i := 1; i <= 1000; i++ {
		sum.Add(200, time.Duration(i)*time.Millisecond, "")
	}
	var text bytes.Buffer
	if err := sum.WriteHDR(&text); err != nil {
		t.Fatal(err)
	}
	// Value in milliseconds, percentile, count so far, 1/(1-percentile).
	for _, want := range []string{"Value", "0.500000          500         2.00", "1.000000         1000", "Total count    =         1000"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if first := strings.Fields(strings.Split(text.String(), "\n")[2]); len(first) != 4 || !strings.HasPrefix(first[0], "1.0") {
		t.Errorf("the first line is %q, want 1 ms", first)
	}
}

func TestWriters(t *testing.T) {
	t.Parallel()
	sum := New()
	sum.Add(200, 1500*time.Microsecond, "")
	sum.Add(0, 2*time.Millisecond, "EOF")
	sum.AddUnfinished()
	var text, document bytes.Buffer
	if err := errors.Join(sum.Summary().WriteText(&text), sum.Summary().WriteJSON(&document)); err != nil {
		t.Fatal(err)
	}
	wantText := "requests  2\nsuccess   50.00 %\nlatency   p50 1.5ms   p95 2ms   p99 2ms   max 2ms\ncut off   1 when it was stopped\ncode 0    1\ncode 200  1\nerror     1 × EOF\n"
	if text.String() != wantText {
		t.Errorf("text is\n%swant\n%s", text.String(), wantText)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, document.Bytes()); err != nil {
		t.Fatal(err)
	}
	wantJSON := `{"requests":2,"codes":{"0":1,"200":1},"errors":{"EOF":1},"success":0.5,"latency":{"p50":"1.5ms","p95":"2ms","p99":"2ms","max":"2ms"},"latencySeconds":{"p50":0.0015,"p95":0.002,"p99":0.002,"max":0.002},"unfinished":1}`
	if compact.String() != wantJSON {
		t.Errorf("JSON is\n%s\nwant\n%s", compact.String(), wantJSON)
	}
}
