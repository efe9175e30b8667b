package fire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// counting is a server that speaks HTTP/1.1 and HTTP/2, with TLS if wanted, and
// counts its connections.
func counting(t *testing.T, withTLS bool, handler http.HandlerFunc) (server *httptest.Server, opened *atomic.Int64) {
	t.Helper()
	opened = new(atomic.Int64)
	server = httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	if withTLS {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, opened
}

func TestHTTPVersionConnectionsAndTLS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves  string
		tls     bool
		options Options
		version string // empty: no answer
		opened  int64  // 0: any number
	}{
		{"auto is 1.1 without TLS", false, Options{}, "HTTP/1.1", 0},
		{"2 needs no TLS", false, Options{HTTP: "2"}, "HTTP/2.0", 1},
		{"1.1 without TLS", false, Options{HTTP: "1.1"}, "HTTP/1.1", 0},
		{"auto is 2 when TLS offers it", true, Options{HTTP: "auto", TLS: &tls.Config{}}, "HTTP/2.0", 0},
		{"1.1 when TLS offers 2", true, Options{HTTP: "1.1", TLS: &tls.Config{}}, "HTTP/1.1", 0},
		{"2 with TLS", true, Options{HTTP: "2", TLS: &tls.Config{}}, "HTTP/2.0", 0},
		{"an unknown authority gives no answer", true, Options{}, "", 0},
		{"without check it does", true, Options{TLS: &tls.Config{InsecureSkipVerify: true}}, "HTTP/2.0", 0},
		{"one connection when one is allowed", false, Options{Connections: 1}, "HTTP/1.1", 1},
		{"a new connection for each without keep-alive", false, Options{NoKeepAlive: true}, "HTTP/1.1", 10},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			versions := make(chan string, 100)
			server, opened := counting(t, tc.tls, func(_ http.ResponseWriter, r *http.Request) { versions <- r.Proto })
			if tc.options.TLS != nil && !tc.options.TLS.InsecureSkipVerify {
				pool := x509.NewCertPool()
				pool.AddCert(server.Certificate())
				tc.options.TLS.RootCAs = pool
			}
			tc.options.Timeout = patient
			results := fire(t.Context(), t, []Target{{URL: server.URL}}, constant(t, 100, 100*time.Millisecond), tc.options)
			close(versions)
			if len(results) != 10 {
				t.Fatalf("%d results, want 10", len(results))
			}
			for _, r := range results {
				if (r.Code == 200) != (tc.version != "") {
					t.Errorf("code %d, %s", r.Code, r.Error)
				}
			}
			for version := range versions {
				if version != tc.version {
					t.Errorf("asked in %s, want %s", version, tc.version)
				}
			}
			if tc.opened > 0 && opened.Load() != tc.opened {
				t.Errorf("%d connections, want %d", opened.Load(), tc.opened)
			}
		})
	}
}

func weight(n int) *int { return &n }

func TestWeightsAreKeptAndSpreadOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves  string
		weights []int
		order   string
	}{
		{"one after the other without weights", []int{1, 1, 1}, "abc"},
		{"the heavy one is not sent in a row", []int{5, 1, 1}, "aabacaa"},
		{"a common factor goes out", []int{500, 1000}, "bab"},
		{"one alone", []int{1000}, "a"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			turns, err := order(tc.weights)
			var got strings.Builder
			for _, turn := range turns {
				got.WriteByte(byte('a' + turn))
			}
			if err != nil || got.String() != tc.order {
				t.Errorf("sent as %s, want %s (%v)", got.String(), tc.order, err)
			}
		})
	}
	if _, err := order([]int{1000, 999, 998, 997, 996, 995, 994, 993, 992, 991, 990}); err == nil {
		t.Error("an order that repeats after more than 10,000 was taken")
	}
}

func TestTargetsAreSentByWeight(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.Method + r.URL.Path }))
	defer server.Close()
	targets := []Target{{URL: server.URL + "/read", Weight: weight(3)}, {Method: "POST", URL: server.URL + "/write", Body: "{}"}}
	fire(t.Context(), t, targets, constant(t, 200, 200*time.Millisecond), Options{Timeout: patient})
	close(paths)
	seen := map[string]int{}
	for path := range paths {
		seen[path]++
	}
	if seen["GET/read"] != 30 || seen["POST/write"] != 10 {
		t.Errorf("sent %v, want 30 and 10", seen)
	}
}

