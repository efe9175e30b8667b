// Program orders is a small service as others have one: plain net/http, metrics by names of its own on a port of their own,
// and nothing in it that knows how it is released. docs/adopt.md puts its releases under the gatekeeper.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		log.Fatal("orders: ", err)
	}
}

// run serves orders on :8080 and metrics on :9102 until ctx ends. PAYMENT_TIMEOUT is how long it waits for the payment
// provider, 500ms without it.
func run(ctx context.Context, getenv func(string) string) error {
	limit := 500 * time.Millisecond
	if text := getenv("PAYMENT_TIMEOUT"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("read PAYMENT_TIMEOUT: %w", err)
		}
	}
	registry := prometheus.NewRegistry()
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	serving, ctx := errgroup.WithContext(ctx)
	for address, handler := range map[string]http.Handler{":8080": orders(registry, limit), ":9102": metrics} {
		server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		serving.Go(func() error {
			if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		serving.Go(func() error {
			<-ctx.Done()
			return server.Shutdown(context.WithoutCancel(ctx))
		})
	}
	return serving.Wait()
}

// orders is the service: GET /orders/{id} asks the payment provider whether the order is paid, and is 504 when that does
// not answer within the limit.
func orders(registry prometheus.Registerer, limit time.Duration) http.Handler {
	responses := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orders_http_responses_total", Help: "Responses, by handler and status code.",
	}, []string{"handler", "code"})
	registry.MustRegister(responses)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		code, body := http.StatusOK, map[string]string{"id": r.PathValue("id"), "payment": "done"}
		if err := askPayments(r.Context(), limit); err != nil {
			code, body = http.StatusGatewayTimeout, map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body) // the client went away
		responses.WithLabelValues("order", strconv.Itoa(code)).Inc()
	})
	return mux
}

// askPayments stands for a call to a payment provider that takes 5 to 50 ms.
func askPayments(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the payment provider did not answer within %v", limit))
	defer cancel()
	select {
	case <-time.After(5*time.Millisecond + rand.N(45*time.Millisecond)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
