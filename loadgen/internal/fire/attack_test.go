package fire

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// patient is a timeout that a busy machine does not reach.
const patient = 10 * time.Second

// attack runs one target at rate for duration and returns all results.
func attack(ctx context.Context, t *testing.T, target Target, s shape.Shape, timeout time.Duration) []Result {
	t.Helper()
	return fire(ctx, t, []Target{target}, s, Options{Timeout: timeout})
}

// fire runs an attack with these options and returns all results.
func fire(ctx context.Context, t *testing.T, targets []Target, s shape.Shape, o Options) []Result {
	t.Helper()
	plan, err := NewPlan("test", targets, s, o)
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	plan.Attack().Run(ctx, func(r Result) { results = append(results, r) })
	return results
}

func shaped(t *testing.T, spec shape.Spec) shape.Shape {
	t.Helper()
	s, err := shape.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func constant(t *testing.T, rate float64, duration time.Duration) shape.Shape {
	t.Helper()
	return shaped(t, shape.Spec{Rate: rate, Duration: duration})
}

func TestEveryRequestIsCountedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get("X-Vegeta-Seq")]++
		if len(seen)%4 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()

	results := attack(t.Context(), t, Target{URL: server.URL}, constant(t, 200, 500*time.Millisecond), patient)
	codes := map[int]int{}
	for _, r := range results {
		codes[r.Code]++
	}
	if len(results) != 100 || codes[200] != 75 || codes[500] != 25 {
		t.Errorf("%d results, codes %v; want 100 with 75 times 200 and 25 times 500", len(results), codes)
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("the server saw request %s %d times", seq, n)
		}
	}
	if len(seen) != 100 {
		t.Errorf("the server saw %d requests, want 100", len(seen))
	}
}

func TestStopsWithin100ms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves  string
		rate    float64
		hangs   bool
		options Options
	}{
		{"between two requests that are five seconds apart", 0.2, false, Options{}},
		{"at 2000 requests per second", 2000, false, Options{}},
		{"while the only request hangs", 0.2, true, Options{}},
		{"while thousands hang", 2000, true, Options{}},
		{"while it waits for a free worker", 2000, true, Options{InFlight: 3}},
		{"while requests wait for a connection", 2000, true, Options{Connections: 1}},
		{"over HTTP/2", 200, true, Options{HTTP: "2"}},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			var took time.Duration
			for range 3 { // a busy machine may stall once; a wait that cannot be interrupted stalls always
				if took = stopTime(t, tc.rate, tc.hangs, tc.options); took <= 120*time.Millisecond {
					return
				}
			}
			t.Errorf("took %s to stop, three times in a row", took)
		})
	}
}

// stopTime stops an attack 0.2 s after its first request and returns how long that
// took. Whatever was sent is an answer, or unfinished when the server hangs.
func stopTime(t *testing.T, rate float64, hangs bool, o Options) time.Duration {
	t.Helper()
	hit, release := make(chan struct{}, 10_000), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hit <- struct{}{}
		if hangs {
			<-release
		}
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan time.Time, 1)
	go func() {
		<-hit
		time.Sleep(200 * time.Millisecond)
		stopped <- time.Now()
		cancel()
	}()
	o.Timeout = patient
	plan, err := NewPlan("test", []Target{{URL: server.URL}}, constant(t, rate, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	attack := plan.Attack()
	answered, unfinished := uint64(0), uint64(0)
	attack.Run(ctx, func(r Result) {
		if r.Unfinished {
			unfinished++
		} else {
			answered++
		}
	})
	took := time.Since(<-stopped)
	if p := attack.Progress(); p.Sent != answered+unfinished || p.InFlight != 0 {
		t.Errorf("%d answered and %d unfinished of %+v", answered, unfinished, p)
	}
	if hangs == (unfinished == 0) || hangs == (answered > 0) {
		t.Errorf("%d answered, %d unfinished from a server that hangs: %t", answered, unfinished, hangs)
	}
	return took
}

func TestStopWaitsForTheAnswersUnderWay(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-answer
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
		close(answer)
	}()
	results := attack(ctx, t, Target{URL: server.URL}, constant(t, 0.1, time.Minute), patient)
	if len(results) != 1 || results[0].Code != 200 {
		t.Errorf("results %+v, want the one 200", results)
	}
}

func TestStoppedBeforeItStartsSendsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if results := attack(ctx, t, Target{URL: "http://127.0.0.1:1"}, constant(t, 100, time.Minute), patient); len(results) != 0 {
		t.Errorf("results %+v, want none", results)
	}
}

func TestARequestIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, target := range []Target{
		{Method: "GET"},
		{Method: "HEAD"},
		{Method: "OPTIONS"},
		{Method: "DELETE"},
		{Method: "POST"},
		{Method: "GET", Body: "hello"},
		{Method: "POST", Body: "hello"},
		{Method: "POST", Body: "hello", Header: http.Header{"Idempotency-Key": {"k"}}},
	} {
		t.Run("when a used connection closes without an answer to "+target.Method+" "+target.Body, func(t *testing.T) {
			t.Parallel()
			var seen, dropped atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.ContentLength != int64(len(target.Body)) || len(r.TransferEncoding) > 0 {
					t.Errorf("sent with length %d and encoding %v", r.ContentLength, r.TransferEncoding)
				}
				if seen.Add(1)%3 == 0 {
					dropped.Add(1)
					panic(http.ErrAbortHandler)
				}
			}))
			defer server.Close()
			target.URL = server.URL
			results := attack(t.Context(), t, target, constant(t, 40, 500*time.Millisecond), patient)
			lost := int64(0)
			for _, r := range results {
				if r.Code == 0 {
					lost++
				}
			}
			if int64(len(results)) != seen.Load() || lost != dropped.Load() || lost != 6 {
				t.Errorf("counted %d with %d lost, the server saw %d and dropped %d", len(results), lost, seen.Load(), dropped.Load())
			}
		})
	}
}

