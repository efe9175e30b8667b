package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("did not end")
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
	} {
		if err := run(t.Context(), args, nil, io.Discard, io.Discard); exitCode(err) != 1 {
			t.Errorf("%v ended with %v", args, err)
		}
	}
}
