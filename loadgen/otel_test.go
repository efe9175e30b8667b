package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestEveryRequestHasASpanThatTheServerSees(t *testing.T) {
	exports := make(chan *collector.ExportTraceServiceRequest, 10)
	otlp := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		export := new(collector.ExportTraceServiceRequest)
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(text, export) != nil {
			t.Errorf("exported to %s: %v", r.URL.Path, err)
		}
		exports <- export
	}))
	defer otlp.Close()
	parents := make(chan string, 10)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") }))
	defer target.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.URL)
	t.Setenv("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if err := run(t.Context(), []string{"run", "--rate", "100", "--duration", "50ms", target.URL}, nil, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	close(exports)
	spans, described := 0, map[string]string{}
	for export := range exports {
		for _, resource := range export.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				described[a.Key] = a.Value.GetStringValue()
			}
			for _, scope := range resource.ScopeSpans {
				spans += len(scope.Spans)
			}
		}
	}
	if spans != 5 || described["service.name"] != "loadgen" || described["service.version"] != version {
		t.Errorf("%d spans of %v were exported before the end, want 5", spans, described)
	}
	if p := <-parents; !strings.HasPrefix(p, "00-4bf92f3577b34da6a3ce929d0e0e4736-") || strings.Contains(p, "00f067aa0ba902b7") {
		t.Errorf("the server saw %q, want a span of its own in the trace that asked", p)
	}
}
