package count

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// id is a trace id made of one digit.
func id(digit string) string { return strings.Repeat(digit, 32) }

// full asks for all that can be read.
func full() rollout.SLI {
	asked := sli
	asked.Duration, asked.Traces = "http_request_duration_seconds", "http_request_duration_seconds"
	return asked
}

// service is one that is instrumented as client_golang's documentation says.
func service() (page http.Handler, observe func(route, status string, seconds float64, trace string)) {
	reg := client.NewRegistry()
	labels := []string{"route", "status"}
	requests := client.NewCounterVec(client.CounterOpts{Name: "http_requests_total", Help: `Answers # {a="b"} 1`}, labels)
	duration := client.NewHistogramVec(client.HistogramOpts{Name: "http_request_duration_seconds", Buckets: []float64{.1, 1}}, labels)
	reg.MustRegister(requests, duration, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	observe = func(route, status string, seconds float64, trace string) {
		requests.WithLabelValues(route, status).(client.ExemplarAdder).AddWithExemplar(1, client.Labels{"trace_id": trace})
		duration.WithLabelValues(route, status).(client.ExemplarObserver).ObserveWithExemplar(seconds, client.Labels{"trace_id": trace, "span_id": "0123456789abcdef"})
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true}), observe
}

// get is the page as who accepts that sees it.
func get(t *testing.T, page http.Handler, accept string) *bytes.Buffer {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Accept", accept)
	page.ServeHTTP(w, r)
	if got := isOpen(w.Header().Get("Content-Type")); got != (accept == openFirst) {
		t.Fatalf("%s gives %s", accept, w.Header().Get("Content-Type"))
	}
	return w.Body
}

func TestBothFormatsSayTheSame(t *testing.T) {
	page, observe := service()
	hostile := "/a\"}\\ # {trace_id=\"" + id("f") + "\"} 1\n"
	for i := range 30 {
		observe("/items", "200", float64(i)/10, id("1"))
		observe(hostile, "404", .05, id("2"))
	}
	observe("/items", "500", 3, id("3"))
	text, err := Parse(get(t, page, textOnly), full())
	if err != nil {
		t.Fatal(err)
	}
	open, err := ParseOpen(get(t, page, openFirst), full())
	if err != nil {
		t.Fatal(err)
	}
	failing := open.Failing
	open.Failing = nil
	if !reflect.DeepEqual(text, open) || text.Counts != (rollout.Counts{Good: 30, Bad: 31}) || len(text.Times.Counts) != 3 || text.Start == 0 {
		t.Errorf("text says %+v, OpenMetrics %+v", text, open)
	}
	slices.SortFunc(failing, func(a, b rollout.Failing) int { return strings.Compare(a.Trace, b.Trace) })
	if len(failing) != 2 || failing[0].Trace != id("2") || failing[0].Route != hostile || failing[1].Trace != id("3") || failing[1].Seconds != 3 || failing[1].Status != "500" {
		t.Errorf("failing are %+v", failing)
	}
	if now := time.Now(); now.Sub(failing[0].At) > time.Minute || failing[0].At.After(now.Add(time.Second)) {
		t.Errorf("the time is %s", failing[0].At)
	}
}