func TestReadTargets(t *testing.T) {
	t.Parallel()
	one := `{"url":"http://h/"}`
	for _, tc := range []struct {
		proves, text string
		want         int
		err          string
	}{
		{"an array", " \n[" + one + "," + one + "]\n", 2, ""},
		{"one object after the other", one + "\n" + one + one, 3, ""},
		{"all fields", `{"method":"POST","url":"http://h","header":{"A":["b"]},"body":"c","weight":7}`, 1, ""},
		{"an empty array is for the plan to refuse", "[]", 0, ""},
		{"nothing", " ", 0, "there are none"},
		{"a misspelt field", one + `{"url":"http://h","headers":{}}`, 0, `target 2: json: unknown field "headers"`},
		{"a weight that is not whole", `[` + one + `,{"url":"http://h","weight":1.5}]`, 0, "target 2"},
		{"an array that does not end", "[" + one, 0, "after target 1"},
		{"something after the array", "[" + one + "]" + one, 0, "after target 1"},
		{"a bracket too many", one + "}", 0, "after target 1"},
		{"no JSON", "GET http://h", 0, "target 1"},
		{"too many", strings.Repeat(one, maxTargets+1), 0, "at most 1000"},
		{"too long", `{"body":"` + strings.Repeat("x", maxFile) + `"}`, 0, "over 10485760 bytes"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			targets, err := ReadTargets(strings.NewReader(tc.text))
			if len(targets) != tc.want || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%d targets, %v; want %d, %q", len(targets), err, tc.want, tc.err)
			}
		})
	}
}

// asked is a span of somebody who asked for an attack.
func asked() trace.SpanContext {
	state, _ := trace.ParseTraceState("vendor=1")
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
}

func TestTraceContext(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves  string
		tracing bool
		parent  trace.SpanContext
		header  http.Header
		check   func(parent string, span *tracetest.SpanStub) bool
	}{
		{
			"nothing is sent when nobody traces", false,
			trace.SpanContext{},
			nil,
			func(p string, s *tracetest.SpanStub) bool { return p == "" && s == nil },
		},
		{
			"who asked is passed on", false, asked(), nil,
			func(p string, s *tracetest.SpanStub) bool {
				return p == "00-01020000000000000000000000000000-0300000000000000-01" && s == nil
			},
		},
		{
			"a target's own header stays", false, asked(),
			http.Header{"traceparent": {"mine"}},
			func(p string, _ *tracetest.SpanStub) bool { return p == "mine" },
		},
		{
			"a span's id reaches the server", true,
			trace.SpanContext{},
			nil,
			func(p string, s *tracetest.SpanStub) bool {
				return s != nil && strings.Contains(p, s.SpanContext.TraceID().String()+"-"+s.SpanContext.SpanID().String())
			},
		},
		{
			"a span continues who asked", true, asked(), nil,
			func(p string, s *tracetest.SpanStub) bool {
				return s != nil && s.Parent.SpanID() == asked().SpanID() && strings.HasPrefix(p, "00-0102") && !strings.Contains(p, "-0300000000000000-")
			},
		},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			got := make(chan http.Header, 1)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
			defer server.Close()
			spans := tracetest.NewInMemoryExporter()
			options := Options{Timeout: patient, Parent: tc.parent}
			if tc.tracing {
				options.Tracing = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
			}
			results := fire(t.Context(), t, []Target{{URL: server.URL, Header: tc.header}}, constant(t, 1, time.Second), options)
			var span *tracetest.SpanStub
			if all := spans.GetSpans(); len(all) > 0 {
				span = &all[0]
			}
			header := <-got
			if !tc.check(header.Get("Traceparent"), span) {
				t.Errorf("traceparent %q, span %+v", header.Get("Traceparent"), span)
			}
			if tc.parent.IsValid() && tc.header == nil && header.Get("Tracestate") != "vendor=1" {
				t.Errorf("tracestate %q", header.Get("Tracestate"))
			}
			if want := span != nil; (results[0].Trace != "") != want || (want && results[0].Trace != span.SpanContext.TraceID().String()) {
				t.Errorf("the result has trace %q", results[0].Trace)
			}
		})
	}
}

func TestARequestIsSentOnceAlsoWithASpan(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if seen.Add(1)%3 == 0 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	results := fire(t.Context(), t, []Target{{URL: server.URL}}, constant(t, 40, 500*time.Millisecond),
		Options{Timeout: patient, Tracing: sdktrace.NewTracerProvider()})
	if int64(len(results)) != seen.Load() {
		t.Errorf("counted %d, the server saw %d", len(results), seen.Load())
	}
}

func TestTopUpLeavesToOthersWhatTheySend(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	topUp := shaped(t, shape.Spec{Kind: "top-up", Samples: 100, Rate: 1000, Duration: time.Second})
	for _, tc := range []struct {
		proves   string
		seen     Seen
		min, max int
		failed   bool
	}{
		{"all is sent when nobody is asked", nil, 100, 100, false},
		{"nothing more once others are known to send enough", func(context.Context, time.Duration) (uint64, error) { return 1000, nil }, 0, 30, false},
		{"the lack alone", func(context.Context, time.Duration) (uint64, error) { return 60, nil }, 40, 40, false},
		{"all, when nobody answers", func(context.Context, time.Duration) (uint64, error) { return 0, errors.New("away") }, 100, 100, true},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			plan, err := NewPlan("", []Target{{URL: server.URL}}, topUp, Options{Timeout: patient, Seen: tc.seen})
			if err != nil {
				t.Fatal(err)
			}
			attack := plan.Attack()
			n := 0
			attack.Run(t.Context(), func(Result) { n++ })
			if n < tc.min || n > tc.max {
				t.Errorf("%d were sent, want %d to %d", n, tc.min, tc.max)
			}
			p := attack.Progress()
			if p.Asked != (tc.seen != nil) || (p.SeenError != nil) != tc.failed || p.Sent != uint64(n) || p.Due != uint64(n) {
				t.Errorf("progress %+v after %d", p, n)
			}
		})
	}
	if _, err := NewPlan("", []Target{{URL: server.URL}}, constant(t, 1, time.Second), Options{
		Timeout: patient, Seen: func(context.Context, time.Duration) (uint64, error) { return 0, nil },
	}); err == nil {
		t.Error("a constant rate that asks what others send was taken")
	}
}

