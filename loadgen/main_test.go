package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

func TestRun(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "bad.example" && n.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	for _, tc := range []struct {
		proves string
		args   []string
		exit   int
		stdout string
		err    string
	}{
		{"a good run ends with 0", []string{"--max-error-rate", "0"}, 0, "requests  20\nsuccess   100.00 %\n", ""},
		{"a missed threshold ends with 2, after the summary", []string{"--host", "bad.example", "--max-error-rate", "0.05"}, 2, "success   90.00 %\n", "threshold missed: 2 of 20"},
		{"failures without threshold are a result", []string{"--host", "bad.example"}, 0, "code 500  2\n", ""},
		{"the summary as JSON", []string{"--output", "json"}, 0, `"requests": 20`, ""},
		{"a header with a comma is one header", []string{"--header", "Accept: a, b"}, 0, "requests  20\n", ""},
		{"a header without colon is refused", []string{"--header", "Accept"}, 1, "", "write it as"},
		{"a wrong threshold is refused", []string{"--max-error-rate", "5"}, 1, "", "between 0 and 1"},
		{"an unknown flag is refused", []string{"--shapes", "sine"}, 1, "", "--help"},
		{"a p99 over the threshold ends with 2", []string{"--max-p99", "1ns"}, 2, "requests  20\n", "threshold missed: the p99 is"},
		{"a p99 under the threshold ends with 0", []string{"--max-p99", "1m"}, 0, "requests  20\n", ""},
		{"a ramp", []string{"--shape", "ramp", "--to", "0"}, 0, "requests  10\n", ""},
		{"a sine", []string{"--shape", "sine", "--amplitude", "100", "--period", "100ms"}, 0, "requests  20\n", ""},
		{"a top-up", []string{"--shape", "top-up", "--samples", "10"}, 0, "requests  10\n", ""},
		{"a rate beside steps is refused", []string{"--shape", "steps", "--steps", "10x1s"}, 1, "", "rate: is not used by shape steps"},
		{"connections, workers and no keep-alive", []string{"--connections", "2", "--max-in-flight", "4", "--no-keep-alive", "--http", "1.1"}, 0, "requests  20\n", ""},
		{"HTTP/2 with a server that has none gives no answers", []string{"--http", "2"}, 0, "code 0    20\n", ""},
		{"no requests in flight are refused", []string{"--max-in-flight", "0"}, 1, "", "--max-in-flight"},
		{"a wrong p99 is refused", []string{"--max-p99", "fast"}, 1, "", "max-p99"},
		{"a query without Prometheus is refused", []string{"--shape", "top-up", "--samples", "1", "--seen-query", "x"}, 1, "", "--prometheus"},
		{"a query without top-up is refused", []string{"--seen-query", "x", "--prometheus", "http://p"}, 1, "", "top-up"},
		{"a URL and targets are refused", []string{"--targets", "-"}, 1, "", "one of them"},
		{"a certificate file that is not there is refused", []string{"--ca-file", "/nowhere"}, 1, "", "--ca-file"},
		{"a certificate file without certificate is refused", []string{"--ca-file", "main.go"}, 1, "", "no certificate"},
		{"a file that cannot be made is refused before anything is sent", []string{"--save", "/nowhere/x"}, 1, "", "--save"},
		{"the other file too", []string{"--hdr", "/nowhere/x"}, 1, "", "--hdr"},
		{"an unknown output is refused", []string{"--output", "xml"}, 1, "", "json"},
	} {
		t.Run(tc.proves, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), append([]string{"run", "--rate", "100", "--duration", "200ms", server.URL}, tc.args...), nil, &stdout, &stderr)
			if exitCode(err) != tc.exit || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("ended with %v (exit %d), want %d and %q", err, exitCode(err), tc.exit, tc.err)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || (tc.exit == 1 && stdout.Len() > 0) {
				t.Errorf("stdout is\n%s", stdout.String())
			}
			if stderr.Len() > 0 {
				t.Errorf("progress without a terminal: %q", stderr.String())
			}
		})
	}
}

func TestTargetsFromFileAndStandardInput(t *testing.T) {
	t.Parallel()
	var posts atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if text, err := io.ReadAll(r.Body); err == nil && r.Method == "POST" && string(text) == "{}" {
			posts.Add(1)
		}
	}))
	defer server.Close()
	targets := `{"url":"` + server.URL + `"} {"method":"POST","url":"` + server.URL + `","body":"{}","weight":3}`
	file := filepath.Join(t.TempDir(), "targets.json")
	if err := os.WriteFile(file, []byte(targets), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{file, "-"} {
		posts.Store(0)
		err := run(t.Context(), []string{"run", "--targets", from, "--steps", "100x200ms", "--shape", "steps"}, strings.NewReader(targets), io.Discard, io.Discard)
		if err != nil || posts.Load() != 15 {
			t.Errorf("--targets %s: %d of 20 were posts, want 15 (%v)", from, posts.Load(), err)
		}
	}
	for proves, args := range map[string][]string{
		"one of them":                  {"run"},
		"in the file, not in flags":    {"run", "--targets", file, "--host", "h"},
		"no such file":                 {"run", "--targets", file + "x"},
		"target 1: invalid character":  {"run", "--targets", "main.go"},
		"targets: at least one is nee": {"run", "--targets", "-"},
	} {
		err := run(t.Context(), args, strings.NewReader("[]"), io.Discard, io.Discard)
		if exitCode(err) != 1 || !strings.Contains(err.Error(), proves) {
			t.Errorf("%v ended with %v, want %q", args, err, proves)
		}
	}
}