func TestNoAnswerIsCodeZero(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	handlers := map[string]http.HandlerFunc{
		"/hang":  func(_ http.ResponseWriter, r *http.Request) { <-hang },
		"/abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handlers[r.URL.Path](w, r) }))
	defer server.Close()
	defer close(hang)
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, tc := range []struct {
		proves, url string
		timeout     time.Duration
		cause       string
	}{
		{"a timeout", server.URL + "/hang", 100 * time.Millisecond, timedOut},
		{"a connection closed instead of an answer", server.URL + "/abort", patient, "EOF"},
		{"a body that ends too early", server.URL + "/cut", patient, "unexpected EOF"},
		{"a port where nobody listens", closed.URL, patient, "dial tcp"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			results := attack(t.Context(), t, Target{URL: tc.url}, constant(t, 100, 50*time.Millisecond), tc.timeout)
			if len(results) != 5 {
				t.Errorf("%d results, want 5", len(results))
			}
			for _, r := range results {
				if r.Code != 0 || !strings.Contains(r.Error, tc.cause) {
					t.Errorf("code %d, error %q; want 0 and %q", r.Code, r.Error, tc.cause)
				}
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	one := constant(t, 1, time.Second)

	for _, name := range []string{"Host", "host", "HOST"} {
		target := Target{Method: "POST", URL: server.URL + "/a?b=c", Header: http.Header{name: {"podinfo.example"}, "x-test": {"1", "2"}}, Body: "hello"}
		results := attack(t.Context(), t, target, one, patient)
		if len(got) == 0 {
			t.Fatalf("with %s nothing arrived: %+v", name, results)
		}
		r := <-got
		if r.Host != "podinfo.example" || r.Method != "POST" || r.URL.String() != "/a?b=c" || r.ContentLength != 5 || len(r.Header["X-Test"]) != 2 {
			t.Errorf("with %s the server saw %s %s, host %s, headers %v", name, r.Method, r.URL, r.Host, r.Header)
		}
		if len(results) != 1 || results[0].Code != http.StatusFound || len(got) != 0 {
			t.Errorf("the redirect was not the answer: %+v", results)
		}
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Fatalf("this machine has no IPv6 loopback: %v", err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.NotFoundHandler()}}
	server.Start()
	defer server.Close()
	results := attack(t.Context(), t, Target{URL: server.URL}, constant(t, 1, time.Second), patient)
	if len(results) != 1 || results[0].Code != http.StatusNotFound {
		t.Errorf("results %+v, want one 404", results)
	}
}

func TestLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proves  string
		spec    shape.Spec
		options Options
	}{
		{"when workers are exhausted", shape.Spec{Rate: 100, Duration: 300 * time.Millisecond}, Options{InFlight: 1}},
		{"when connections are exhausted", shape.Spec{Rate: 100, Duration: 300 * time.Millisecond}, Options{Connections: 1}},
		{"in a ramp", shape.Spec{Kind: "ramp", Rate: 50, To: 150, Duration: 300 * time.Millisecond}, Options{InFlight: 1}},
		{"in steps", shape.Spec{Kind: "steps", Steps: "50x200ms,100x200ms"}, Options{InFlight: 1}},
		{"in a sine", shape.Spec{Kind: "sine", Rate: 100, Amplitude: 100, Period: 100 * time.Millisecond, Duration: 300 * time.Millisecond}, Options{InFlight: 1}},
		{"in a top-up", shape.Spec{Kind: "top-up", Samples: 30, Rate: 1000, Duration: 300 * time.Millisecond}, Options{InFlight: 1}},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			// The server answers nothing for half a second, then at once: whoever was due in
			// that time has waited until its end.
			stall := 500 * time.Millisecond
			opens := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-opens }))
			defer server.Close()
			s := shaped(t, tc.spec)
			began := time.Now()
			time.AfterFunc(stall, func() { close(opens) })
			tc.options.Timeout = patient
			results := fire(t.Context(), t, []Target{{URL: server.URL}}, s, tc.options)
			if uint64(len(results)) != s.Hits() {
				t.Errorf("%d results, want %d", len(results), s.Hits())
			}
			for _, r := range results {
				if least := stall - r.Due.Sub(began); r.Latency < least {
					t.Fatalf("one due at %s took %s, want %s or more", r.Due.Sub(began), r.Latency, least)
				}
			}
		})
	}
}

func TestOnlyTheProxyThatWasAskedForIsUsed(t *testing.T) {
	proxied := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proxied <- r.RequestURI }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan("test", []Target{{URL: "http://shop.invalid/x"}}, constant(t, 100, 10*time.Millisecond), Options{Timeout: patient})
	if err != nil {
		t.Fatal(err)
	}
	var direct []Result
	plan.Attack().Run(t.Context(), func(r Result) { direct = append(direct, r) })
	if len(direct) != 1 || direct[0].Code != 0 || len(proxied) != 0 {
		t.Errorf("a proxy of the environment was used: %+v", direct)
	}
	through := fire(t.Context(), t, []Target{{URL: "http://shop.invalid/x"}}, constant(t, 100, 10*time.Millisecond), Options{Timeout: patient, Proxy: address})
	if len(through) != 1 || through[0].Code != http.StatusOK || <-proxied != "http://shop.invalid/x" {
		t.Errorf("the proxy was not used: %+v", through)
	}
	// An HTTP proxy goes where the Host header says, whatever host of the URL was allowed.
	elsewhere := []Target{{URL: "http://shop.invalid/x", Header: http.Header{"Host": {"169.254.169.254"}}}}
	if _, err := NewPlan("test", elsewhere, constant(t, 1, time.Second), Options{Timeout: patient, Proxy: address}); err == nil {
		t.Error("a Host header may lead an HTTP proxy elsewhere")
	}
	if _, err := NewPlan("test", elsewhere, constant(t, 1, time.Second), Options{Timeout: patient, Proxy: &url.URL{Scheme: "ftp", Host: "h"}}); err == nil {
		t.Error("a proxy of a kind that does not exist was taken")
	}
}

