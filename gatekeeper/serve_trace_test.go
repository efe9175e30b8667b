package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// What flags alone show to be wrong is said before anything begins, each with its flag.
func TestServeRefusesFlagsThatCanNotBeRight(t *testing.T) {
	for args, want := range map[string]string{
		"--trace-url https://traces.example/":            "{trace_id}",
		"--trace-url traces.example/{trace_id}":          "--trace-url",
		"--keep-ticks 1m":                                "--keep-ticks 1m0s",
		"--trace-url ftp://x/{trace_id} --keep-ticks 1m": "no http or https URL",
	} {
		out := &bytes.Buffer{}
		err := run(t.Context(), append([]string{"serve", "--kubeconfig", "/no/such/file"}, strings.Fields(args)...), out, out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", args, err, want)
		}
	}
}

// So is what is wrong in the environment, on every replica: no lead may end by it.
func TestServeRefusesTelemetryThatCanNotBeRight(t *testing.T) {
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_RESOURCE_ATTRIBUTES": "team"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, value)
			out := &bytes.Buffer{}
			err := run(t.Context(), []string{"serve", "--kubeconfig", "/no/such/file"}, out, out)
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want %s in it", err, name)
			}
		})
	}
}

// taker is a collector that says what it is sent.
type taker chan string

func (c taker) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c <- spans[0].Name()
	return nil
}

func (taker) Shutdown(context.Context) error { return nil }

// A rollout's end is written down by a clock that does not step. What the node's shows meanwhile makes no trace old.
func TestATracesAgeGoesByTheClockOfItsRecord(t *testing.T) {
	now := time.Now().Add(-72 * time.Hour) // since the lead began, the node's clock was set
	memory, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "gatekeeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	rules, _, err := policy.Default().Document()
	if err != nil {
		t.Fatal(err)
	}
	r := rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "app"}, Revision: rollout.Revision{Hash: "a"}}, now.Add(-time.Minute))
	r.End(rollout.Promoted, rollout.Succeeded, now)
	r.Reported = true
	body, err := json.Marshal(rollout.Account{Rollout: r, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.SaveMemo(t.Context(), "traces", []byte(`{"seq":0}`)); err != nil {
		t.Fatal(err)
	}
	if err := memory.Save(t.Context(), rollout.Change{Rollout: r, Entries: []rollout.Entry{{At: now, Kind: rollout.EntryRollout, Rollout: r.ID, Body: body}}}); err != nil {
		t.Fatal(err)
	}
	to, group := make(taker, 1), rungroup.Group{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := (serveCmd{}).traces(&group, ctx, collector{spans: to}, memory, func() time.Time { return now }, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Run() }()
	select {
	case <-to:
	case <-time.After(10 * time.Second):
		t.Error("its trace is not sent")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
