package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
)

// Lists and delivery metrics are made from rows that no hash protects: each column of a closed rollout's row must be as its
// entry says.
func TestListsAreComparedWithTheLedger(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		_, bad, open := fill(t, s)
		check := func(self string) *ledger.Misfit {
			t.Helper()
			var misfit *ledger.Misfit
			if err := s.CheckLists(t.Context(), self); err != nil && !errors.As(err, &misfit) {
				t.Fatal(err)
			}
			return misfit
		}
		do := func(statement string, args ...any) {
			t.Helper()
			if _, err := s.db.ExecContext(t.Context(), statement, args...); err != nil {
				t.Fatal(err)
			}
		}
		id := bad.Rollout.ID
		set := func(column string, value any) { do(`UPDATE rollouts SET `+column+` = $1 WHERE id = $2`, value, id) }
		if misfit := check(judges); misfit != nil {
			t.Fatalf("what was not changed does not fit: %v", misfit)
		}
		row, err := lineOf(&bad.Rollout)
		if err != nil {
			t.Fatal(err)
		}
		var brief map[string]any
		if err := json.Unmarshal(row.Brief, &brief); err != nil {
			t.Fatal(err)
		}
		wants := func(what, self, where string) {
			t.Helper()
			misfit := check(self)
			if where == "" && misfit != nil || where != "" && (misfit == nil || misfit.Seq != 4 || misfit.Rollout != id || misfit.Where != where || misfit.Written == misfit.Expected) {
				t.Errorf("%s: %v, want it at %q", what, misfit, where)
			}
		}
		for column, c := range map[string]struct {
			to, was any
			where   string
		}{
			"canary": {"demo/other", row.Canary, "list.canary"}, "started_at": {row.StartedAt + 1, row.StartedAt, "list.startedAt"}, "reported": {0, 1, "list.reported"},
			"ended_at": {0, row.EndedAt, "list.endedAt"}, "result": {"promoted", row.Result, "list.result"}, "deploy_id": {"x", row.DeployID, "list.deployId"},
			"search": {"", row.Search, "list.search"}, "brief": {"{", string(row.Brief), "list.brief"}, "tape_ticks": {59, row.TapeTicks, "list.tapeTicks"},
			"tape_digest": {"x", row.TapeDigest, "list.tapeDigest"},
		} {
			set(column, c.to)
			wants(column, judges, c.where)
			set(column, c.was)
		}
		// Each field of the brief, gone or another; what another version did not write is no misfit.
		for name, value := range brief {
			write := func(value any) {
				changed := map[string]any{}
				for k, v := range brief {
					changed[k] = v
				}
				if changed[name] = value; value == nil {
					delete(changed, name)
				}
				text, err := json.Marshal(changed)
				if err != nil {
					t.Fatal(err)
				}
				set("brief", string(text))
			}
			if _, nested := value.(map[string]any); !nested {
				write(fmt.Sprint(value, "x"))
				wants("another "+name, judges, "list.brief."+name)
				wants("another "+name+", of another version", "newer", "list.brief."+name)
			}
			write(nil)
			if misfit := check(judges); misfit == nil || misfit.Rollout != id {
				t.Errorf("%s is gone: %v", name, misfit)
			}
			wants(name+" is gone, of another version", "newer", "")
		}
		set("brief", string(row.Brief))
		wants("all set right", judges, "")
		set("brief", `{"id":7}`)
		wants("a field of another kind", "newer", "list.brief.id")
		do(`DELETE FROM rollouts WHERE id = $1`, open.Rollout.ID) // no entry speaks for it
		do(`UPDATE rollouts SET id = $1 WHERE id = $2`, open.Rollout.ID, id)
		wants("another rollout's row", judges, "list")
	})
}
