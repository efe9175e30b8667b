package store

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func entry(id string, kind rollout.EntryKind, second int, body string) rollout.Entry {
	return rollout.Entry{At: start.Add(time.Duration(second) * time.Second), Kind: kind, Rollout: id, Body: json.RawMessage(body)}
}

func TestLedger(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s, ctx, r := mustOpen(t, dsn), t.Context(), example("abc", 0)
		approved, closed := entry(r.ID, rollout.EntryDecision, 1, `{"by":"ann"}`), entry(r.ID, rollout.EntryRollout, 2, `{"rollout":{}}`)
		if last, err := s.LastEntry(ctx); err != nil || last != 0 {
			t.Errorf("the last entry of none is %d %v", last, err)
		}
		mustSave(t, s, rollout.Change{Rollout: r, Entries: []rollout.Entry{approved}})
		mustSave(t, s, rollout.Change{Rollout: r, Entries: []rollout.Entry{approved, closed}}) // a save whose acknowledgement was lost
		mustSave(t, s, rollout.Change{Rollout: r, Entries: []rollout.Entry{entry(r.ID, rollout.EntryRollout, 3, `{}`)}})
		mustSave(t, s, rollout.Change{Rollout: r, Entries: []rollout.Entry{entry("", rollout.EntryAlerts, 1, `{}`), entry("", rollout.EntryAlerts, 2, `{}`)}})

		all, err := s.Entries(ctx, 0, 99)
		if err != nil || len(all) != 4 {
			t.Fatalf("%d entries, want 4: %v", len(all), err)
		}
		var before rollout.Entry
		for _, e := range all {
			if bound := e.After(before); !reflect.DeepEqual(e, bound) {
				t.Errorf("entry %+v\nwant  %+v", e, bound)
			}
			before = e
		}
		if last, err := s.LastEntry(ctx); err != nil || last != 4 {
			t.Errorf("the last entry is %d %v", last, err)
		}
		if some, err := s.Entries(ctx, 1, 2); err != nil || len(some) != 2 || some[0].Seq != 2 {
			t.Errorf("a page: %+v %v", some, err)
		}
		if e, err := s.Account(ctx, r.ID); err != nil || string(e.Body) != string(closed.Body) {
			t.Errorf("account %s %v, want the first closing entry", e.Body, err)
		}
		if _, err := s.Account(ctx, "nobody"); !errors.Is(err, rollout.ErrNotFound) {
			t.Errorf("account of nobody: %v", err)
		}
	})
}

func TestTheDatabaseItselfKeepsEntries(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		mustSave(t, s, rollout.Change{Rollout: example("abc", 0), Entries: []rollout.Entry{entry("x", rollout.EntryDecision, 1, `{}`)}})
		for _, statement := range []string{`UPDATE entries SET body = 'other'`, `DELETE FROM entries`} {
			if _, err := s.db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "entries of the ledger are never") {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}

// ticked is r with n ticks more on its tape, and these ticks.
func ticked(r rollout.Rollout, n int) (rollout.Rollout, []rollout.JudgedTick) {
	var ticks []rollout.JudgedTick
	for i := range n {
		// The clock steps back at every tick: their order is their number's.
		at := start.Add(-time.Duration(r.Tape.Ticks) * time.Second)
		tick := rollout.Judge(rollout.Tick{At: at, Weight: 10, Canary: rollout.Counts{Good: uint64(i)}}, r.Verdict)
		ticks, r.Tape = append(ticks, tick), r.Tape.Add(tick)
	}
	return r, ticks
}

func TestTicksContinueTheTape(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s, ctx := mustOpen(t, dsn), t.Context()
		r, first := ticked(example("abc", 0), 3)
		mustSave(t, s, rollout.Change{Rollout: r, Ticks: first})
		longer, next := ticked(r, 250)
		all := append(first, next...)
		mustSave(t, s, rollout.Change{Rollout: longer, Ticks: next})
		mustSave(t, s, rollout.Change{Rollout: longer, Ticks: all[1:]}, rollout.Change{Rollout: example("other", 1)}) // again, as after a lost acknowledgement
		if got, err := s.Ticks(ctx, r.ID); err != nil || !reflect.DeepEqual(got, all) {
			t.Fatalf("%d ticks, want %d as saved: %v", len(got), len(all), err)
		}

		ahead, more := ticked(longer, 2)
		changed := more[1]
		changed.Tick.Canary.Bad++
		for name, ticks := range map[string][]rollout.JudgedTick{"one is left out": more[1:], "one is another": {more[0], changed}, "none": nil} {
			if err := s.Save(ctx, rollout.Change{Rollout: ahead, Ticks: ticks}); err == nil || !strings.Contains(err.Error(), r.ID) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := s.Ticks(ctx, r.ID); err != nil || len(got) != len(all) {
			t.Errorf("%d ticks after refused saves, want %d: %v", len(got), len(all), err)
		}
	})
}