func TestProgressTellsWhatIsHeldUp(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release }))
	defer server.Close()
	plan, err := NewPlan("", []Target{{URL: server.URL}}, constant(t, 1000, 100*time.Millisecond), Options{Timeout: patient, InFlight: 2})
	if err != nil {
		t.Fatal(err)
	}
	attack := plan.Attack()
	if p := attack.Progress(); p != (Progress{}) {
		t.Errorf("before the start %+v", p)
	}
	done := make(chan struct{})
	go func() { attack.Run(t.Context(), func(Result) {}); close(done) }()
	<-arrived
	<-arrived
	for attack.Progress().Due < 100 {
		time.Sleep(time.Millisecond)
	}
	// The second of two may not have been noted yet: the next one waits for a worker.
	if p := attack.Progress(); p.Sent > 2 || p.InFlight != p.Sent || p.Due != 100 {
		t.Errorf("while two hang: %+v", p)
	}
	close(release)
	<-done
	if p := attack.Progress(); p.Sent != 100 || p.InFlight != 0 || p.Rate != 0 {
		t.Errorf("at the end: %+v", p)
	}
}

func TestARecordIsReadBackByVegeta(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%4 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	plan, err := NewPlan("saved", []Target{{URL: server.URL + "/x"}}, constant(t, 200, 500*time.Millisecond), Options{Timeout: patient})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	record := Recorder(&file)
	var latencies []time.Duration
	plan.Attack().Run(t.Context(), func(r Result) {
		latencies = append(latencies, r.Latency)
		if err := record(r); err != nil {
			t.Error(err)
		}
	})
	if err := record(Result{Unfinished: true}); err != nil {
		t.Error(err)
	}
	var report vegeta.Metrics
	decode := vegeta.DecoderFor(&file)
	for {
		var r vegeta.Result
		if err := decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if r.URL != server.URL+"/x" || r.Method != "GET" || r.Attack != "saved" {
			t.Fatalf("read %+v", r)
		}
		report.Add(&r)
	}
	report.Close()
	slices.Sort(latencies)
	if report.Requests != 100 || report.StatusCodes["200"] != 75 || report.StatusCodes["503"] != 25 {
		t.Errorf("vegeta reads %d requests, %v", report.Requests, report.StatusCodes)
	}
	// The first and the last were due 99 intervals apart.
	if off := report.Latest.Sub(report.Earliest) - 495*time.Millisecond; off.Abs() > time.Microsecond {
		t.Errorf("vegeta reads requests over %s", report.Latest.Sub(report.Earliest))
	}
	if report.Latencies.Max != latencies[99] {
		t.Errorf("vegeta's maximum is %s, ours %s", report.Latencies.Max, latencies[99])
	}
	// vegeta's quantiles are estimates; they lie between their neighbours.
	if p := report.Latencies.P50; p < latencies[44] || p > latencies[55] {
		t.Errorf("vegeta's p50 is %s, ours lies between %s and %s", p, latencies[44], latencies[55])
	}
}

func TestOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"timeout":     {Timeout: -1},
		"in flight":   {Timeout: 1, InFlight: -1},
		"connections": {Timeout: 1, Connections: -1},
		"http":        {Timeout: 1, HTTP: "3"},
	} {
		if _, err := NewPlan("n", []Target{{URL: "http://h"}}, constant(t, 1, time.Second), o); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%+v: %v, want an error that names %s", o, err, name)
		}
	}
	for name, target := range map[string]Target{
		"weight 0":    {URL: "http://h", Weight: weight(0)},
		"weight 1001": {URL: "http://h", Weight: weight(1001)},
		"body":        {URL: "http://h", Body: strings.Repeat("x", maxBody+1)},
	} {
		if _, err := NewPlan("n", []Target{target}, constant(t, 1, time.Second), Options{Timeout: 1}); err == nil || !strings.HasPrefix(err.Error(), "target 1: "+name) {
			t.Errorf("%v, want an error that names %s", err, name)
		}
	}
	if _, err := NewPlan("n", slices.Repeat([]Target{{URL: "http://h"}}, maxTargets+1), constant(t, 1, time.Second), Options{Timeout: 1}); err == nil {
		t.Error("too many targets were taken")
	}
}
