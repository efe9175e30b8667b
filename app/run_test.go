package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is the real program, serving on a port of its own.
type program struct {
	t    *testing.T
	url  string
	addr string
	stop context.CancelFunc // what SIGTERM does
	done chan error         // what run returned
}

// launch runs `app serve` and returns once it says where it listens.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &program{t: t, stop: stop, done: make(chan error, 1)}
	logs, stderr := io.Pipe()
	go func() {
		defer stderr.Close()
		p.done <- run(ctx, append([]string{"serve", "--listen=127.0.0.1:0"}, args...), io.Discard, stderr)
	}()
	t.Cleanup(stop)
	lines := bufio.NewScanner(logs)
	for lines.Scan() {
		var line struct{ Msg, Addr string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("log line %q: %v", lines.Text(), err)
		}
		if line.Msg == "listening" {
			p.addr, p.url = line.Addr, "http://"+line.Addr
			go func() {
				for lines.Scan() { // the program must never wait for its log
				}
			}()
			return p
		}
	}
	t.Fatalf("the program ended before it listened: %v", <-p.done)
	return nil
}

// get returns status and body, and whether the server ends the connection.
func (p *program) get(client *http.Client, path string) (status int, body string, last bool) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(raw), res.Close
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// hold sends n requests whose bodies stay unfinished until release is called;
// outcomes then yields each status, or 0 for a request that was lost.
func (p *program) hold(n int) (release func(), outcomes <-chan int) {
	p.t.Helper()
	got := make(chan int, n)
	var open sync.WaitGroup
	gate := make(chan struct{})
	for range n {
		body, writer := io.Pipe()
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/api/items", body)
		if err != nil {
			p.t.Fatal(err)
		}
		open.Go(func() {
			defer writer.Close()
			<-gate
			fmt.Fprint(writer, `{"name":"slow"}`)
		})
		go func() {
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				got <- 0
				return
			}
			defer res.Body.Close()
			got <- res.StatusCode
		}()
	}
	eventually(p.t, fmt.Sprintf("%d requests in flight", n), func() bool {
		_, metrics, _ := p.get(http.DefaultClient, "/metrics")
		return strings.Contains(metrics, fmt.Sprintf("\nhttp_requests_in_flight %d\n", n))
	})
	return func() { close(gate); open.Wait() }, got
}

func TestDrainLosesNoRequest(t *testing.T) {
	p := launch(t, "--drain-grace=2s")
	const held = 20
	release, outcomes := p.hold(held)

	// A client with an open connection: it must not be cut while it is used.
	kept := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	if status, _, last := p.get(kept, "/readyz"); status != 200 || last {
		t.Fatalf("before: status %d, connection ended: %v", status, last)
	}
	p.stop()
	eventually(t, "/readyz turns 503", func() bool {
		status, _, _ := p.get(http.DefaultClient, "/readyz")
		return status == 503
	})
	if status, _, last := p.get(kept, "/api/items"); status != 200 || !last {
		t.Errorf("a new request on an open connection: status %d, connection ended: %v", status, last)
	}
	if status, _, _ := p.get(&http.Client{Transport: &http.Transport{}}, "/"); status != 200 {
		t.Errorf("a new connection while draining: status %d", status)
	}

	// After the grace it listens no more; the held requests are still in flight.
	eventually(t, "the port is closed", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr)
		if err != nil {
			return true
		}
		defer conn.Close()
		return false
	})
	select {
	case err := <-p.done:
		t.Fatalf("the program ended under %d requests: %v", held, err)
	default:
	}
	release()
	for range held {
		if status := <-outcomes; status != 201 {
			t.Errorf("a request in flight ended with %d", status)
		}
	}
	if err := <-p.done; err != nil {
		t.Errorf("a clean end is no error: %v", err)
	}
}

// chaotic launches the program with a plan in force from the start.
func chaotic(t *testing.T, plan string, args ...string) *program {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	return launch(t, append([]string{"--chaos-token-file", file, "--chaos", plan}, args...)...)
}

// begin sends a raw request and returns what is read until the connection ends.
func (p *program) begin(request string) <-chan string {
	p.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(p.t.Context(), "tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, request); err != nil {
		p.t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		defer conn.Close()
		raw, _ := io.ReadAll(conn) // a reset ends it as well as an end
		got <- string(raw)
	}()
	eventually(p.t, "the request is in flight", func() bool {
		_, metrics, _ := p.get(http.DefaultClient, "/metrics")
		return strings.Contains(metrics, "\nhttp_requests_in_flight 1\n")
	})
	return got
}

func TestDrainAnswersASlowRequestAndCutsOneThatHangs(t *testing.T) {
	const modern, old = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"
	for name, c := range map[string]struct{ plan, request, want string }{
		"a slow answer is waited for":                     {`{"latency":"500ms","ttl":"1m"}`, modern, "HTTP/1.1 200 OK"},
		"a slow answer to an HTTP/1.0 client is too":      {`{"latency":"500ms","ttl":"1m"}`, old, "HTTP/1.0 200 OK"},
		"a request that hangs does not hold up the drain": {`{"hangRate":1,"ttl":"1h"}`, modern, ""},
		"an HTTP/1.0 request that hangs does not either":  {`{"hangRate":1,"ttl":"1h"}`, old, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := chaotic(t, c.plan, "--drain-grace=0s")
			got := p.begin(c.request)
			p.stop()
			if err := <-p.done; err != nil { // a missed deadline is one
				t.Errorf("run returned %v", err)
			}
			if text := <-got; !strings.HasPrefix(text, c.want) || c.want == "" && text != "" {
				t.Errorf("the client read %q, want %q", text, c.want)
			}
		})
	}
}

// errGone ends a client that needs a second connection: an ingress opens none to a
// pod that is on its way out.
var errGone = errors.New("the pod is gone")

