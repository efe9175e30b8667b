// Package export carries the traces of rollouts that have ended from the ledger to a collector, each at least once.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// Ledger is export's contract with whoever remembers: the entries after seq, at most limit, in their order, the number of the
// last one, the recorded ticks of a rollout, and small documents by name. Memo returns rollout.ErrNotFound for one that is
// not there.
type Ledger interface {
	Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error)
	LastEntry(ctx context.Context) (seq int64, err error)
	Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error)
	Memo(ctx context.Context, name string) ([]byte, error)
	SaveMemo(ctx context.Context, name string, document []byte, entries ...rollout.Entry) error
}

// Send sends spans to the collector, all of them or an error. It may be called again with the same ones.
type Send func(ctx context.Context, spans []sdktrace.ReadOnlySpan) error

const (
	// page is how many entries are read at once.
	page = 100
	// sendTime bounds one attempt, those of the exporter's own included.
	sendTime = 30 * time.Second
	// maxPause is the longest time between two attempts while the collector is away.
	maxPause = time.Minute
	// giveUp is the age from which a rollout's trace is not sent any more: whoever looked for it has found the report.
	giveUp = 24 * time.Hour
	// memo is where the ledger keeps how far this has come.
	memo = "traces"
)

// Config is what an Exporter needs.
type Config struct {
	Ledger Ledger
	Send   Send
	From   *resource.Resource // what the gatekeeper says of itself
	Now    func() time.Time   // the clock that the ends of rollouts are written down by
	Log    *slog.Logger
}

// Exporter is the projection of the ledger into the collector. Only one at a time may work, that of the replica that leads.
type Exporter struct {
	Config
	exported, failures, expired prometheus.Counter
	made                        made
}

// made is the trace that waits for the collector: each attempt sends the same one, without reading a long tape again.
type made struct {
	seq   int64 // of the entry it was made from; 0: none waits
	spans []sdktrace.ReadOnlySpan
}

// New registers its metrics.
func New(c Config, reg prometheus.Registerer) (*Exporter, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "gatekeeper_traces_" + name + "_total", Help: help})
	}
	e := &Exporter{
		Config:   c,
		exported: counter("exported", "Traces of rollouts that a collector has taken."),
		failures: counter("failures", "Attempts to send a rollout's trace that failed; it is tried again, unless the collector refused it for good."),
		expired:  counter("expired", "Traces of rollouts that were not sent because they ended more than 24 hours ago."),
	}
	for _, c := range []prometheus.Collector{e.exported, e.failures, e.expired} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of traces: %w", err)
		}
	}
	return e, nil
}

// Run sends what has ended, every interval until ctx ends. While the collector is away the times between attempts grow to a
// minute; nothing waits for it.
func (e *Exporter) Run(ctx context.Context, interval time.Duration) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = interval, maxPause
	told := false
	for {
		wait := interval
		switch err := e.Export(ctx); {
		case err == nil:
			if told {
				e.Log.Info("traces of rollouts are sent again")
			}
			told = false
			pauses.Reset()
		case ctx.Err() != nil:
			return nil
		default:
			e.failures.Inc()
			if !told { // until it is over, one line is enough
				e.Log.Warn("the trace of a rollout can not be sent, it is sent later", "error", err)
			}
			told = true
			wait = pauses.NextBackOff()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// place is how far the traces are sent, kept in the ledger's database: whoever leads next goes on there.
type place struct {
	Seq int64 `json:"seq"`
}

// Export sends the traces of all rollouts that have ended and were not sent yet, the oldest first. After a crash between the
// sending and the writing down the last one is sent again, with the same ids.
func (e *Exporter) Export(ctx context.Context) error {
	at, err := e.place(ctx)
	if err != nil {
		return err
	}
	for {
		entries, err := e.Ledger.Entries(ctx, at.Seq, page)
		if err != nil || len(entries) == 0 {
			return err
		}
		saved := at
		for _, entry := range entries {
			at.Seq = entry.Seq
			if entry.Kind != rollout.EntryRollout {
				continue
			}
			if err := e.one(ctx, entry); err != nil {
				return err
			}
			if err := e.save(ctx, at); err != nil {
				return err
			}
			saved = at
		}
		if saved == at {
			continue
		}
		if err := e.save(ctx, at); err != nil { // else what closes no rollout is read again every time
			return err
		}
	}
}

// place reads how far it has come. At the very first start that is the ledger's end: nobody waits for the traces of years.
func (e *Exporter) place(ctx context.Context) (place, error) {
	text, err := e.Ledger.Memo(ctx, memo)
	if errors.Is(err, rollout.ErrNotFound) {
		seq, err := e.Ledger.LastEntry(ctx)
		if err != nil {
			return place{}, err
		}
		return place{seq}, e.save(ctx, place{seq})
	}
	if err != nil {
		return place{}, err
	}
	var at place
	if err := json.Unmarshal(text, &at); err != nil {
		return place{}, fmt.Errorf("decode memo %s: %w", memo, err)
	}
	return at, nil
}

func (e *Exporter) save(ctx context.Context, at place) error {
	text, err := json.Marshal(at)
	if err != nil {
		return fmt.Errorf("encode memo %s: %w", memo, err)
	}
	return e.Ledger.SaveMemo(ctx, memo, text)
}

// one sends the trace of the rollout that entry closes, if there is one to be sent.
func (e *Exporter) one(ctx context.Context, entry rollout.Entry) error {
	tape, err := policy.TapeOf(entry)
	if err != nil {
		// It will not get better, and must not keep back all that come after it.
		e.Log.Error("an entry of the ledger has no trace: run gatekeeper verify", "seq", entry.Seq, "rollout", entry.Rollout, "error", err)
		return nil
	}
	if _, _, sampled := trace.Context(tape.Rollout.ID, tape.Rollout.Revision.Traceparent); !sampled {
		return nil
	}
	if e.Now().Sub(tape.Rollout.EndedAt) > giveUp {
		e.expired.Inc()
		return nil
	}
	if e.made.seq != entry.Seq {
		if tape.Ticks, err = e.Ledger.Ticks(ctx, tape.Rollout.ID); err != nil {
			return err
		}
		e.made = made{seq: entry.Seq, spans: spans(trace.Of(tape), e.From)}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err = e.Send(ctx, e.made.spans)
	switch about := e.Log.With("rollout", tape.Rollout.ID, "error", err); outcome(err) {
	case partial:
		about.Warn("the collector took a rollout's trace with a complaint")
		e.exported.Inc()
	case refused:
		about.Error("the collector refused a rollout's trace, it is not sent again")
		e.failures.Inc()
	case failed:
		return fmt.Errorf("send the trace of %s: %w", tape.Rollout.ID, err)
	case taken:
		e.exported.Inc()
	}
	e.made = made{}
	return nil
}
