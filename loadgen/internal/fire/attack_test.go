package fire

import (
	"context"
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
func attack(ctx context.Context, t *testing.T, target Target, s Shape, timeout time.Duration) []Result {
	t.Helper()
	plan, err := NewPlan("test", []Target{target}, s, timeout)
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	plan.Run(ctx, func(r Result) { results = append(results, r) })
	return results
}

func constant(t *testing.T, rate float64, duration time.Duration) Shape {
	t.Helper()
	s, err := shape.NewConstant(rate, duration)
	if err != nil {
		t.Fatal(err)
	}
	return s
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
		proves string
		rate   float64
	}{
		{"between two requests that are three seconds apart", 1.0 / 3},
		{"at one request per second", 1},
		{"at 200 requests per second", 200},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			t.Parallel()
			var took time.Duration
			for range 3 { // a busy machine may stall once; a wait that cannot be interrupted stalls always
				if took = stopTime(t, tc.rate); took <= 100*time.Millisecond {
					return
				}
			}
			t.Errorf("took %s to stop, three times in a row", took)
		})
	}
}

// stopTime stops an attack after its first request and returns how long that took.
func stopTime(t *testing.T, rate float64) time.Duration {
	t.Helper()
	hit := make(chan struct{}, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} }))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var stopped time.Time
	go func() {
		<-hit
		stopped = time.Now()
		cancel()
	}()
	results := attack(ctx, t, Target{URL: server.URL}, constant(t, rate, 5*time.Second), patient)
	took := time.Since(stopped)
	if saw := len(hit) + 1; len(results) != saw {
		t.Errorf("%d results, the server saw %d requests", len(results), saw)
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

// late is a shape whose request is due long before it is sent, as it is when a
// generator is held up.
type late struct{ by time.Duration }

func (l late) Pace(_ time.Duration, hits uint64) (time.Duration, bool) { return l.by, hits > 0 }
func (late) Rate(time.Duration) float64                                { return 1 }
func (late) At(uint64) time.Duration                                   { return 0 }

func TestLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	results := attack(t.Context(), t, Target{URL: server.URL}, late{50 * time.Millisecond}, patient)
	if len(results) != 1 || results[0].Latency < 50*time.Millisecond {
		t.Errorf("results %+v, want one that took 50ms or more", results)
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
	plan, err := NewPlan("test", []Target{{URL: "http://shop.invalid/x"}}, constant(t, 100, 10*time.Millisecond), patient)
	if err != nil {
		t.Fatal(err)
	}
	var direct, through []Result
	plan.Run(t.Context(), func(r Result) { direct = append(direct, r) })
	if len(direct) != 1 || direct[0].Code != 0 || len(proxied) != 0 {
		t.Errorf("a proxy of the environment was used: %+v", direct)
	}
	plan.Through(address).Run(t.Context(), func(r Result) { through = append(through, r) })
	if len(through) != 1 || through[0].Code != http.StatusOK || <-proxied != "http://shop.invalid/x" {
		t.Errorf("the proxy was not used: %+v", through)
	}
}

func TestNewPlanRefuses(t *testing.T) {
	t.Parallel()
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
			if _, err := NewPlan("n", []Target{tc.target}, late{}, time.Second); err == nil {
				t.Error("was taken")
			}
		})
	}
	if _, err := NewPlan("n", nil, late{}, time.Second); err == nil {
		t.Error("no targets were taken")
	}
	if _, err := NewPlan("n", []Target{{URL: "http://h"}}, late{}, 0); err == nil {
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