// net/http goes on connecting for a request that has timed out.
func TestConnectionsThatNeverStandAreGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the end of the test
			}
			open.Add(1)
			go func() { // takes the greeting and never answers it
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
				open.Add(-1)
			}()
		}
	}()
	defer listener.Close()
	most := int64(0)
	plan, err := NewPlan("test", []Target{{URL: "https://" + listener.Addr().String()}}, constant(t, 50, 2*time.Second),
		Options{Timeout: 200 * time.Millisecond, InFlight: 20})
	if err != nil {
		t.Fatal(err)
	}
	plan.Attack().Run(t.Context(), func(Result) { most = max(most, open.Load()) })
	if most > 60 {
		t.Errorf("%d connections were open for 20 requests under way", most)
	}
}

func TestNewPlanRefuses(t *testing.T) {
	t.Parallel()
	once := constant(t, 1, time.Second)
	for _, tc := range []struct {
		proves string
		target Target
	}{
		{"no url", Target{}},
		{"a url without host", Target{URL: "http:///path"}},
		{"a url without scheme", Target{URL: "podinfo.example/path"}},
		{"another scheme", Target{URL: "file:///etc/passwd"}},
		{"an unknown method", Target{Method: "CONNECT", URL: "http://h"}},
		{"a header name with a space", Target{URL: "http://h", Header: http.Header{"a b": {"1"}}}},
		{"a header value with a line break", Target{URL: "http://h", Header: http.Header{"A": {"1\r\nB: 2"}}}},
		{"two hosts", Target{URL: "http://h", Header: http.Header{"Host": {"a", "b"}}}},
		{"two hosts in two spellings", Target{URL: "http://h", Header: http.Header{"Host": {"a"}, "host": {"b"}}}},
		{"an empty host", Target{URL: "http://h", Header: http.Header{"Host": {""}}}},
		{"a host with a space", Target{URL: "http://h", Header: http.Header{"Host": {"a b"}}}},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if _, err := NewPlan("n", []Target{tc.target}, once, Options{Timeout: time.Second}); err == nil {
				t.Error("was taken")
			}
		})
	}
	if _, err := NewPlan("n", nil, once, Options{Timeout: time.Second}); err == nil {
		t.Error("no targets were taken")
	}
	if _, err := NewPlan("n", []Target{{URL: "http://h"}}, once, Options{}); err == nil {
		t.Error("no timeout was taken")
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ proves, text, want string }{
		{"method, URL and own port go", `Get "http://h/?n=1": read tcp 10.0.0.1:41234->10.0.0.2:80: read: connection reset by peer`, "read tcp 10.0.0.2:80: read: connection reset by peer"},
		{"an IPv6 port goes too", `Post "http://h": write tcp [::1]:4->[::1]:80: write: broken pipe`, "write tcp [::1]:80: write: broken pipe"},
		{"a text without URL stays", "unexpected EOF", "unexpected EOF"},
		{"a quoted word that is no URL stays", `unknown "x": y`, `unknown "x": y`},
		{"a timeout before the answer", `Get "http://h": net/http: request canceled (Client.Timeout exceeded while awaiting headers)`, timedOut},
		{"a timeout that the context saw first", `Get "http://h": context deadline exceeded`, timedOut},
		{"a timeout in the body", "context deadline exceeded (Client.Timeout or context cancellation while reading body)", timedOut},
		{"an arrow at the start is no trouble", "->b", "b"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			if got := cause(tc.text); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
