// Package archive makes files of what the ledger says: deployment_report.md, and a sidecar and a chart of each rollout that has ended.
package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// Ledger is archive's contract with whoever remembers: the entries after seq, at most limit, in their order, and the
// recorded ticks of a rollout.
type Ledger interface {
	Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error)
	Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error)
}

// page is how many entries are filed at once: the report is replaced as a whole, so many at once are cheaper.
const page = 100

// Config is what an Archive needs.
type Config struct {
	Folder string
	Ledger Ledger
	Keep   time.Duration    // of a sidecar after its rollout's end; 0: for ever
	Links  trace.Links      // in the report
	Now    func() time.Time // the wall's clock
	Log    *slog.Logger
}

// Archive keeps one folder. Only one at a time may work in it.
type Archive struct {
	Config
	draw     func(io.Writer, policy.Tape, chart.Options) error
	tidied   time.Time // when old sidecars were last looked for
	failures prometheus.Counter
	filed    prometheus.Gauge
}

// New keeps the files as c says.
func New(c Config, reg prometheus.Registerer) (*Archive, error) {
	a := &Archive{
		Config: c, draw: chart.Draw,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatekeeper_archive_failures_total", Help: "Attempts to make report files from the ledger that failed; they are made later.",
		}),
		filed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatekeeper_archive_filed_seq", Help: "Sequence number of the last entry of the ledger that has its files.",
		}),
	}
	for _, c := range []prometheus.Collector{a.failures, a.filed} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the archive's metrics: %w", err)
		}
	}
	return a, nil
}

// Run files what the ledger has, every interval until ctx ends. A full disk delays it and loses nothing: the ledger has
// it all.
func (a *Archive) Run(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var told string
	for {
		err := a.File(ctx)
		if err != nil && ctx.Err() == nil {
			a.failures.Inc()
			if err.Error() != told { // the same failure every second is one line
				a.Log.Error("report files can not be made, they are made later from the ledger", "folder", a.Folder, "error", err)
			}
		}
		if err == nil && told != "" {
			a.Log.Info("report files are made again")
		}
		told = ""
		if err != nil {
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// place is how far the folder has come, kept in it: a new or emptied folder gets all files again, and one that belongs to
// another ledger is found out by the hash.
type place struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// File makes the files of all entries that have none yet, and removes sidecars that are too old.
func (a *Archive) File(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(a.Folder, rollouts), 0o755); err != nil {
		return fmt.Errorf("make the folder of rollouts: %w", err)
	}
	if err := a.tidy(); err != nil { // first: a full disk gets room by it
		return err
	}
	at, err := a.place(ctx)
	if err != nil {
		return err
	}
	for {
		a.filed.Set(float64(at.Seq))
		entries, err := a.Ledger.Entries(ctx, at.Seq, page)
		if err != nil || len(entries) == 0 {
			return err
		}
		if err := a.file(ctx, entries); err != nil {
			return err
		}
		last := entries[len(entries)-1]
		at = place{Seq: last.Seq, Hash: last.Hash}
		text, err := json.Marshal(at)
		if err != nil {
			return fmt.Errorf("encode the archive's place: %w", err)
		}
		if err := write(a.placeFile(), text); err != nil {
			return err
		}
	}
}

// rollouts is the folder of sidecars and charts.
const rollouts = "rollouts"

func (a *Archive) placeFile() string { return filepath.Join(a.Folder, rollouts, "filed.json") }

// place reads how far the folder has come. Without a place, or with one that the ledger does not know, it is the begin:
// what has its files gets the same ones again.
func (a *Archive) place(ctx context.Context) (place, error) {
	text, err := os.ReadFile(a.placeFile())
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("read the archive's place: %w", err)
	}
	var at place
	if err := json.Unmarshal(text, &at); err != nil || at.Seq < 1 {
		a.Log.Warn("the archive's place can not be read, all files are made again", "file", a.placeFile())
		return place{}, nil
	}
	same, err := a.Ledger.Entries(ctx, at.Seq-1, 1)
	if err != nil {
		return place{}, err
	}
	if len(same) == 0 || same[0].Seq != at.Seq || same[0].Hash != at.Hash {
		a.Log.Warn("the folder's files are of another ledger, this one's are added", "folder", a.Folder)
		return place{}, nil
	}
	return at, nil
}

// file makes the files of some entries: each rollout's own first, the report that links to them last.
func (a *Archive) file(ctx context.Context, entries []rollout.Entry) error {
	var texts []entry
	for _, e := range entries {
		if e.Kind != rollout.EntryRollout {
			continue
		}
		tape, err := policy.TapeOf(e)
		if err != nil {
			// It will not get better, and must not keep back all that come after it.
			a.Log.Error("an entry of the ledger has no files: run gatekeeper verify", "seq", e.Seq, "rollout", e.Rollout, "error", err)
			continue
		}
		if tape.Ticks, err = a.Ledger.Ticks(ctx, tape.Rollout.ID); err != nil {
			return err
		}
		text, err := a.own(tape)
		if err != nil {
			return err
		}
		texts = append(texts, entry{mark: report.Mark(tape.Rollout.ID), text: text})
	}
	return addTo(filepath.Join(a.Folder, "deployment_report.md"), texts)
}

// own makes sidecar and chart of one rollout, and gives its entry.
func (a *Archive) own(tape policy.Tape) (string, error) {
	sidecar, err := json.Marshal(tape)
	if err != nil {
		return "", fmt.Errorf("encode sidecar of %s: %w", tape.Rollout.ID, err)
	}
	name := filepath.Join(a.Folder, rollouts, Name(tape.Rollout.ID))
	if ended := tape.Rollout.EndedAt; !a.old(ended) {
		if err := write(name+".json", append(sidecar, '\n')); err != nil {
			return "", err
		}
		if err := os.Chtimes(name+".json", ended, ended); err != nil { // by which it is found when it is old
			return "", fmt.Errorf("set the time of a sidecar: %w", err)
		}
	}
	link, picture := "", &bytes.Buffer{}
	switch err := a.draw(picture, tape, chart.Options{}); {
	case errors.Is(err, chart.ErrNothing): // no traffic, or the ticks were pruned before a new folder got its files
	case err != nil: // it would not get better, and must not keep back all that come after it
		a.Log.Error("a rollout has no chart: it can not be drawn", "rollout", tape.Rollout.ID, "error", err)
	default:
		if err := write(name+".svg", picture.Bytes()); err != nil {
			return "", err
		}
		link = rollouts + "/" + filepath.Base(name) + ".svg"
	}
	text := &strings.Builder{}
	if err := report.Write(text, tape, link, a.Links); err != nil {
		return "", err
	}
	return text.String(), nil
}
