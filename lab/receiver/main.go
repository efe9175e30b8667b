// Command receiver keeps what is posted to it and shows it: notifications, which the gatekeeper sends to people, those of
// Alertmanager to Slack, Flagger's hook calls, which it hands on to the gatekeeper, and spans by OTLP. The proof reads them here.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Written by the linker: -ldflags "-X main.version=1.0.0 -X main.commit=abc".
var version, commit = "dev", "none"

// Bounds of what is kept, so that nobody can fill the memory.
const (
	maxMessages = 1000
	maxCalls    = 5000
	maxBody     = 64 << 10
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listen, gatekeeper := cmp.Or(os.Getenv("RECEIVER_LISTEN"), ":8080"), os.Getenv("RECEIVER_GATEKEEPER_URL")
	if err := run(ctx, listen, gatekeeper, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

// run serves on address until ctx ends. Hook calls go on to gatekeeper, a URL.
func run(ctx context.Context, address, gatekeeper string, stderr io.Writer) error {
	log := slog.New(slog.NewJSONHandler(stderr, nil)).With("component", "receiver")
	server := &http.Server{
		Handler:           newBox(time.Now, gatekeeper, log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	log.Info("listening", "addr", listener.Addr().String(), "version", version, "commit", commit)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		return errors.Join(fmt.Errorf("wait for requests in flight: %w", err), server.Close())
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}

// message is one notification as it came.
type message struct {
	At      time.Time   `json:"at"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
}

// call is one hook call of Flagger's and the gatekeeper's answer.
type call struct {
	Number  int         `json:"number"` // counted from 1
	At      time.Time   `json:"at"`
	Hook    string      `json:"hook"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Headers http.Header `json:"headers"`
	Body    string      `json:"body"`
	Status  int         `json:"status"`
	Answer  string      `json:"answer"`
}

// box keeps the newest messages and calls, the oldest first.
type box struct {
	now        func() time.Time
	gatekeeper string // URL
	client     *http.Client
	log        *slog.Logger

	mu       sync.Mutex // guards all below
	messages []message  // of the gatekeeper
	slack    []message  // of Alertmanager
	calls    []call
	number   int // of the last call
}

func newBox(now func() time.Time, gatekeeper string, log *slog.Logger) http.Handler {
	// Each call gets a connection of its own, as it has without us.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	b := &box{now: now, gatekeeper: gatekeeper, client: client, log: log, messages: []message{}, slack: []message{}, calls: []call{}}
	spans := &traces{log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", b.put(&b.messages))
	mux.HandleFunc("GET /{$}", b.list(&b.messages))
	mux.HandleFunc("POST /slack", b.put(&b.slack))
	mux.HandleFunc("GET /slack", b.list(&b.slack))
	mux.HandleFunc("POST /v1/traces", spans.export)
	mux.HandleFunc("GET /spans", spans.list)
	mux.HandleFunc("POST /hooks/v1/{hook}", b.handOn)
	mux.HandleFunc("GET /calls", b.listCalls)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// put takes a message into a list, which mu guards. The answer is Slack's, and the gatekeeper reads only its status.
func (b *box) put(list *[]message) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "read body: "+err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		b.mu.Lock()
		*list = append(*list, message{At: b.now().UTC(), Headers: r.Header, Body: string(body)})
		*list = (*list)[max(len(*list)-maxMessages, 0):]
		b.mu.Unlock()
		b.log.Info("received", "bytes", len(body), "key", r.Header.Get("Idempotency-Key"))
		if _, err := io.WriteString(w, "ok"); err != nil {
			b.log.Warn("answer lost", "error", err.Error())
		}
	}
}

// handOn asks the gatekeeper in Flagger's stead and gives Flagger its answer. Where there is none, Flagger gets a 502,
// which it takes as it would take the missing answer itself.
func (b *box) handOn(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "read body: "+err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	c := call{At: b.now().UTC(), Hook: r.PathValue("hook"), Method: r.Method, Path: r.URL.Path, Headers: r.Header, Body: string(body)}
	if c.Status, c.Answer, err = b.ask(r.Context(), c); err != nil {
		c.Status, c.Answer = http.StatusBadGateway, err.Error()
		b.log.Warn("gatekeeper does not answer", "hook", c.Hook, "error", err.Error())
	}
	b.mu.Lock()
	b.number++
	c.Number = b.number
	b.calls = append(b.calls, c)
	b.calls = b.calls[max(len(b.calls)-maxCalls, 0):]
	b.mu.Unlock()
	w.WriteHeader(c.Status)
	if _, err := io.WriteString(w, c.Answer); err != nil {
		b.log.Warn("answer lost", "hook", c.Hook, "error", err.Error())
	}
}

// ask makes the same call at the gatekeeper.
func (b *box) ask(ctx context.Context, c call) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, c.Method, b.gatekeeper+c.Path, strings.NewReader(c.Body))
	if err != nil {
		return 0, "", err
	}
	request.Header = c.Headers.Clone()
	response, err := b.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	return response.StatusCode, string(text), err
}

// listCalls gives the calls after the number in the query's "after", all without it.
func (b *box) listCalls(w http.ResponseWriter, r *http.Request) {
	after := 0
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.Atoi(text); err != nil {
			http.Error(w, "after must be a number: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	b.mu.Lock()
	first := sort.Search(len(b.calls), func(i int) bool { return b.calls[i].Number > after })
	body, err := json.Marshal(b.calls[first:])
	b.mu.Unlock()
	write(w, b.log, body, err)
}

// list gives all of a list, which mu guards.
func (b *box) list(list *[]message) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		body, err := json.Marshal(*list)
		b.mu.Unlock()
		write(w, b.log, body, err)
	}
}

func write(w http.ResponseWriter, log *slog.Logger, body []byte, err error) {
	if err != nil {
		http.Error(w, "encode list: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err != nil {
		log.Warn("answer lost", "error", err.Error())
	}
}
