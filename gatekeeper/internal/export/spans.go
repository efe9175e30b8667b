package export

import (
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

const scope = "github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper"

// spans are t's as an exporter takes them. The SDK's tracer is passed by: it chooses ids and times itself, and these are
// known.
func spans(t trace.Trace, from *resource.Resource) []sdktrace.ReadOnlySpan {
	var all tracetest.SpanStubs
	within := func(id oteltrace.SpanID) oteltrace.SpanContext {
		if !id.IsValid() {
			return oteltrace.SpanContext{}
		}
		return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: t.ID, SpanID: id, TraceFlags: oteltrace.FlagsSampled})
	}
	for i, s := range t.Spans {
		stub := tracetest.SpanStub{
			Name: s.Name, SpanContext: within(s.ID), Parent: within(s.Parent), SpanKind: oteltrace.SpanKindInternal,
			StartTime: s.Start, EndTime: s.End, Attributes: s.Attributes, Resource: from, InstrumentationScope: instrumentation.Scope{Name: scope},
		}
		if i == 0 && s.Parent.IsValid() {
			stub.Parent = stub.Parent.WithRemote(true)
		}
		for _, e := range s.Events {
			stub.Events = append(stub.Events, sdktrace.Event{Name: e.Name, Time: e.At, Attributes: e.Attributes})
		}
		if s.Error != "" {
			stub.Status = sdktrace.Status{Code: codes.Error, Description: s.Error}
		}
		all = append(all, stub)
	}
	return all.Snapshots()
}
