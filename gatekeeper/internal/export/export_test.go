package export

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// receiver is a collector that takes OTLP over HTTP and keeps the spans, unless it is away.
type receiver struct {
	url string

	mu    sync.Mutex
	away  bool
	spans []*tracepb.Span // guarded by mu, as away
	from  string          // service.name
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	var got collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &got) != nil || r.away {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	for _, of := range got.GetResourceSpans() {
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				r.from = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (r *receiver) set(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

// wholes are how often each trace has come, by its id.
func (r *receiver) wholes() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for _, s := range r.spans {
		if s.GetName() == "rollout" {
			n[hex.EncodeToString(s.GetTraceId())]++
		}
	}
	return n
}

// kinds of spans of one rollout, by id.
func (r *receiver) ids() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for _, s := range r.spans {
		n[hex.EncodeToString(s.GetSpanId())]++
	}
	return n
}

// house is an exporter on a real ledger.
type house struct {
	t        *testing.T
	file     string
	memory   *store.Store
	exporter *Exporter
	to       *receiver
	now      time.Time
	reg      *prometheus.Registry
	closed   int
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, file: filepath.Join(t.TempDir(), "gatekeeper.db"), to: newReceiver(t), now: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)}
	h.start()
	t.Cleanup(func() { _ = h.memory.Close() })
	return h
}

