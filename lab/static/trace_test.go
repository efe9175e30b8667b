package static

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// span is one that arrived, with what its process says of itself.
type span struct {
	*trace.Span
	resource map[string]string
}

func (s span) attribute(key string) string { return values(s.Attributes)[key] }

func values(pairs []*common.KeyValue) map[string]string {
	found := map[string]string{}
	for _, pair := range pairs {
		found[pair.GetKey()] = pair.GetValue().GetStringValue()
	}
	return found
}

// otlp is a collector that takes traces over both protocols and keeps them.
type otlp struct {
	collector.UnimplementedTraceServiceServer
	http, grpc string // endpoints

	mu    sync.Mutex
	spans []span // guarded by mu
}

func startOTLP(t *testing.T) *otlp {
	t.Helper()
	o := &otlp{}
	web := httptest.NewServer(http.HandlerFunc(o.post))
	t.Cleanup(web.Close)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, o)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	o.http, o.grpc = web.URL, "http://"+listener.Addr().String()
	return o
}

// Export implements the gRPC service.
func (o *otlp) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		says := values(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				o.spans = append(o.spans, span{s, says})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (o *otlp) post(w http.ResponseWriter, r *http.Request) {
	var request collector.ExportTraceServiceRequest
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "want a protobuf at /v1/traces", http.StatusBadRequest)
		return
	}
	_, _ = o.Export(r.Context(), &request) // it only keeps them
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// of returns the spans of one service that have arrived.
func (o *otlp) of(service string) []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(o.spans), func(s span) bool { return s.resource["service.name"] != service })
}

// wait returns the spans of a service once there are that many; ten seconds without them are a failure.
func (o *otlp) wait(t *testing.T, service string, many int) []span {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		spans := o.of(service)
		if len(spans) >= many {
			return spans
		}
		if time.Now().After(end) {
			t.Fatalf("%d spans of %s arrived, want %d", len(spans), service, many)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// load runs the load generator as it ships against a URL.
func load(t *testing.T, env []string, args ...string) {
	t.Helper()
	run := exec.CommandContext(t.Context(), build(t, "loadgen"), append([]string{"run"}, args...)...)
	run.Env = append(os.Environ(), env...)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("run loadgen: %v\n%s", err, out)
	}
}

// exemplars are the trace ids in a histogram of /metrics, read as Prometheus does.
func exemplars(t *testing.T, url, histogram string) []string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var ids []string
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header))
	for {
		var family dto.MetricFamily
		err := decoder.Decode(&family)
		if errors.Is(err, io.EOF) {
			return ids
		}
		if err != nil {
			t.Fatal(err)
		}
		if family.GetName() != histogram {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, bucket := range m.GetHistogram().GetBucket() {
				for _, label := range bucket.GetExemplar().GetLabel() {
					if label.GetName() == "trace_id" {
						ids = append(ids, label.GetValue())
					}
				}
			}
		}
	}
}

func TestOneTraceLeadsFromLoadgenThroughTheAppToItsExemplar(t *testing.T) {
	o := startOTLP(t)
	soon := "OTEL_BSP_SCHEDULE_DELAY=50" // milliseconds until a batch is sent
	url := startApp(t, soon, "OTEL_EXPORTER_OTLP_ENDPOINT="+o.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	load(t, []string{soon, "OTEL_EXPORTER_OTLP_ENDPOINT=" + o.http}, "--rate", "20", "--duration", "500ms", url+"/api/items")

	sent := map[string]string{} // trace id of each request, by the id of its client span
	for _, s := range o.wait(t, "loadgen", 10) {
		if s.GetKind() != trace.Span_SPAN_KIND_CLIENT {
			t.Errorf("loadgen's span %q is %s, want a client's", s.GetName(), s.GetKind())
		}
		sent[hex.EncodeToString(s.GetSpanId())] = hex.EncodeToString(s.GetTraceId())
	}
	answered := map[string]bool{}
	for _, s := range o.wait(t, "app", 10) {
		id := hex.EncodeToString(s.GetTraceId())
		if sent[hex.EncodeToString(s.GetParentSpanId())] != id {
			t.Errorf("the app's span in trace %s does not continue one of loadgen's", id)
		}
		if s.GetKind() != trace.Span_SPAN_KIND_SERVER || s.attribute("http.route") != "/api/items" {
			t.Errorf("the app's span is %s of route %q, want a server's of /api/items", s.GetKind(), s.attribute("http.route"))
		}
		if s.resource["service.version"] != "dev" || s.resource["rollout.revision"] != "r1" {
			t.Errorf("the app says of itself %v, want version dev and revision r1", s.resource)
		}
		answered[id] = true
	}
	if len(sent) != 10 || len(answered) != 10 {
		t.Errorf("%d requests were sent in traces, %d traces reached the app; want 10 of both", len(sent), len(answered))
	}
	found := exemplars(t, url, "http_request_duration_seconds")
	if len(found) == 0 {
		t.Error("the histogram has no exemplar with a trace id")
	}
	for _, id := range found {
		if !answered[id] {
			t.Errorf("the exemplar names trace %s, which nobody sent", id)
		}
	}
}