// Pages as libraries of other languages write them.
func TestOpenMetricsOfOthers(t *testing.T) {
	const bad = `http_request_duration_seconds_bucket{status="500",le="+Inf"}`
	for name, c := range map[string]struct {
		page    string
		counts  rollout.Counts
		failing []rollout.Failing
	}{
		"Python": {
			"# HELP http_requests Requests.\n# TYPE http_requests counter\nhttp_requests_total{status=\"200\"} 7.0\nhttp_requests_created{status=\"200\"} 1.79e+09\nhttp_requests_total{status=\"500\"} 1.0\nhttp_requests_created{status=\"500\"} 1.79e+09\n" +
				"# TYPE http_request_duration_seconds histogram\n# UNIT http_request_duration_seconds seconds\n" +
				"http_request_duration_seconds_bucket{le=\"0.5\",status=\"500\"} 0.0\nhttp_request_duration_seconds_bucket{le=\"+Inf\",status=\"500\"} 1.0 # {trace_id=\"" + id("a") + "\"} 0.67 1790000000.789\n" +
				"http_request_duration_seconds_count{status=\"500\"} 1.0\nhttp_request_duration_seconds_sum{status=\"500\"} 0.67\nhttp_request_duration_seconds_created{status=\"500\"} 1.79e+09\n# EOF\n",
			rollout.Counts{Good: 7, Bad: 1},
			[]rollout.Failing{{Trace: id("a"), At: time.UnixMilli(1790000000789).UTC(), Status: "500", Seconds: .67}},
		},
		"a counter with exemplars and times": {
			"http_requests_total{status=\"200\"} 5 1790000000.5 # {trace_id=\"" + id("a") + "\"} 1 1790000000.1\nhttp_requests_total{status=\"500\"} 2 # {} 1\n# EOF\n",
			rollout.Counts{Good: 5, Bad: 2},
			nil,
		},
		"a counter without the suffix in its name": {
			"# TYPE http_requests counter\nhttp_requests_total_total{status=\"200\"} 5\n# EOF\n", rollout.Counts{Good: 5}, nil,
		},
		"exemplars that are none": {
			"http_requests_total{status=\"500\"} 1\n" + bad + " 1 # {trace_id=\"short\"} 1\n" + bad + " 1 # {trace_id=\"" + id("0") + "\"} 1\n" + bad + " 1 # {trace_id=\"" + id("A") + "\"} 1\n" + bad + " 1 # {span_id=\"1\"} 1\n" +
				bad + " 1 # nonsense\n" + bad + " 1 # {trace_id=\"" + id("a") + "\n" + "http_request_duration_seconds_bucket{le=\"1\"} 1 # {trace_id=\"" + id("b") + "\"} 1\n# EOF\n",
			rollout.Counts{Bad: 1},
			nil,
		},
		"numbers that are none": {
			"http_requests_total{status=\"500\"} 1\n" + bad + " 1 # {trace_id=\"" + id("a") + "\"} NaN 1e300\n" + bad + " 1 # {trace_id=\"" + id("b") + "\"} +Inf NaN\n" + bad + " 1 # {trace_id=\"" + id("c") + "\"}\n" + bad + " 1 # {trace_id=\"" + id("d") + "\"} 1e300\n" + bad + " 1 # {trace_id=\"" + id("e") + "\"} 3600.5\n# EOF\nhttp_requests_total{status=\"500\"} 9\n",
			rollout.Counts{Bad: 1},
			[]rollout.Failing{{Trace: id("a"), Status: "500"}, {Trace: id("b"), Status: "500"}, {Trace: id("c"), Status: "500"}, {Trace: id("d"), Status: "500"}, {Trace: id("e"), Status: "500"}},
		},
	} {
		got, err := ParseOpen(strings.NewReader(c.page), full())
		if err != nil || got.Counts != c.counts || !reflect.DeepEqual(got.Failing, c.failing) {
			t.Errorf("%s: got %+v %v, want %+v and %+v", name, got, err, c.counts, c.failing)
		}
	}
}

// A page that is cut off or broken is none.
func TestBrokenOpenMetrics(t *testing.T) {
	for _, page := range []string{
		"", "http_requests_total{status=\"200\"} 5\n", "http_requests_total{status=\"200\n# EOF\n", "http_requests_total{status=\"200\"}\n# EOF\n", "other 1\n# EOF\n",
		"http_requests_total{status=\"200\"} five\n# EOF\n", "http_requests_total{status=\"200\"} -1\n# EOF\n", "# EOF \n",
	} {
		if got, err := ParseOpen(strings.NewReader(page), full()); err == nil {
			t.Errorf("%q was read as %+v", page, got)
		}
	}
	asked := full()
	asked.Requests = "http_requests"
	if got, err := ParseOpen(strings.NewReader("http_requests_total{status=\"200\"} NaN\n# EOF\n"), asked); err == nil || errors.Is(err, ErrNoRequestsMetric) {
		t.Errorf("a counter that is no number: %+v %v", got, err)
	}
	if _, err := ParseOpen(strings.NewReader("other 1\n# EOF\n"), full()); !errors.Is(err, ErrNoRequestsMetric) {
		t.Errorf("a page without the metric: %v", err)
	}
}

// One page names at most some, whatever it has.
func TestFailingRequestsOfOnePageAreBounded(t *testing.T) {
	page := &strings.Builder{}
	page.WriteString("http_requests_total{status=\"500\"} 1\n")
	for i := range 3 * maxFound {
		fmt.Fprintf(page, "http_request_duration_seconds_bucket{status=\"500\",route=%q,le=\"+Inf\"} 1 # {trace_id=\"%032x\"} 1\n", strings.Repeat("ü", maxWord), i+1)
	}
	page.WriteString("# EOF\n")
	got, err := ParseOpen(strings.NewReader(page.String()), full())
	if err != nil || len(got.Failing) != maxFound || len(got.Failing[0].Route) > maxWord+3 {
		t.Errorf("%d, route %q: %v", len(got.Failing), got.Failing[0].Route, err)
	}
}

