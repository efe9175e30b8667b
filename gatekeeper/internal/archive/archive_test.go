package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// closed saves n rollouts that have ended, with their ticks and entries, and gives their ids.
func closed(t *testing.T, memory *store.Store, n int) (ids []string) {
	t.Helper()
	rules := policy.Default()
	document, _, err := rules.Document()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range n {
		r := rollout.New(rollout.Canary{
			Key:      rollout.Key{Namespace: "demo", Name: fmt.Sprintf("app%d", i)},
			Revision: rollout.Revision{Hash: "new", Image: "app:2"}, Stable: rollout.Revision{Hash: "old", Image: "app:1"}, Policy: "default",
		}, start)
		change := rollout.Change{}
		for s := range uint64(20) {
			tick := rollout.Tick{
				At: start.Add(time.Duration(s) * time.Second), Phase: rollout.Progressing, Weight: 10, Next: 25, Answering: 1,
				Canary: rollout.Counts{Good: 10 * s, Bad: s / 7}, Primary: rollout.Counts{Good: 90 * s}, Health: rollout.Health{Pods: 1, Ready: 1},
			}
			policy.Advance(rules, &r, tick)
			judged := rollout.Judge(tick, r.Verdict)
			change.Ticks, r.Tape = append(change.Ticks, judged), r.Tape.Add(judged)
		}
		r.End(rollout.RolledBack, rollout.Failed, start.Add(time.Minute))
		r.Reported = true
		body, err := json.Marshal(rollout.Account{Rollout: r, Rules: document})
		if err != nil {
			t.Fatal(err)
		}
		change.Rollout = r
		change.Entries = []rollout.Entry{
			{At: r.EndedAt, Kind: rollout.EntryDecision, Rollout: r.ID, Body: json.RawMessage(`{}`)},
			{At: r.EndedAt, Kind: rollout.EntryRollout, Rollout: r.ID, Body: body},
		}
		if err := memory.Save(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func open(t *testing.T) *store.Store {
	t.Helper()
	memory, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "gatekeeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	return memory
}

func in(t *testing.T, folder string, memory *store.Store) *Archive {
	t.Helper()
	a, err := New(Config{Folder: folder, Ledger: memory, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// everyEntryOnce fails unless the report in folder has exactly the entries of ids, in their order.
func everyEntryOnce(t *testing.T, folder string, ids []string) {
	t.Helper()
	text := read(t, folder, "deployment_report.md")
	if !strings.HasPrefix(text, report.Heading) || strings.Count(text, report.Heading) != 1 {
		t.Errorf("the report's heading: %.60q", text)
	}
	at := 0
	for _, id := range ids {
		i := strings.Index(text, report.Mark(id))
		if i < at || strings.Count(text, report.Mark(id)) != 1 {
			t.Errorf("%s stands %d times in the report, at %d after %d", id, strings.Count(text, report.Mark(id)), i, at)
		}
		at = i
	}
	if n := strings.Count(text, "<!-- rollout "); n != len(ids) {
		t.Errorf("the report has %d entries, not %d", n, len(ids))
	}
}

func TestEveryClosedRolloutIsFiledOnce(t *testing.T) {
	memory, folder := open(t), t.TempDir()
	ids := closed(t, memory, 3)
	a := in(t, folder, memory)
	for range 2 {
		if err := a.File(t.Context()); err != nil {
			t.Fatal(err)
		}
		everyEntryOnce(t, folder, ids)
	}
	if text := read(t, folder, "deployment_report.md"); !strings.Contains(text, "](rollouts/"+ids[0]+".svg)") {
		t.Error("the report shows no chart")
	}
	if picture := read(t, folder, rollouts, ids[0]+".svg"); !strings.HasPrefix(picture, "<svg ") {
		t.Errorf("the chart begins with %.40q", picture)
	}
	entries, err := memory.Entries(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	var tape policy.Tape
	if err := json.Unmarshal([]byte(read(t, folder, rollouts, ids[0]+".json")), &tape); err != nil {
		t.Fatal(err)
	}
	ticks, err := memory.Ticks(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if tape.Seq != 2 || tape.Hash != entries[0].Hash || len(ticks) != 20 || !reflect.DeepEqual(tape.Ticks, ticks) {
		t.Errorf("the sidecar has seq %d, hash %s and %d ticks", tape.Seq, tape.Hash, len(tape.Ticks))
	}
}

// A crash can come between any two writes. Whatever files are there then, the next start makes the same ones.
func TestEveryCrashPointLeadsToTheSameFiles(t *testing.T) {
	memory, whole := open(t), t.TempDir()
	ids := closed(t, memory, 2)
	if err := in(t, whole, memory).File(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, id := range ids {
		names = append(names, filepath.Join(rollouts, id+".json"), filepath.Join(rollouts, id+".svg"))
	}
	names = append(names, "deployment_report.md", filepath.Join(rollouts, "filed.json"))
	for crash := range len(names) + 1 {
		folder := t.TempDir()
		if err := os.Mkdir(filepath.Join(folder, rollouts), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range names[:crash] {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(read(t, whole, name)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := in(t, folder, memory).File(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if read(t, folder, name) != read(t, whole, name) {
				t.Errorf("after a crash behind %d files %s is another one", crash, name)
			}
		}
	}
}

func TestAFolderOfAnotherLedgerGetsThisOnesFiles(t *testing.T) {
	folder := t.TempDir()
	for name, place := range map[string]string{"another's": `{"seq":1,"hash":"of another"}`, "beyond the end": `{"seq":1000,"hash":"x"}`, "damaged": `{"se`} {
		memory := open(t)
		ids := closed(t, memory, 1)
		if err := os.MkdirAll(filepath.Join(folder, rollouts), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, rollouts, "filed.json"), []byte(place), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := in(t, folder, memory).File(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		everyEntryOnce(t, folder, ids)
	}
}

func TestAFolderThatCanNotBeWrittenDelaysAndLosesNothing(t *testing.T) {
	memory, folder := open(t), t.TempDir()
	ids := closed(t, memory, 1)
	obstacle := filepath.Join(folder, rollouts) // a file where the folder belongs
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := in(t, folder, memory)
	if err := a.File(t.Context()); err == nil {
		t.Fatal("it says that it made files where it could not")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := a.File(t.Context()); err != nil {
		t.Fatal(err)
	}
	everyEntryOnce(t, folder, ids)
}

// An entry that was changed in the ledger is left to verify; those after it are filed.
func TestADamagedEntryKeepsNobodyBack(t *testing.T) {
	memory, folder := open(t), t.TempDir()
	broken := rollout.Change{Rollout: rollout.Rollout{ID: "broken"}, Entries: []rollout.Entry{{Kind: rollout.EntryRollout, Rollout: "broken", Body: json.RawMessage(`{"rollout":7}`)}}}
	if err := memory.Save(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	ids := closed(t, memory, 1)
	if err := in(t, folder, memory).File(t.Context()); err != nil {
		t.Fatal(err)
	}
	everyEntryOnce(t, folder, ids)
}

func TestOldSidecarsAreRemovedAndTheRestStays(t *testing.T) {
	memory, folder := open(t), t.TempDir()
	ids := closed(t, memory, 2)
	ended := time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC) // of both
	a := in(t, folder, memory)
	a.Keep = 30 * 24 * time.Hour
	there := func(when string, want bool) {
		t.Helper()
		if err := a.File(t.Context()); err != nil {
			t.Fatal(err)
		}
		everyEntryOnce(t, folder, ids)
		for _, id := range ids {
			if _, err := os.Stat(filepath.Join(folder, rollouts, id+".json")); (err == nil) != want {
				t.Errorf("%s: a sidecar is there: %v, want %v", when, err == nil, want)
			}
			if _, err := os.Stat(filepath.Join(folder, rollouts, id+".svg")); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	now := ended.Add(time.Second)
	a.Now = func() time.Time { return now }
	there("at once", true)
	now = ended.Add(a.Keep - time.Minute)
	there("before its time", true)
	now = ended.Add(a.Keep + time.Hour)
	there("after it", false)
	if err := os.RemoveAll(filepath.Join(folder, rollouts)); err != nil {
		t.Fatal(err)
	}
	there("in an empty folder after it", false)
	if err := os.RemoveAll(filepath.Join(folder, rollouts)); err != nil {
		t.Fatal(err)
	}
	a.Keep = 0
	there("when they are kept for ever", true)
	now = now.Add(10 * 365 * 24 * time.Hour)
	there("years later", true)
}

// docs/ledger.md says how much a rollout takes: this is an hour of one, with the pods alone and with all that a tick can have.
func TestWhatARolloutTakes(t *testing.T) {
	const ticks = 3600
	bounds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	for name, c := range map[string]struct {
		add  func(tick *rollout.Tick, requests uint64)
		most int64 // bytes of a tick, in the ledger and the sidecar together
	}{
		"pods": {func(*rollout.Tick, uint64) {}, 700},
		"pods, ingress and latency": {func(tick *rollout.Tick, requests uint64) {
			tick.Ingress = &rollout.Opinion{Canary: tick.Canary, Primary: tick.Primary, Age: 1234567890}
			tick.Latency = &rollout.Latency{Bounds: bounds}
			for range len(bounds) + 1 {
				tick.Latency.Canary, tick.Latency.Primary = append(tick.Latency.Canary, requests), append(tick.Latency.Primary, 9*requests)
			}
		}, 1400},
	} {
		t.Run(name, func(t *testing.T) {
			place, rules := t.TempDir(), policy.Default()
			database := filepath.Join(place, "gatekeeper.db")
			memory, err := store.Open(t.Context(), database)
			if err != nil {
				t.Fatal(err)
			}
			defer memory.Close()
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			r := rollout.New(rollout.Canary{Key: rollout.Key{Namespace: "demo", Name: "podinfo"}, Revision: rollout.Revision{Hash: "6cc776d5b"}}, start)
			change := rollout.Change{}
			for s := range uint64(ticks) {
				requests := 50 * s
				tick := rollout.Tick{
					At: start.Add(time.Duration(s)*time.Second + 123456789), Phase: rollout.Progressing, Weight: 10, Next: 25, Age: 12345678, Answering: 1,
					Canary: rollout.Counts{Good: requests, Bad: s / 100}, Primary: rollout.Counts{Good: 9 * requests}, Health: rollout.Health{Pods: 1, Ready: 1},
				}
				c.add(&tick, requests)
				policy.Advance(rules, &r, tick)
				judged := rollout.Judge(tick, r.Verdict)
				change.Ticks, r.Tape = append(change.Ticks, judged), r.Tape.Add(judged)
			}
			r.End(rollout.Promoted, rollout.Succeeded, start.Add(time.Hour))
			r.Reported = true
			body, err := json.Marshal(rollout.Account{Rollout: r, Rules: json.RawMessage(`{}`)})
			if err != nil {
				t.Fatal(err)
			}
			change.Rollout, change.Entries = r, []rollout.Entry{{At: r.EndedAt, Kind: rollout.EntryRollout, Rollout: r.ID, Body: body}}
			if err := memory.Save(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if err := in(t, place, memory).File(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := memory.Close(); err != nil { // the log becomes part of the file
				t.Fatal(err)
			}
			size := func(elements ...string) int64 { return int64(len(read(t, elements...))) }
			ledger, sidecar, picture := size(database), size(place, rollouts, Name(r.ID)+".json"), size(place, rollouts, Name(r.ID)+".svg")
			t.Logf("an hour: ledger %d, sidecar %d, chart %d; of a tick %d and %d bytes", ledger, sidecar, picture, ledger/ticks, sidecar/ticks)
			if each := (ledger + sidecar) / ticks; each < 500 || each > c.most || picture > 100_000 {
				t.Error("which is not what docs/ledger.md says")
			}
		})
	}
}

// A picture that can not be drawn is told, and keeps back nothing else.
func TestAChartThatCanNotBeDrawnKeepsNobodyBack(t *testing.T) {
	memory, folder := open(t), t.TempDir()
	ids := closed(t, memory, 2)
	a, told := in(t, folder, memory), &strings.Builder{}
	a.Log = slog.New(slog.NewTextHandler(told, nil))
	a.draw = func(to io.Writer, tape policy.Tape, o chart.Options) error {
		if tape.Rollout.ID == ids[0] {
			return errors.New("out of ink")
		}
		return chart.Draw(to, tape, o)
	}
	if err := a.File(t.Context()); err != nil {
		t.Fatal(err)
	}
	everyEntryOnce(t, folder, ids)
	if text := read(t, folder, "deployment_report.md"); strings.Contains(text, ids[0]+".svg") || !strings.Contains(text, ids[1]+".svg") {
		t.Error("the report does not link the one chart that there is")
	}
	if text := told.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, ids[0]) || !strings.Contains(text, "out of ink") || strings.Contains(text, ids[1]) {
		t.Errorf("told: %s", text)
	}
	read(t, folder, rollouts, ids[0]+".json")
}

func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{
		"demo-podinfo-6f9c-1767323045", "a.b", "", ".", "..", "../../etc/passwd", "a/b", "a_b", "A", "a", "ä", strings.Repeat("x", 300), strings.Repeat("x", 301), "a\x00b", "_a_0",
	} {
		name := Name(id)
		if filepath.Base(name) != name || len(name) > maxName || name[0] == '.' {
			t.Errorf("%q becomes %q", id, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q are both %q", id, other, name)
		}
		seen[name] = id
	}
	if Name("demo-podinfo-6f9c-1767323045") != "demo-podinfo-6f9c-1767323045" {
		t.Error("a plain id is changed")
	}
}
