package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func pair(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func export(t *testing.T, url, service string, spans ...*trace.Span) int {
	t.Helper()
	body, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: []*common.KeyValue{pair("service.name", service)}},
		ScopeSpans: []*trace.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(post(t, url, "application/x-protobuf", bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func post(t *testing.T, url, kind string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/traces", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	return request
}

func spans(t *testing.T, url, query string) (list []span) {
	t.Helper()
	status, text := send(t, http.MethodGet, url+"/spans"+query, "")
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != http.StatusOK {
		t.Fatalf("GET /spans%s gave %d %s: %v", query, status, text, err)
	}
	return list
}

func TestSpansAreKeptAsTheyCame(t *testing.T) {
	url := serve(t)
	of := func(n byte) []byte { return bytes.Repeat([]byte{n}, 16) }
	start := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	failed := &trace.Span{
		TraceId: of(1), SpanId: of(2)[:8], ParentSpanId: of(3)[:8], Name: "GET /api/items", Kind: trace.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(start.UnixNano()), EndTimeUnixNano: uint64(start.Add(time.Millisecond).UnixNano()),
		Status: &trace.Status{Code: trace.Status_STATUS_CODE_ERROR},
		Attributes: []*common.KeyValue{
			pair("http.route", "/api/items"),
			{Key: "http.response.status_code", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 500}}},
			{Key: "list", Value: &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: []*common.AnyValue{
				{Value: &common.AnyValue_BoolValue{BoolValue: true}}, {Value: &common.AnyValue_DoubleValue{DoubleValue: 0.5}}, {Value: &common.AnyValue_StringValue{StringValue: "a"}},
			}}}}},
		},
		Events: []*trace.Span_Event{{Name: "verdict", TimeUnixNano: uint64(start.UnixNano()), Attributes: []*common.KeyValue{pair("outcome", "fail")}}},
	}
	if status := export(t, url, "app", failed); status != http.StatusOK {
		t.Errorf("the export gave %d, want 200", status)
	}
	export(t, url, "loadgen", &trace.Span{TraceId: of(1), SpanId: of(4)[:8]}, &trace.Span{TraceId: of(5), SpanId: of(4)[:8]})

	got := spans(t, url, "?service=app")
	if len(got) != 1 {
		t.Fatalf("app has %d spans, want 1", len(got))
	}
	s := got[0]
	if s.Trace != strings.Repeat("01", 16) || s.ID != strings.Repeat("02", 8) || s.Parent != strings.Repeat("03", 8) || s.Name != "GET /api/items" ||
		s.Service != "app" || s.Kind != "SPAN_KIND_SERVER" || !s.Error || !s.Start.Equal(start) || s.End.Sub(s.Start) != time.Millisecond {
		t.Errorf("got %+v", s)
	}
	if s.Attributes["http.route"] != "/api/items" || s.Attributes["http.response.status_code"] != "500" || s.Attributes["list"] != `[true,0.5,"a"]` {
		t.Errorf("got attributes %v", s.Attributes)
	}
	if len(s.Events) != 1 || s.Events[0].Name != "verdict" || s.Events[0].Attributes["outcome"] != "fail" || !s.Events[0].At.Equal(start) {
		t.Errorf("got events %+v", s.Events)
	}
	for query, want := range map[string]int{"": 3, "?trace=" + strings.Repeat("01", 16): 2, "?trace=" + strings.Repeat("01", 16) + "&service=loadgen": 1, "?trace=00": 0} {
		if n := len(spans(t, url, query)); n != want {
			t.Errorf("GET /spans%s gave %d spans, want %d", query, n, want)
		}
	}
}

func TestWhatIsNoExportIsRefused(t *testing.T) {
	url := serve(t)
	for name, c := range map[string]struct {
		kind, body string
		want       int
	}{
		"JSON":            {"application/json", "{}", http.StatusUnsupportedMediaType},
		"no protobuf":     {"application/x-protobuf", "\xff\xff", http.StatusBadRequest},
		"what is too big": {"application/x-protobuf", strings.Repeat("\x00", maxExport+1), http.StatusRequestEntityTooLarge},
	} {
		response, err := http.DefaultClient.Do(post(t, url, c.kind, strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != c.want {
			t.Errorf("%s gave %d, %v, want %d", name, response.StatusCode, err, c.want)
		}
	}
	if n := len(spans(t, url, "")); n != 0 {
		t.Errorf("%d spans were kept of it", n)
	}
}

func TestSpansAreBounded(t *testing.T) {
	kept := &traces{log: slog.New(slog.DiscardHandler)}
	long := strings.Repeat("x", 2*maxText)
	for i := range 100_000 {
		kept.keep(take(&trace.Span{Name: fmt.Sprint(i), Attributes: []*common.KeyValue{pair(long, long)}}, "app"))
	}
	sum := 0
	for _, s := range kept.spans {
		sum += s.size
	}
	if kept.held > maxHeld || kept.held != sum || kept.held < maxHeld/2 {
		t.Errorf("%d bytes are held and the spans have %d, want at most %d and not much less", kept.held, sum, maxHeld)
	}
	if newest := kept.spans[len(kept.spans)-1]; newest.Name != "99999" || len(newest.Attributes[long[:maxText]]) != maxText {
		t.Errorf("the newest is %q, with attributes %v", newest.Name, newest.Attributes)
	}
}
