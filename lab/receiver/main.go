// Command receiver keeps the notifications that are posted to it and shows them: what the gatekeeper tells people, the
// proof reads here.
package main

import (
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
	"sync"
	"syscall"
	"time"
)

// Written by the linker: -ldflags "-X main.version=1.0.0 -X main.commit=abc".
var version, commit = "dev", "none"

// Bounds of what is kept, so that nobody can fill the memory.
const (
	maxMessages = 1000
	maxBody     = 64 << 10
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, ":8080", os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

// run serves on address until ctx ends.
func run(ctx context.Context, address string, stderr io.Writer) error {
	log := slog.New(slog.NewJSONHandler(stderr, nil)).With("component", "receiver")
	server := &http.Server{
		Handler:           newBox(time.Now, log),
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

// box keeps the newest messages, the oldest first.
type box struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex
	messages []message // guarded by mu
}

func newBox(now func() time.Time, log *slog.Logger) http.Handler {
	b := &box{now: now, log: log, messages: []message{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", b.put)
	mux.HandleFunc("GET /{$}", b.list)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

func (b *box) put(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "read body: "+err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	b.mu.Lock()
	b.messages = append(b.messages, message{At: b.now().UTC(), Headers: r.Header, Body: string(body)})
	b.messages = b.messages[max(len(b.messages)-maxMessages, 0):]
	b.mu.Unlock()
	b.log.Info("received", "bytes", len(body), "key", r.Header.Get("Idempotency-Key"))
	w.WriteHeader(http.StatusAccepted)
}

func (b *box) list(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	body, err := json.Marshal(b.messages)
	b.mu.Unlock()
	if err != nil {
		http.Error(w, "encode messages: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err != nil {
		b.log.Warn("answer lost", "error", err.Error())
	}
}
