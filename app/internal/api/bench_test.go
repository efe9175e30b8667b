package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// BenchmarkARequest says what metrics and traces cost one request, without the
// network. Spans are batched and then thrown away.
func BenchmarkARequest(b *testing.B) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	for name, change := range map[string]func(*Config){
		"bare":               func(cfg *Config) { cfg.NoMetrics = true },
		"metrics":            func(*Config) {},
		"metrics and traces": func(cfg *Config) { cfg.Tracer, cfg.Propagator = provider, propagation.TraceContext{} },
	} {
		b.Run(name, func(b *testing.B) {
			handler := build(b, secret, change).Handler()
			request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/api/items", nil)
			b.ReportAllocs()
			for b.Loop() {
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				if recorder.Code != http.StatusOK {
					b.Fatal(recorder.Code)
				}
			}
		})
	}
}