// TestBusyClientsSeeNoFailureWhileTheProgramStops is what a rolling restart does:
// clients are busy on their kept connections until each is closed between two of
// its requests, never under one.
func TestBusyClientsSeeNoFailureWhileTheProgramStops(t *testing.T) {
	p := launch(t, "--drain-grace=300ms")
	const clients = 8
	type ending struct {
		answered int
		err      error
	}
	ended := make(chan ending, clients)
	for range clients {
		dialled := false
		transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dialled {
				return nil, errGone
			}
			dialled = true
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		go func() {
			client, n := &http.Client{Transport: transport}, 0
			for {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/api/items", strings.NewReader(`{"name":"a"}`))
				if err != nil {
					ended <- ending{n, err}
					return
				}
				res, err := client.Do(req) // a POST: Go does not send it twice
				if err != nil {
					ended <- ending{n, err}
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				err = errors.Join(err, res.Body.Close())
				if n++; err != nil || res.StatusCode != http.StatusCreated {
					ended <- ending{n, fmt.Errorf("status %d: %w", res.StatusCode, err)}
					return
				}
			}
		}()
	}
	eventually(t, "all are busy", func() bool {
		_, metrics, _ := p.get(http.DefaultClient, "/metrics")
		return !strings.Contains(metrics, `http_requests_total{method="POST",route="/api/items",status="201"} 0`)
	})
	p.stop()
	for range clients {
		if e := <-ended; e.answered == 0 || !errors.Is(e.err, errGone) {
			t.Errorf("after %d answers: %v", e.answered, e.err)
		}
	}
	if err := <-p.done; err != nil {
		t.Errorf("run returned %v", err)
	}
}

func TestShutdownHasADeadlineAndSaysWhenItMissedIt(t *testing.T) {
	p := launch(t, "--drain-grace=0s", "--shutdown-timeout=50ms")
	release, outcomes := p.hold(1)
	p.stop()
	if err := <-p.done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run returned %v", err)
	}
	release()
	if status := <-outcomes; status != 0 {
		t.Errorf("the request that never ended got %d", status)
	}
}

func TestChaosComesFromTokenFileAndEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("APP_CHAOS_TOKEN_FILE", file)
	t.Setenv("CHAOS", `{"errorRate":1,"status":503,"ttl":"1m"}`)
	t.Setenv("REVISION", "65d9c")
	p := launch(t)
	if status, _, _ := p.get(http.DefaultClient, "/"); status != 503 {
		t.Errorf("with the start-up plan: %d", status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.url+"/chaos", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer abc")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if status, body, _ := p.get(http.DefaultClient, "/"); status != 200 || !strings.Contains(body, `"revision":"65d9c"`) {
		t.Errorf("after clearing the plan: %d %s", status, body)
	}
}

func TestWithoutMetricsTheAppServesAndCountsNothing(t *testing.T) {
	t.Setenv("APP_METRICS", "false")
	p := launch(t)
	if status, _, _ := p.get(http.DefaultClient, "/api/items"); status != 200 {
		t.Errorf("the API answers %d", status)
	}
	if status, _, _ := p.get(http.DefaultClient, "/metrics"); status != 404 {
		t.Errorf("/metrics answers %d", status)
	}
}

func TestServeRefusesToStartOnWrongSettings(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an empty token file":            {[]string{"--chaos-token-file", empty}, "is empty"},
		"a token file that is not there": {[]string{"--chaos-token-file", empty + "x"}, "read chaos token"},
		"a plan while chaos is off":      {[]string{"--chaos", `{"errorRate":1,"ttl":"1m"}`}, "chaos is off"},
		"an address that is none":        {[]string{"--listen", "nowhere:http:80"}, "listen on nowhere:http:80"},
		"peers without a port":           {[]string{"--peers", "app-pods"}, "want host:port"},
		"an unknown flag":                {[]string{"--lisen", ":80"}, "unknown flag"},
		"an unknown log level":           {[]string{"--log-level", "loud"}, "log-level"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"serve"}, c.args...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestCheckSaysWhetherTheAnswerIsGood(t *testing.T) {
	p := launch(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"check", p.url + "/readyz"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "200 OK") {
		t.Errorf("a good answer: %v, printed %q", err, out.String())
	}
	for _, url := range []string{p.url + "/nope", "http://127.0.0.1:1/", "::"} {
		if err := run(t.Context(), []string{"check", url}, io.Discard, io.Discard); err == nil {
			t.Errorf("check %s is content", url)
		}
	}
}

func TestVersionAndHelpPrintAndEnd(t *testing.T) {
	for arg, want := range map[string]string{"version": "app dev (none)\n", "--help": "check <url>", "serve --help": "$APP_CHAOS_TOKEN_FILE"} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(arg), &out, io.Discard); err != nil {
			t.Errorf("%s: %v", arg, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s printed %q, want %q", arg, out.String(), want)
		}
	}
}

// Shutdown answers no connection whose request it has not read before: such ones were lost.
func TestWhatWasAcceptedBeforeTheEndIsAnswered(t *testing.T) {
	p := launch(t, "--drain-grace=1ms")
	conns := make([]net.Conn, 20)
	dialer := net.Dialer{}
	for i := range conns {
		conn, err := dialer.DialContext(t.Context(), "tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	p.stop()
	eventually(t, "it stops listening", func() bool {
		conn, err := dialer.DialContext(t.Context(), "tcp", p.addr)
		if err == nil {
			defer conn.Close()
		}
		return err != nil
	})
	for i, conn := range conns {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if answer.StatusCode != http.StatusOK || !answer.Close {
			t.Errorf("connection %d: %s, close %t", i, answer.Status, answer.Close)
		}
		defer answer.Body.Close()
	}
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}
