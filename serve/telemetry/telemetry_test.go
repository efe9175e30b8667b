package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestTheEnvironmentSaysWhetherThereIsTracing(t *testing.T) {
	for _, c := range []struct {
		proves string
		env    map[string]string
		on     bool
		err    string
	}{
		{"not without endpoint", nil, false, ""},
		{"with an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true, ""},
		{"with one for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, true, ""},
		{"with gRPC", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{"not when the SDK is off", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "TRUE"}, false, ""},
		{"not without exporter", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		{
			"not by a protocol that nobody speaks",
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
			false, `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/json"`,
		},
	} {
		t.Run(c.proves, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			tracing, err := Start(t.Context(), Program{Name: "shop"}, slog.New(slog.DiscardHandler))
			if (tracing.Provider() != nil) != c.on || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("provider %v, %v", tracing.Provider(), err)
			}
			tracing.Stop()
		})
	}
}

// Spans that a program made itself arrive with their resource, and so do those of its tracers, at the latest at the end.
func TestSpansArriveAndSayWhoseTheyAre(t *testing.T) {
	var got []*collector.ExportTraceServiceRequest
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		export := new(collector.ExportTraceServiceRequest)
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(text, export) != nil {
			t.Errorf("exported to %s: %v", r.URL.Path, err)
		}
		got = append(got, export)
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name=shop,colour=blue")
	program := Program{Name: "till", Version: "1.2.3", Attributes: []attribute.KeyValue{attribute.String("colour", "red")}}

	exporter, about, err := Exporter(t.Context(), program, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	spans := tracetest.SpanStubs{{Name: "recorded", Resource: about}}.Snapshots()
	if err := errors.Join(exporter.ExportSpans(t.Context(), spans), exporter.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	tracing, err := Start(t.Context(), program, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Provider().Tracer("test").Start(t.Context(), "live")
	span.End()
	tracing.Stop()

	if len(got) != 2 {
		t.Fatalf("%d exports, want 2", len(got))
	}
	for i, name := range []string{"recorded", "live"} {
		of := got[i].GetResourceSpans()[0]
		if is := of.GetScopeSpans()[0].GetSpans()[0].GetName(); is != name {
			t.Errorf("the span is %s, want %s", is, name)
		}
		attributes := map[string]string{}
		for _, a := range of.GetResource().GetAttributes() {
			attributes[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for key, want := range map[string]string{"service.name": "till", "service.version": "1.2.3", "k8s.namespace.name": "shop", "colour": "blue"} {
			if attributes[key] != want {
				t.Errorf("%s: %s is %q, want %q: the environment has the last word", name, key, attributes[key], want)
			}
		}
	}
}

func TestTheSameTroubleIsSaidOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := complaints{log: slog.New(slog.NewJSONHandler(&out, nil)), now: func() time.Time { return now }}
	for range 100 {
		c.Handle(errors.New("no collector"))
	}
	now = now.Add(time.Minute)
	c.Handle(errors.New("no collector"))
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), `"suppressed":99`) {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
}
