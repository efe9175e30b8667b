package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// collector takes traces by OTLP, by HTTP and by gRPC.
type collector struct {
	collectortrace.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracepb.ResourceSpans
}

func (c *collector) Export(_ context.Context, req *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, req.GetResourceSpans()...)
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var req collectortrace.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	_, _ = c.Export(r.Context(), &req) // never fails
}

// byHTTP and byGRPC serve c and return its endpoint.
func (c *collector) byHTTP(t *testing.T) string {
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return server.URL
}

func (c *collector) byGRPC(t *testing.T) string {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(server, c)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) }) // ends with Stop
	t.Cleanup(func() { server.Stop(); served.Wait() })
	return "http://" + listener.Addr().String()
}

func strs(attributes []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

func TestTracesArriveByBothProtocolsAndSayWhoseTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		protocol string
		serve    func(*collector, *testing.T) string
	}{
		"without a protocol it is HTTP": {"", (*collector).byHTTP},
		"http/protobuf":                 {"http/protobuf", (*collector).byHTTP},
		"grpc":                          {"grpc", (*collector).byGRPC},
	} {
		t.Run(name, func(t *testing.T) {
			var got collector
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.serve(&got, t))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", c.protocol)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.namespace.name=shop")
			t.Setenv("REVISION", "65d9c")
			t.Setenv("POD_NAME", "pod-7")
			p := launch(t, "--drain-grace=0s")
			if status, _, _ := p.get(http.DefaultClient, "/api/items"); status != 200 {
				t.Errorf("status %d", status)
			}
			p.get(http.DefaultClient, "/readyz")
			p.stop()
			if err := <-p.done; err != nil {
				t.Errorf("a clean end is no error: %v", err)
			}
			// The process has ended: what it had to send is here.
			if len(got.spans) != 1 || len(got.spans[0].GetScopeSpans()) != 1 || len(got.spans[0].GetScopeSpans()[0].GetSpans()) != 1 {
				t.Fatalf("got %v, want one span", got.spans)
			}
			if span := got.spans[0].GetScopeSpans()[0].GetSpans()[0]; span.GetName() != "GET /api/items" || strs(span.GetAttributes())["http.route"] != "/api/items" {
				t.Errorf("the span is %v", span)
			}
			resource := strs(got.spans[0].GetResource().GetAttributes())
			for key, want := range map[string]string{
				"service.name": "app", "service.version": "dev", "service.instance.id": "pod-7", "k8s.pod.name": "pod-7",
				"rollout.revision": "65d9c", "k8s.namespace.name": "shop",
			} {
				if resource[key] != want {
					t.Errorf("%s is %q, want %q", key, resource[key], want)
				}
			}
		})
	}
}

func TestTheEnvironmentSwitchesTracingOff(t *testing.T) {
	for name, change := range map[string]string{
		"the SDK is disabled":  "OTEL_SDK_DISABLED=true",
		"the exporter is none": "OTEL_TRACES_EXPORTER=none",
		"there is no endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT=",
	} {
		t.Run(name, func(t *testing.T) {
			var got collector
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.byHTTP(t))
			key, value, _ := strings.Cut(change, "=")
			t.Setenv(key, value)
			p := launch(t, "--drain-grace=0s")
			p.get(http.DefaultClient, "/")
			p.stop()
			if err := <-p.done; err != nil || len(got.spans) != 0 {
				t.Errorf("%v, %d batches of spans", err, len(got.spans))
			}
		})
	}
}

func TestAnUnknownProtocolStopsTheStartAndIsNamed(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, "http/json")
			err := run(t.Context(), []string{"serve", "--listen=127.0.0.1:0"}, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), name+" is \"http/json\"") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// silent returns an address where connections are taken and never answered.
func silent(t *testing.T) string {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

func TestWithoutACollectorTheAppServesAndStopsInTime(t *testing.T) {
	for name, endpoint := range map[string]string{"it refuses": "http://127.0.0.1:1", "it never answers": silent(t)} {
		for _, protocol := range []string{"grpc", "http/protobuf"} {
			t.Run(name+" by "+protocol, func(t *testing.T) {
				t.Parallel()
				// A process of its own: its environment is not that of the tests beside it.
				c := spawn(t, []string{
					"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
					"OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4", "OTEL_BSP_SCHEDULE_DELAY=10",
					"OTEL_BSP_EXPORT_TIMEOUT=50", // ms: several batches fail while the test runs
				}, "--drain-grace=0s")
				for range 500 { // many more than the queue holds
					if status, _, _ := c.get(http.DefaultClient, "/api/items"); status != 200 {
						t.Fatalf("status %d", status)
					}
				}
				eventually(t, "the trouble is in the log", func() bool { return strings.Contains(c.log.String(), "telemetry is not sent") })
				code := c.end(t)
				if n := strings.Count(c.log.String(), "telemetry is not sent"); code != 0 || n != 1 {
					t.Errorf("exit code %d, %d lines about the collector, want 0 and 1:\n%s", code, n, c.log)
				}
				for line := range strings.Lines(c.log.String()) {
					if !json.Valid([]byte(line)) {
						t.Errorf("a line that is no JSON: %s", line)
					}
				}
			})
		}
	}
}

func TestLogLinesOfARequestNameItsTrace(t *testing.T) {
	file := t.TempDir() + "/token"
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	c := spawn(t, []string{"APP_CHAOS_TOKEN_FILE=" + file, "LOG_LEVEL=debug", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"})
	for method, path := range map[string]string{http.MethodDelete: "/chaos", http.MethodGet: "/"} {
		req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer abc")
		req.Header.Set("Traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
	}
	c.end(t)
	found := 0
	for line := range strings.Lines(c.log.String()) {
		var got struct {
			Msg   string
			Trace string `json:"trace_id"`
			Span  string `json:"span_id"`
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got.Msg != "request" && got.Msg != "chaos plan cleared" {
			continue
		}
		found++
		if got.Trace != traceID || got.Span == "" {
			t.Errorf("%s", line)
		}
	}
	if found != 2 {
		t.Errorf("%d lines, want 2:\n%s", found, c.log)
	}
}
