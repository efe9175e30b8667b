package api

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	traceparent = "00-" + traceID + "-b7ad6b7169203331-"
)

// watched starts a service whose spans end in the recorder; they are sampled as
// the caller of the request says.
func watched(t *testing.T) (*service, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	s := start(t, secret, func(cfg *Config) { cfg.Tracer, cfg.Propagator = provider, propagation.TraceContext{} })
	return s, spans
}

func attributes(span sdktrace.ReadOnlySpan) map[string]attribute.Value {
	out := map[string]attribute.Value{}
	for _, a := range span.Attributes() {
		out[string(a.Key)] = a.Value
	}
	return out
}

func TestBusinessRequestsAreSpansOfTheCallersTrace(t *testing.T) {
	s, spans := watched(t)
	s.do("GET", "/api/items/77", "", "Traceparent", traceparent+"01")
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/nope"} {
		s.do("GET", path, "")
	}
	s.admin("GET", "")
	if n := len(spans.Ended()); n != 1 {
		t.Fatalf("%d spans, want the one of the business route", n)
	}
	span := spans.Ended()[0]
	got := attributes(span)
	if span.SpanContext().TraceID().String() != traceID || got["http.route"].AsString() != "/api/items/:id" || got["http.response.status_code"].AsInt64() != 404 {
		t.Errorf("trace %s with %v", span.SpanContext().TraceID(), got)
	}
	if span.Status().Code == codes.Error {
		t.Error("a mistake of the client marks the span as an error")
	}
}

func TestInjectedFaultsAreNamedInTheSpan(t *testing.T) {
	for plan, want := range map[string]struct {
		fault string
		code  codes.Code
	}{
		`{"errorRate":1,"status":503,"latency":"1ms","ttl":"1m"}`: {"error", codes.Error},
		`{"latency":"1ms","ttl":"1m"}`:                            {"latency", codes.Unset},
		`{"abortRate":1,"ttl":"1m"}`:                              {"abort", codes.Error},
		`{"hangRate":1,"ttl":"50ms"}`:                             {"hang", codes.Error},
		`{"errorRate":1e-12,"ttl":"1m"}`:                          {"", codes.Unset},
	} {
		t.Run(plan, func(t *testing.T) {
			s, spans := watched(t)
			s.admin("PUT", plan)
			if strings.Contains(want.fault, "abort") || want.fault == "hang" {
				_ = s.lost("/") // how it is lost is another test's matter
			} else {
				s.do("GET", "/", "")
			}
			eventually(t, "the span ends", func() bool { return len(spans.Ended()) == 1 })
			span := spans.Ended()[0]
			if got := attributes(span)["chaos.fault"].AsString(); got != want.fault || span.Status().Code != want.code {
				t.Errorf("fault %q with %v, want %q with %v", got, span.Status(), want.fault, want.code)
			}
		})
	}
}

func TestASampledRequestIsAnExemplar(t *testing.T) {
	s, _ := watched(t)
	s.do("GET", "/", "", "Traceparent", traceparent+"00") // not sampled: there would be no trace to find
	open := func() answer {
		return s.do("GET", "/metrics", "", "Accept", "application/openmetrics-text;version=1.0.0")
	}
	if got := open(); strings.Contains(got.body, "trace_id") {
		t.Error("a request that is not sampled has an exemplar")
	}
	s.do("GET", "/", "", "Traceparent", traceparent+"01")
	got := open()
	if !strings.HasPrefix(got.header.Get("Content-Type"), "application/openmetrics-text") {
		t.Errorf("content type %s", got.header.Get("Content-Type"))
	}
	want := `# {trace_id="` + traceID + `"}`
	found := false
	for line := range strings.Lines(got.body) {
		found = found || strings.HasPrefix(line, "http_request_duration_seconds_bucket") && strings.Contains(line, want)
	}
	if !found {
		t.Errorf("no bucket has the exemplar %s", want)
	}
	plain := s.do("GET", "/metrics", "", "Accept", "")
	if kind := plain.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") || strings.Contains(plain.body, "trace_id") {
		t.Errorf("without Accept: %s", kind)
	}
}
