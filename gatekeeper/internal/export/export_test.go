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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// receiver is a collector that takes OTLP over HTTP and keeps the spans, unless it is away.
type receiver struct {
	url string

	mu     sync.Mutex
	status int             // that it answers with, 0: 200
	says   string          // in a partial success
	asked  int             // guarded by mu, as all
	spans  []*tracepb.Span // that it took
	from   string          // service.name
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
	r.asked++
	body, err := io.ReadAll(req.Body)
	var got collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &got) != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if r.status != 0 {
		w.WriteHeader(r.status)
		_, _ = io.WriteString(w, "failed to send to what is behind") // no text of a collector may decide
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
	if r.says != "" {
		answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{ErrorMessage: r.says}})
		_, _ = w.Write(answer)
	}
}

// set lets it answer with a status, 0 for 200, and with a complaint.
func (r *receiver) set(status int, says string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.says, r.asked = status, says, 0
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
	h.to.set(http.StatusServiceUnavailable, "")
	a := h.ends("")
	b := h.ends("")
	for range 3 {
		if err := h.exporter.Export(t.Context()); err == nil {
			t.Fatal("nobody took it")
		}
	}
	h.start() // and the process is killed meanwhile
	h.to.set(0, "")
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

// A trace that a collector took with a complaint, or will never take, is not sent again, and those behind it go on.
func TestACollectorsAnswerIsHeard(t *testing.T) {
	for name, c := range map[string]struct {
		status             int
		says               string
		again              bool
		exported, failures float64
	}{
		"a warning":           {says: "deprecated attribute", exported: 2},
		"broken":              {status: http.StatusBadRequest, failures: 2},
		"too big":             {status: http.StatusRequestEntityTooLarge, failures: 2},
		"not allowed":         {status: http.StatusForbidden, failures: 2},
		"its own failure":     {status: http.StatusInternalServerError, failures: 2},
		"too much at a time":  {status: http.StatusTooManyRequests, again: true},
		"away behind a proxy": {status: http.StatusBadGateway, again: true},
		"slow":                {status: http.StatusGatewayTimeout, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.export()
			h.ends("")
			h.ends("")
			h.to.set(c.status, c.says)
			for range 3 {
				if err := h.exporter.Export(t.Context()); (err != nil) != c.again {
					t.Fatal(err)
				}
			}
			if want := map[bool]int{false: 2, true: 3}[c.again]; h.to.asked != want {
				t.Errorf("asked %d times, want %d", h.to.asked, want)
			}
			if exported, failures := testutil.ToFloat64(h.exporter.exported), testutil.ToFloat64(h.exporter.failures); exported != c.exported || failures != c.failures {
				t.Errorf("%v exported, %v failures", exported, failures)
			}
			h.to.set(0, "")
			id := h.ends("")
			h.export()
			if h.to.wholes()[id] != 1 {
				t.Error("the next one was not sent")
			}
		})
	}
}

// By gRPC it says the same by codes.
func TestOutcomeByGRPC(t *testing.T) {
	wait, err := status.New(codes.ResourceExhausted, "busy").WithDetails(durationpb.New(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for err, want := range map[error]answer{
		status.Error(codes.Unavailable, "away"):            failed,
		status.Error(codes.DeadlineExceeded, "slow"):       failed,
		status.Error(codes.InvalidArgument, "broken"):      refused,
		status.Error(codes.Unauthenticated, "who are you"): refused,
		status.Error(codes.ResourceExhausted, "too big"):   refused,
		wait.Err():                  failed,
		errors.New("no connection"): failed,
		context.DeadlineExceeded:    failed,
		status.Error(codes.Unavailable, "OTLP partial success: "): failed,
	} {
		if got := outcome(fmt.Errorf("traces export: %w", err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// reads counts what is read of a ledger.
type reads struct {
	*store.Store
	entries, ticks int
}

func (r *reads) Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error) {
	found, err := r.Store.Entries(ctx, after, limit)
	r.entries += len(found)
	return found, err
}

func (r *reads) Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error) {
	r.ticks++
	return r.Store.Ticks(ctx, id)
}

// The trace that waits is made once, and entries that close no rollout are read once.
func TestNothingIsReadAgainAndAgain(t *testing.T) {
	h := newHouse(t)
	h.export()
	ledger := &reads{Store: h.memory}
	h.exporter.Ledger = ledger
	id := h.ends("")
	h.to.set(http.StatusServiceUnavailable, "")
	for range 5 {
		if err := h.exporter.Export(t.Context()); err == nil {
			t.Fatal("nobody took it")
		}
	}
	h.to.set(0, "")
	h.export()
	h.wantOnce(id)
	if ledger.ticks != 1 {
		t.Errorf("its ticks were read %d times", ledger.ticks)
	}
	for range 3 * page {
		decision := rollout.Change{Rollout: rollout.Rollout{ID: "other"}, Entries: []rollout.Entry{{At: h.now, Kind: rollout.EntryDecision, Rollout: "other", Body: json.RawMessage(`{}`)}}}
		if err := h.memory.Save(t.Context(), decision); err != nil {
			t.Fatal(err)
		}
	}
	h.export()
	ledger.entries = 0
	h.export()
	if ledger.entries != 0 {
		t.Errorf("%d entries were read again", ledger.entries)
	}
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