// start is a process's begin, on what the one before left.
func (h *house) start() {
	h.t.Helper()
	if h.memory != nil {
		if err := h.memory.Close(); err != nil {
			h.t.Fatal(err)
		}
	}
	var err error
	if h.memory, err = store.Open(h.t.Context(), h.file); err != nil {
		h.t.Fatal(err)
	}
	to, err := otlptracehttp.New(h.t.Context(), otlptracehttp.WithEndpointURL(h.to.url), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.with(to.ExportSpans)
}

func (h *house) with(send Send) {
	h.t.Helper()
	h.reg = prometheus.NewRegistry()
	var err error
	h.exporter, err = New(Config{
		Ledger: h.memory, Send: send, From: resource.NewSchemaless(attribute.String("service.name", "gatekeeper")), Now: func() time.Time { return h.now }, Log: slog.New(slog.DiscardHandler),
	}, h.reg)
	if err != nil {
		h.t.Fatal(err)
	}
}

// ends closes a rollout in the ledger, with another entry before it, and gives the id of its trace.
func (h *house) ends(traceparent string) string {
	h.t.Helper()
	rules := policy.Default()
	document, _, err := rules.Document()
	if err != nil {
		h.t.Fatal(err)
	}
	h.closed++
	began := h.now.Add(-time.Minute)
	r := rollout.New(rollout.Canary{
		Key: rollout.Key{Namespace: "demo", Name: fmt.Sprintf("app%d", h.closed)}, Revision: rollout.Revision{Hash: "new", Image: "app:2", Traceparent: traceparent},
	}, began)
	change := rollout.Change{}
	for s := range uint64(20) {
		tick := rollout.Tick{At: began.Add(time.Duration(s) * time.Second), Phase: rollout.Progressing, Weight: 10, Next: 25, Answering: 1, Canary: rollout.Counts{Good: 10 * s}, Health: rollout.Health{Pods: 1, Ready: 1}}
		policy.Advance(rules, &r, tick)
		judged := rollout.Judge(tick, r.Verdict)
		change.Ticks, r.Tape = append(change.Ticks, judged), r.Tape.Add(judged)
	}
	r.End(rollout.Promoted, rollout.Succeeded, h.now)
	r.Reported = true
	body, err := json.Marshal(rollout.Account{Rollout: r, Rules: document})
	if err != nil {
		h.t.Fatal(err)
	}
	change.Rollout = r
	change.Entries = []rollout.Entry{
		{At: r.EndedAt, Kind: rollout.EntryDecision, Rollout: r.ID, Body: json.RawMessage(`{}`)},
		{At: r.EndedAt, Kind: rollout.EntryRollout, Rollout: r.ID, Body: body},
	}
	if err := h.memory.Save(h.t.Context(), change); err != nil {
		h.t.Fatal(err)
	}
	id, _, _ := trace.Context(r.ID, traceparent)
	return id.String()
}

func (h *house) export() {
	h.t.Helper()
	if err := h.exporter.Export(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) wantOnce(ids ...string) {
	h.t.Helper()
	want := map[string]int{}
	for _, id := range ids {
		want[id] = 1
	}
	if got := h.to.wholes(); !maps.Equal(got, want) {
		h.t.Errorf("came %v, want %v", got, want)
	}
}

func TestEachRolloutThatEndsIsSentOnce(t *testing.T) {
	h := newHouse(t)
	h.ends("") // before anybody asked for traces
	h.export()
	h.wantOnce()
	a, b := h.ends(""), h.ends("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	h.ends("00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00") // its pipeline is not recorded
	for range 2 {
		h.export()
		h.wantOnce(a, b)
	}
	h.start()
	h.export()
	c := h.ends("")
	h.export()
	h.wantOnce(a, b, c)
	if h.to.from != "gatekeeper" {
		t.Errorf("the sender calls itself %q", h.to.from)
	}
	for id, n := range h.to.ids() {
		if n != 1 {
			t.Errorf("span %s came %d times", id, n)
		}
	}
}

func TestWhileTheCollectorIsAwayNothingIsLost(t *testing.T) {
	h := newHouse(t)
	h.export()
	h.to.set(true)
	a := h.ends("")
	b := h.ends("")
	for range 3 {
		if err := h.exporter.Export(t.Context()); err == nil {
			t.Fatal("nobody took it")
		}
	}
	h.start() // and the process is killed meanwhile
	h.to.set(false)
	h.export()
	h.wantOnce(a, b)
}

// A crash between the sending and the writing down sends the same spans again: a collector has each once, by its id.
func TestWhatIsSentAgainIsTheSame(t *testing.T) {
	h := newHouse(t)
	h.export()
	id := h.ends("")
	first, err := h.memory.Memo(t.Context(), memo)
	if err != nil {
		t.Fatal(err)
	}
	h.export()
	once := h.to.ids()
	if err := h.memory.SaveMemo(t.Context(), memo, first); err != nil { // it was not written down
		t.Fatal(err)
	}
	h.start()
	h.export()
	twice := h.to.ids()
	if !slices.Equal(slices.Sorted(maps.Keys(once)), slices.Sorted(maps.Keys(twice))) || h.to.wholes()[id] != 2 {
		t.Errorf("first %v, then %v", once, twice)
	}
}

func TestWhatIsOldIsNotSent(t *testing.T) {
	h := newHouse(t)
	h.export()
	h.ends("")
	h.now = h.now.Add(giveUp + time.Second)
	id := h.ends("")
	h.export()
	h.wantOnce(id)
	if testutil.ToFloat64(h.exporter.expired) != 1 || testutil.ToFloat64(h.exporter.exported) != 1 {
		t.Error("one is too old, and one was sent")
	}
}

// An entry that can not be read keeps back none that come after it.
func TestABrokenEntryIsPassed(t *testing.T) {
	h := newHouse(t)
	h.export()
	broken := rollout.Change{Rollout: rollout.Rollout{ID: "broken"}, Entries: []rollout.Entry{{At: h.now, Kind: rollout.EntryRollout, Rollout: "broken", Body: json.RawMessage(`"?"`)}}}
	if err := h.memory.Save(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	id := h.ends("")
	h.export()
	h.wantOnce(id)
}

// away is a ledger with one rollout that nobody takes.
type away struct{ entry rollout.Entry }

func (a away) Entries(context.Context, int64, int) ([]rollout.Entry, error) {
	return []rollout.Entry{a.entry}, nil
}
func (away) LastEntry(context.Context) (int64, error)                         { return 0, nil }
func (away) Ticks(context.Context, string) ([]rollout.JudgedTick, error)      { return nil, nil }
func (away) Memo(context.Context, string) ([]byte, error)                     { return []byte(`{}`), nil }
func (away) SaveMemo(context.Context, string, []byte, ...rollout.Entry) error { return nil }

func TestACollectorThatIsAwayIsAskedLessAndLess(t *testing.T) {
	body, err := json.Marshal(rollout.Account{Rules: json.RawMessage(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		e, err := New(Config{
			Ledger: away{rollout.Entry{Seq: 1, Kind: rollout.EntryRollout, Body: body}}, Now: func() time.Time { return time.Time{} }, Log: slog.New(slog.DiscardHandler),
			Send: func(context.Context, []sdktrace.ReadOnlySpan) error { asked++; return errors.New("nobody is there") },
		}, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := e.Run(ctx, time.Second); err != nil {
			t.Error(err)
		}
		if asked < 40 || asked > 140 { // once a minute, give or take the jitter, and some at the begin
			t.Errorf("asked %d times in an hour", asked)
		}
		if n := testutil.ToFloat64(e.failures); int(n) != asked {
			t.Errorf("%v failures of %d", n, asked)
		}
	})
}