func TestSavedFilesAgreeWithTheSummary(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Millisecond) }))
	defer server.Close()
	saved, hdr := filepath.Join(t.TempDir(), "results.bin"), filepath.Join(t.TempDir(), "latency.hdr")
	var stdout bytes.Buffer
	args := []string{"run", "--rate", "200", "--duration", "500ms", "--output", "json", "--save", saved, "--hdr", hdr, server.URL}
	if err := run(t.Context(), args, nil, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Requests       uint64
		LatencySeconds struct{ P50, P99, Max float64 }
	}
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(saved)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var report vegeta.Metrics
	decode := vegeta.NewDecoder(file)
	for {
		var r vegeta.Result
		if err := decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		report.Add(&r)
	}
	report.Close()
	near := func(a, b float64) bool { return a > b*0.9 && a < b*1.1 } // vegeta estimates
	if report.Requests != s.Requests || s.Requests != 100 || !near(report.Latencies.P50.Seconds(), s.LatencySeconds.P50) ||
		!near(report.Latencies.Max.Seconds(), s.LatencySeconds.Max) {
		t.Errorf("vegeta reads %d requests, p50 %s, max %s of %+v", report.Requests, report.Latencies.P50, report.Latencies.Max, s)
	}
	text, err := os.ReadFile(hdr)
	if err != nil || !strings.Contains(string(text), "Total count    =          100]") {
		t.Errorf("the distribution is\n%s (%v)", text, err)
	}
}

func TestProgressWithoutTerminalIsALine(t *testing.T) {
	t.Parallel()
	planned, err := shape.New(shape.Spec{Rate: 50, Duration: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	sum := tally.New()
	sum.Add(200, 20*time.Millisecond, "")
	sum.Add(500, 20*time.Millisecond, "")
	got := line(fire.Progress{Elapsed: 4 * time.Second, Rate: 50, Sent: 5, InFlight: 3, Asked: true, Seen: 7, SeenError: io.EOF}, sum.Summary(), planned)
	want := "4s/10s  50/s  5/500  50.00% ok  p50 20ms p95 20ms p99 20ms  3 open  7 by others (an old number)"
	if got != want || len(cut(got, lineWidth)) != 79 {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRunJSONIsOneDocument(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	closed := httptest.NewServer(nil)
	closed.Close()
	if err := run(t.Context(), []string{"run", "--rate", "100", "--duration", "50ms", "--output", "json", closed.URL}, nil, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Requests uint64
		Codes    map[string]uint64
		Errors   map[string]uint64
	}
	if err := json.Unmarshal(stdout.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Requests != 5 || s.Codes["0"] != 5 || len(s.Errors) != 1 {
		t.Errorf("summary %+v, want 5 requests without answer for one reason", s)
	}
}

func TestAnInterruptedRunStillPrintsItsSummary(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer server.Close()
	var stdout bytes.Buffer
	err := run(ctx, []string{"run", "--rate", "0.1", "--duration", "1m", server.URL}, nil, &stdout, io.Discard)
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "interrupted after 1 of 6") || !strings.Contains(stdout.String(), "requests  1\n") {
		t.Errorf("ended with %v and\n%s", err, stdout.String())
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"version"}, nil, &stdout, io.Discard); err != nil || stdout.String() != "loadgen dev (none)\n" {
		t.Errorf("%q, %v", stdout.String(), err)
	}
}

func TestServeFromStartToEnd(t *testing.T) {
	t.Setenv("LOADGEN_ALLOWED_HOSTS", "127.0.0.1, podinfo.example")
	t.Setenv("LOADGEN_LISTEN", "127.0.0.1:0")
	hit := make(chan struct{}, 100)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} }))
	defer target.Close()

	ctx, cancel := context.WithCancel(t.Context())
	logs, stderr := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"serve"}, nil, io.Discard, stderr)
		_ = stderr.Close()
	}()
	lines := bufio.NewScanner(logs)
	if !lines.Scan() {
		t.Fatalf("no log line: %v", <-ended)
	}
	var first struct{ Msg, Address string }
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil || first.Msg != "listening" {
		t.Fatalf("first line %s, %v", lines.Text(), err)
	}
	rest := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		rest <- all.String()
	}()

	body := `{"name":"users","targets":[{"url":"` + target.URL + `"}],"rate":0.5,"duration":"1h"}`
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+first.Address+"/api/v1/attacks", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("start answered %d", resp.StatusCode)
	}
	<-hit
	cancelled := time.Now()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("did not end")
	}
	if took := time.Since(cancelled); took > time.Second {
		t.Errorf("took %s to end", took)
	}
	if all := <-rest; !strings.Contains(all, `"attack ended"`) || !strings.Contains(all, `"requests":1`) {
		t.Errorf("the log does not tell how the attack ended:\n%s", all)
	}
}

func TestServeRefusesABadStart(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"serve", "--listen", "127.0.0.1:0", "--max-rate", "0"},
		{"serve", "--listen", "127.0.0.1:0", "--allowed-hosts", "http://a"},
		{"serve", "--listen", "nowhere"},
		{"serve", "--listen", "127.0.0.1:0", "--prometheus", "prometheus:9090"},
		{"serve", "--listen", "127.0.0.1:0", "--max-in-flight", "0"},
		{"serve", "--listen", "127.0.0.1:0", "--max-attacks", "0"},
	} {
		if err := run(t.Context(), args, nil, io.Discard, io.Discard); exitCode(err) != 1 {
			t.Errorf("%v ended with %v", args, err)
		}
	}
}