// Only canary pods are asked for traces, and one whose page with them can not be read is counted all the same.
func TestACanaryThatCanNotSayItInOpenMetrics(t *testing.T) {
	const text = "http_requests_total{status=\"200\"} 5\n"
	for name, open := range map[string]func(w http.ResponseWriter){
		"it is cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
			_, _ = w.Write([]byte(text))
		},
		"it is of another version": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=9.0.0")
			_, _ = w.Write([]byte("{}"))
		},
		"it refuses":                     func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotAcceptable) },
		"it does not know it":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
		"it takes it for something sent": func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnsupportedMediaType) },
		"it breaks":                      func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"it can not now":                 func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"the counter has another name there": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
			_, _ = w.Write([]byte("http_requests_count_total{status=\"200\"} 5\n# EOF\n"))
		},
		"it knows no other than text": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(text))
		},
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if strings.Contains(r.Header.Get("Accept"), "openmetrics") {
				open(w)
				return
			}
			_, _ = w.Write([]byte(text))
		}))
		t.Cleanup(server.Close)
		pod := rollout.Pod{UID: "c", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Ready: true}
		tick := New(time.Second, nil).Read(t.Context(), time.Now(), rollout.Rollout{}, rollout.Canary{Pods: []rollout.Pod{pod}}, rollout.Book{}, full())
		if tick.Canary.Good != 5 || tick.Answering != 1 || tick.Trouble != "" || asked.Load() > 2 {
			t.Errorf("%s: asked %d times, got %+v", name, asked.Load(), tick)
		}
	}
}

// A pod has its time once, whatever it is asked for.
func TestAPodIsNotWaitedForTwice(t *testing.T) {
	const limit = 300 * time.Millisecond
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"it hangs after its headers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"both answers take more than half of it": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(limit * 6 / 10) // as a slow pod does; both together are more than the limit on any machine
			if strings.Contains(r.Header.Get("Accept"), "openmetrics") {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = w.Write([]byte("http_requests_total{status=\"200\"} 5\n"))
		},
	} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			answer(w, r)
		}))
		t.Cleanup(server.Close)
		pod := rollout.Pod{UID: "c", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Ready: true}
		tick := New(limit, nil).Read(t.Context(), time.Now(), rollout.Rollout{}, rollout.Canary{Pods: []rollout.Pod{pod}}, rollout.Book{}, full())
		if tick.Answering != 0 || tick.Trouble == "" || strings.HasPrefix(name, "it hangs") && asked.Load() != 1 {
			t.Errorf("%s: asked %d times, got %+v", name, asked.Load(), tick)
		}
	}
}

// exemplars is a page with failing requests of these traces, each with what follows its value.
func exemplars(behind string, digits ...string) string {
	page := &strings.Builder{}
	page.WriteString("http_requests_total{status=\"500\"} 1\n")
	for _, digit := range digits {
		fmt.Fprintf(page, "http_request_duration_seconds_bucket{status=\"500\",route=\"/%s\",le=\"+Inf\"} 1 # {trace_id=%q} 1%s\n", digit, id(digit), behind)
	}
	page.WriteString("# EOF\n")
	return page.String()
}

// Requests that say that they are to come, or nothing, are of their first sight: they are news once, and give way.
func TestAPodWithAFastClockDoesNotKeepAllPlaces(t *testing.T) {
	began := time.Now()
	for name, behind := range map[string]string{"it is fast": fmt.Sprintf(" %d", began.Add(time.Hour).Unix()), "it says no time": ""} {
		pages := []string{exemplars(behind, "1", "2", "3", "4", "5", "6"), exemplars("")}
		c := rollout.Canary{Weight: 10}
		for i := range pages {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
				_, _ = w.Write([]byte(pages[i]))
			}))
			t.Cleanup(server.Close)
			uid := fmt.Sprint("pod", i)
			c.Pods = append(c.Pods, rollout.Pod{UID: uid, Name: uid, Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Hash: "new", Ready: true})
		}
		meter, book := New(time.Second, nil), rollout.Book{}
		r := rollout.Rollout{StartedAt: began, Revision: rollout.Revision{Hash: "new"}}
		read := func(s int) int {
			now := began.Add(time.Duration(s) * time.Second)
			meter.wall = func() time.Time { return now }
			tick := meter.Read(t.Context(), now, r, c, book, full())
			for _, f := range tick.Failing {
				if f.At.After(now) {
					t.Errorf("%s: a request of %s, at %s", name, f.At, now)
				}
			}
			r.Observe(tick)
			return len(tick.Failing)
		}
		if first, second := read(1), read(2); first != 5 || second != 0 {
			t.Errorf("%s: %d news, then %d", name, first, second)
		}
		pages[1] = exemplars(fmt.Sprintf(" %d", began.Add(10*time.Second).Unix()), "a", "b", "c", "d", "e")
		if third, fourth := read(11), read(12); third != 5 || fourth != 0 || !slices.ContainsFunc(r.Failing, func(f rollout.Failing) bool { return f.Trace == id("a") }) {
			t.Errorf("%s: %d news, then %d: %+v", name, third, fourth, r.Failing)
		}
	}
}

