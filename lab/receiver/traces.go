package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Bounds of what is kept of traces. A minute of the lab's 50 requests a second is 6,000 spans of some 700 bytes.
const (
	maxExport = 4 << 20  // bytes of one request
	maxHeld   = 32 << 20 // bytes of all spans, about
	maxText   = 256      // bytes of a name or value
	perSpan   = 400      // bytes that a span takes beside its texts, about
)

// span is one span as it came, without what the proof does not ask for.
type span struct {
	Trace      string            `json:"traceId"`
	ID         string            `json:"spanId"`
	Parent     string            `json:"parentSpanId"` // "" is a root
	Service    string            `json:"service"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"` // as OTLP names it, like SPAN_KIND_SERVER
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Error      bool              `json:"error"` // its status
	Attributes map[string]string `json:"attributes"`
	Events     []event           `json:"events"`

	size int // bytes that it is counted with
}

// event is one event of a span.
type event struct {
	Name       string            `json:"name"`
	At         time.Time         `json:"at"`
	Attributes map[string]string `json:"attributes"`
}

// traces keeps the newest spans, and shows them.
type traces struct {
	log *slog.Logger

	mu    sync.Mutex // guards all below
	spans []span     // in the order in which they came
	held  int        // bytes
}

// export takes spans by OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp.
func (t *traces) export(w http.ResponseWriter, r *http.Request) {
	if is := r.Header.Get("Content-Type"); is != "application/x-protobuf" {
		http.Error(w, "want Content-Type application/x-protobuf, not "+is, http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExport))
	if err != nil {
		http.Error(w, "read body: "+err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		http.Error(w, "read spans: "+err.Error(), http.StatusBadRequest)
		return
	}
	for _, resource := range request.GetResourceSpans() {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				t.keep(take(s, service))
			}
		}
	}
	// The whole answer of a request that was taken is an empty message, which has no bytes.
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// take is as much of a span as is kept.
func take(s *trace.Span, service string) span {
	moment := func(nanoseconds uint64) time.Time { return time.Unix(0, int64(nanoseconds)).UTC() }
	kept := span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Service: cut(service), Name: cut(s.GetName()), Kind: s.GetKind().String(),
		Start: moment(s.GetStartTimeUnixNano()), End: moment(s.GetEndTimeUnixNano()),
		Error: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Attributes: attributes(s.GetAttributes()),
		Events: []event{}, size: perSpan,
	}
	for _, e := range s.GetEvents() {
		kept.Events = append(kept.Events, event{Name: cut(e.GetName()), At: moment(e.GetTimeUnixNano()), Attributes: attributes(e.GetAttributes())})
	}
	kept.size += size(kept.Attributes) + len(kept.Trace+kept.ID+kept.Parent+kept.Service+kept.Name)
	for _, e := range kept.Events {
		kept.size += size(e.Attributes) + len(e.Name)
	}
	return kept
}

// attributes are the pairs with their values as text.
func attributes(pairs []*common.KeyValue) map[string]string {
	texts := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		texts[cut(pair.GetKey())] = cut(text(pair.GetValue()))
	}
	return texts
}

// text is a value as one reads it: text bare, all else as JSON.
func text(v *common.AnyValue) string {
	if s, ok := v.GetValue().(*common.AnyValue_StringValue); ok {
		return s.StringValue
	}
	if written, err := json.Marshal(plain(v)); err == nil {
		return string(written)
	}
	return "" // a number that JSON has not, such as NaN
}

// plain is a value without its wrapping.
func plain(v *common.AnyValue) any {
	switch is := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return is.StringValue
	case *common.AnyValue_BoolValue:
		return is.BoolValue
	case *common.AnyValue_IntValue:
		return is.IntValue
	case *common.AnyValue_DoubleValue:
		return is.DoubleValue
	case *common.AnyValue_ArrayValue:
		list := []any{}
		for _, one := range is.ArrayValue.GetValues() {
			list = append(list, plain(one))
		}
		return list
	default:
		return nil
	}
}

func cut(s string) string { return s[:min(len(s), maxText)] }

// size counts an entry of a map with what the map itself takes for it.
func size(pairs map[string]string) int {
	sum := 0
	for name, value := range pairs {
		sum += len(name) + len(value) + 48
	}
	return sum
}

// keep adds a span, and drops the oldest ones where it would become too much.
func (t *traces) keep(s span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans, t.held = append(t.spans, s), t.held+s.size
	drop := 0
	for ; t.held > maxHeld; drop++ {
		t.held -= t.spans[drop].size
		t.spans[drop] = span{} // the array below is kept for a while
	}
	t.spans = t.spans[drop:]
}

// list gives the spans of the trace in the query, of the service in it, or both; without either, all.
func (t *traces) list(w http.ResponseWriter, r *http.Request) {
	id, service := r.URL.Query().Get("trace"), r.URL.Query().Get("service")
	found := []span{}
	t.mu.Lock()
	for _, s := range t.spans {
		if (id == "" || s.Trace == id) && (service == "" || s.Service == service) {
			found = append(found, s)
		}
	}
	t.mu.Unlock()
	body, err := json.Marshal(found)
	write(w, t.log, body, err)
}
