package static

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
)

// The pipeline's trace and span that the release continues.
const (
	pipelineTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	pipelineSpan  = "00f067aa0ba902b7"
)

const operatorToken = "a-token-of-an-operator"

// judged is a release on a made-up cluster, whose canary is the real app, before the real gatekeeper.
type judged struct {
	t             *testing.T
	member        *crowd.Member
	app           string // URL
	hooks, people string // URLs
	program, dir  string // the gatekeeper, and where its data are
	begin         func() (end func())
}

func newJudged(t *testing.T, app string) *judged {
	t.Helper()
	cluster, err := crowd.Empty(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kubeconfig":            cluster.Kubeconfig(),
		"policies/default.yaml": "name: default\nbake: {first: 2s, step: 1s}\nconfidence: {block: 500ms}\ngates: {approval: start}\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, hooks, people := build(t, "gatekeeper"), freeAddress(t), freeAddress(t)
	j := &judged{t: t, app: app, program: program, dir: dir, hooks: "http://" + hooks, people: "http://" + people}
	j.begin = func() (end func()) {
		end = start(t, program, "serve", "--hook-listen", hooks, "--listen", people, "--data", dir, "--policies", filepath.Join(dir, "policies"),
			"--kubeconfig", filepath.Join(dir, "kubeconfig"), "--operator-token", operatorToken, "--trace-url", "https://traces.example/{trace_id}")
		wait(t, "the gatekeeper", func() bool { return answers(t, j.people+"/readyz") })
		return end
	}
	if j.member, err = cluster.Join(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	j.member.Address = strings.TrimPrefix(app, "http://")
	j.member.Annotations = map[string]string{"rollout.monitoring/traceparent": "00-" + pipelineTrace + "-" + pipelineSpan + "-01"}
	return j
}

// asks puts one of Flagger's questions until the answer is yes.
func (j *judged) asks(hook, phase string) {
	j.t.Helper()
	wait(j.t, "a yes to "+hook, func() bool { return j.ask(hook, phase) })
}

func (j *judged) ask(hook, phase string) (yes bool) {
	j.t.Helper()
	status, _ := j.post(j.hooks+"/hooks/v1/"+hook, "", fmt.Sprintf(`{"name":"shop","namespace":%q,"phase":%q}`, crowd.Namespace, phase))
	return status == http.StatusOK
}

func (j *judged) post(url, token, body string) (status int, err error) {
	request, err := http.NewRequestWithContext(j.t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		j.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func (j *judged) move(phase string, weight int) {
	j.t.Helper()
	if err := j.member.Move(j.t.Context(), phase, weight); err != nil {
		j.t.Fatal(err)
	}
}

// recorded is a rollout as the API has it.
type recorded struct {
	ID       string
	Result   string
	TraceID  string
	Reported bool
	Failing  []struct{ Trace, Status, Route, URL string }
}

func (j *judged) rollout() (r recorded) {
	j.t.Helper()
	var list struct{ Rollouts []struct{ ID string } }
	j.read("/api/v1/rollouts", &list)
	if len(list.Rollouts) == 1 {
		j.read("/api/v1/rollouts/"+list.Rollouts[0].ID, &r)
	}
	return r
}

func (j *judged) read(path string, into any) {
	j.t.Helper()
	if err := json.Unmarshal(get(j.t, j.people+path), into); err != nil {
		j.t.Fatal(err)
	}
}

// fails is a release that waits for an approval, fails at its first step and is rolled back.
func (j *judged) fails() {
	j.t.Helper()
	if err := j.member.Release(j.t.Context(), "v2", 0); err != nil {
		j.t.Fatal(err)
	}
	j.move("Waiting", 0)
	wait(j.t, "the rollout", func() bool { return j.rollout().ID != "" })
	if j.ask("confirm-rollout", "Waiting") {
		j.t.Fatal("it may start before anybody has approved it")
	}
	wait(j.t, "the held gate in the record", func() bool {
		return bytes.Contains(get(j.t, j.people+"/api/v1/rollouts/"+j.rollout().ID), []byte(`"held":`))
	})
	if status, err := j.post(j.people+"/api/v1/rollouts/"+j.rollout().ID+"/approve", operatorToken, `{"why":"seen"}`); err != nil || status > 299 {
		j.t.Fatalf("approve: %d %v", status, err)
	}
	j.asks("confirm-rollout", "Waiting")
	j.move("Progressing", 0)
	j.asks("pre-rollout", "Progressing")
	j.asks("confirm-traffic-increase", "Progressing")
	j.move("Progressing", 10)
	wait(j.t, "the first traffic", func() bool {
		return bytes.Contains(get(j.t, j.people+"/api/v1/rollouts/"+j.rollout().ID), []byte(`"weight":10,"from"`))
	})
	wait(j.t, "a yes to rollback", func() bool {
		for range 20 {
			answers(j.t, j.app+"/api/items") // they do not: each is an error
		}
		return j.ask("rollback", "Progressing")
	})
	j.move("Failed", 0)
	if err := j.member.Rest(j.t.Context()); err != nil {
		j.t.Fatal(err)
	}
	wait(j.t, "the closing entry", func() bool { return j.rollout().Reported })
}

// broken starts the real app so that every answer is an error, with its spans sent to o.
func broken(t *testing.T, o *otlp) string {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return startApp(t, "APP_CHAOS_TOKEN_FILE="+token, `CHAOS={"errorRate":1,"ttl":"10m"}`, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_EXPORTER_OTLP_ENDPOINT="+o.http)
}

// pipeline sends the span that a pipeline makes of its deploy step.
func pipeline(t *testing.T, o *otlp) {
	t.Helper()
	id := func(text string) []byte {
		all, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	now := time.Now()
	body, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: "ci"}}}}},
		ScopeSpans: []*trace.ScopeSpans{{Spans: []*trace.Span{{
			TraceId: id(pipelineTrace), SpanId: id(pipelineSpan), Name: "deploy",
			StartTimeUnixNano: uint64(now.UnixNano()), EndTimeUnixNano: uint64(now.Add(time.Second).UnixNano()),
		}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.http+"/v1/traces", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestOneTraceHoldsThePipelineAndItsRollout(t *testing.T) {
	o := startOTLP(t)
	j := newJudged(t, broken(t, o))
	pipeline(t, o)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", o.http)
	j.begin()
	j.fails()

	deploy := o.wait(t, "ci", 1)[0]
	names, root := map[string]bool{}, span{}
	spans := o.wait(t, "gatekeeper", 5)
	for _, s := range spans {
		names[s.GetName()] = true
		if id := hex.EncodeToString(s.GetTraceId()); id != pipelineTrace {
			t.Errorf("span %q is in trace %s, not in the pipeline's", s.GetName(), id)
		}
		if s.GetName() == "rollout" {
			root = s
		}
	}
	for _, want := range []string{"rollout", "gate approval", "decision approve", "step 10 %", "verdict fail"} {
		if !names[want] {
			t.Errorf("there is no span %q among %v", want, names)
		}
	}
	if root.Span == nil || !bytes.Equal(root.GetParentSpanId(), deploy.GetSpanId()) || root.GetStatus().GetCode() != trace.Status_STATUS_CODE_ERROR {
		t.Fatalf("the rollout's own span: %v", root.Span)
	}
	if root.attribute("rollout.result") != "rolled-back" || root.attribute("deployment.name") != crowd.Namespace+"/shop" || root.attribute("rollout.deploy_id") != "v2" {
		t.Errorf("it says %v", values(root.Attributes))
	}
	for _, s := range spans {
		if s.GetName() != "rollout" && !bytes.Equal(s.GetParentSpanId(), root.GetSpanId()) {
			t.Errorf("%q does not belong to the rollout", s.GetName())
		}
	}
	r := j.rollout()
	if r.TraceID != pipelineTrace || r.Result != "rolled-back" {
		t.Errorf("the API says trace %s of %s", r.TraceID, r.Result)
	}
	j.namesWhatFailed(o, r)
	sidecar := filepath.Join(j.dir, "rollouts", r.ID+".json")
	wait(t, "the sidecar", func() bool { _, err := os.Stat(sidecar); return err == nil })
	if out, err := exec.CommandContext(t.Context(), j.program, "verify", "--server", j.people, sidecar).CombinedOutput(); err != nil {
		t.Errorf("what the traces are made from does not fit: %v\n%s", err, out)
	}
}

// namesWhatFailed checks that each trace id in the record and in the report is of a request that really failed.
func (j *judged) namesWhatFailed(o *otlp, r recorded) {
	j.t.Helper()
	failed := func(id string) bool {
		return slices.ContainsFunc(o.of("app"), func(s span) bool {
			return hex.EncodeToString(s.GetTraceId()) == id && s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR
		})
	}
	if len(r.Failing) == 0 {
		j.t.Error("it names no failing request")
	}
	report := get(j.t, j.people+"/api/v1/rollouts/"+r.ID+"/report.md")
	for _, f := range r.Failing {
		link := "[" + f.Trace + "](https://traces.example/" + f.Trace + ")"
		wait(j.t, "the failed span in trace "+f.Trace, func() bool { return failed(f.Trace) })
		if f.Status != "500" || f.Route != "/api/items" || f.URL != "https://traces.example/"+f.Trace || !bytes.Contains(report, []byte(link)) {
			j.t.Errorf("%+v is not as it was sent; the report:\n%s", f, report)
		}
	}
}

// Nothing waits for a collector, and what ended while it was away comes later, over a restart too.
func TestATraceThatNobodyTookComesLater(t *testing.T) {
	o := startOTLP(t)
	address := freeAddress(t)
	j := newJudged(t, broken(t, o))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
	end := j.begin()
	j.fails()
	wait(t, "an attempt that fails", func() bool { return valueOf(scrape(t, j.people), "gatekeeper_traces_failures_total") > 0 })
	end()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(o.post), ReadHeaderTimeout: time.Minute}}
	back.Start()
	t.Cleanup(back.Close)
	j.begin()
	if !slices.ContainsFunc(o.wait(t, "gatekeeper", 5), func(s span) bool { return s.GetName() == "verdict fail" }) {
		t.Error("the trace is not whole")
	}
	wait(t, "that it is known to be sent", func() bool { return valueOf(scrape(t, j.people), "gatekeeper_traces_exported_total") == 1 })
}