// A rollout's own time does not step when the node's clock, which its pods have, is set.
func TestFailingRequestsAfterTheClockWasSet(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		page, observe := service()
		server := httptest.NewServer(page)
		t.Cleanup(server.Close)
		now := time.Now().Add(ahead)
		r := rollout.Rollout{StartedAt: now, Revision: rollout.Revision{Hash: "new"}}
		c := rollout.Canary{Pods: []rollout.Pod{{UID: "c", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/metrics", Track: rollout.TrackCanary, Hash: "new", Ready: true}}}
		observe("/a", "500", .01, id("2"))
		if tick := New(time.Second, nil).Read(t.Context(), now, r, c, rollout.Book{}, full()); len(tick.Failing) != 1 {
			t.Errorf("own time %s from the pod's: %+v", ahead, tick)
		}
	}
}

// A tick has what is news, the newest, of this rollout.
func TestFailingRequestsOfARollout(t *testing.T) {
	page, observe := service()
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	meter, book := New(time.Second, nil), rollout.Book{}
	r := rollout.Rollout{StartedAt: time.Now(), Revision: rollout.Revision{Hash: "new"}, Stable: rollout.Revision{Hash: "old"}}
	c := rollout.Canary{Weight: 10, Pods: []rollout.Pod{
		{UID: "c", Address: address, Path: "/metrics", Track: rollout.TrackCanary, Hash: "new", Ready: true},
		{UID: "p", Address: address, Path: "/metrics", Track: rollout.TrackPrimary, Hash: "old", Ready: true},
	}}
	read := func() (news []string) {
		tick := meter.Read(t.Context(), time.Now(), r, c, book, full())
		for _, f := range tick.Failing {
			news = append(news, f.Trace[:1])
		}
		r.Observe(tick)
		return news
	}
	observe("/a", "200", .01, id("1"))
	if news := read(); news != nil {
		t.Errorf("a good request is news: %v", news)
	}
	observe("/a", "500", .01, id("2"))
	if news := read(); !slices.Equal(news, []string{"2"}) {
		t.Errorf("news %v", news)
	}
	for _, digit := range []string{"3", "4", "5", "6", "7"} {
		observe("/"+digit, "500", .01, id(digit)) // each in a series of its own; of one moment, they come in the order of their ids
	}
	if news := read(); !slices.Equal(news, []string{"3", "4", "5", "6", "7"}) {
		t.Errorf("news %v", news)
	}
	if news := read(); news != nil { // what was crowded out does not come again
		t.Errorf("news %v", news)
	}
	if len(r.Failing) != 5 || r.Failing[4].Trace != id("7") || r.Failing[4].Route != "/7" || r.Latest.Failing != nil {
		t.Errorf("it remembers %+v", r.Failing)
	}
	r.StartedAt, r.Failing = time.Now().Add(time.Hour), nil
	if news := read(); news != nil {
		t.Errorf("news of a rollout before: %v", news)
	}
}

// Any page is read or refused, and what it names can be written down.
func FuzzParseOpen(f *testing.F) {
	page, observe := service()
	observe("/\"}", "500", .01, id("2"))
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(f.Context(), http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Accept", openFirst)
	page.ServeHTTP(w, r)
	f.Add(w.Body.String())
	f.Add("http_requests_total{status=\"200\"} 5 # {trace_id=\"\"} 1 1\n# EOF\n")
	f.Add("http_request_duration_seconds_bucket{status=\"500\",le=\"1\"} 1 # {trace_id=\"" + id("a") + "\"} NaN Inf\n# EOF\n")
	f.Fuzz(func(t *testing.T, page string) {
		got, err := ParseOpen(strings.NewReader(page), full())
		if err != nil {
			return
		}
		if len(got.Times.Counts) != 0 && len(got.Times.Counts) != len(got.Times.Bounds)+1 || len(got.Failing) > maxFound {
			t.Errorf("got %+v", got)
		}
		for _, f := range got.Failing {
			if !isTrace(f.Trace) || f.Seconds < 0 || f.At.Year() > 2100 {
				t.Errorf("got %+v", f)
			}
		}
	})
}

// What a page costs in each format: OpenMetrics is read from every canary pod every second.
func BenchmarkPages(b *testing.B) {
	page, observe := service()
	for route := range 5 {
		for _, status := range []string{"200", "201", "404", "500"} {
			observe(fmt.Sprintf("/r%d", route), status, .05, id("1"))
		}
	}
	for name, read := range map[string]struct {
		accept string
		parse  func(io.Reader, rollout.SLI) (rollout.Reading, error)
	}{"text": {textOnly, Parse}, "OpenMetrics": {openFirst, ParseOpen}} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", http.NoBody)
		r.Header.Set("Accept", read.accept)
		page.ServeHTTP(w, r)
		text := w.Body.Bytes()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read.parse(bytes.NewReader(text), full()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
