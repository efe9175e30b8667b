// Peers are servers that `lab bench` measures with: one that stalls, and a sink for traces.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run serves the peer that args name on a free port of loopback, writes its base URL as the first line, and ends with
// ctx.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: peers stall|sink")
	}
	handlers := map[string]http.Handler{"stall": &stall{}, "sink": http.HandlerFunc(sink)}
	handler, known := handlers[args[0]]
	if !known {
		return fmt.Errorf("there is no peer %q; choose stall or sink", args[0])
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintln(out, "http://"+listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return server.Close()
	}
}

// sink takes traces (OTLP over HTTP) and forgets them, as cheaply as that can be done: the collector is not measured.
func sink(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // what is lost here nobody misses
	w.Header().Set("Content-Type", "application/x-protobuf")
}
