package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger/ledgertest"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// judges is the version that judged, and judges again.
const judges = "test"

// fill writes two rollouts that are closed and one that is not, with the gatekeeper's other belongings.
func fill(t *testing.T, s *Store) (good, bad, open rollout.Change) {
	t.Helper()
	good, bad, open = ledgertest.Closed("good", start, 0, judges), ledgertest.Closed("bad", start.Add(time.Hour), 7, judges), ledgertest.Open("open", start.Add(2*time.Hour), 0, judges)
	good.News = []rollout.News{toPager(good.Rollout.News(rollout.HasStarted, start))}
	open.News = []rollout.News{toPager(open.Rollout.News(rollout.HasStarted, start)), toPager(open.Rollout.News(rollout.IsWaiting, start))}
	open.Book = rollout.Book{"uid": {Track: rollout.TrackCanary, Last: rollout.Counts{Good: 7, Bad: 1}, SeenAt: start}}
	for _, c := range []rollout.Change{good, bad, open, {Rollout: open.Rollout, Book: open.Book, Entries: []rollout.Entry{entry("", rollout.EntryAlerts, 1, `{"firing":"é"}`)}}} {
		mustSave(t, s, c)
	}
	err := errors.Join(s.SavePolicy(t.Context(), "d1", []byte(`{"a": 1}`)), s.SaveMemo(t.Context(), "alerts", []byte(`{}`)),
		s.Delivered(t.Context(), good.News[0].Key(), "pager", "C1/16"), s.Delivered(t.Context(), open.News[0].Key(), "pager", "C1/17"))
	if err != nil {
		t.Fatal(err)
	}
	return good, bad, open
}

func verify(s *Store, write func(*Store, *bytes.Buffer) error) (ledger.Summary, error) {
	file := &bytes.Buffer{}
	if err := write(s, file); err != nil {
		return ledger.Summary{}, err
	}
	v := ledger.NewVerifier(judges)
	for line, err := range ledger.Read(file) {
		if err == nil {
			err = v.Take(line)
		}
		if err != nil {
			return ledger.Summary{}, err
		}
	}
	return v.Close()
}

func TestTheLedgersFileFits(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		want := ledger.Summary{}
		check := func() {
			t.Helper()
			sum, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) })
			sum.Hash = ""
			if err != nil || !reflect.DeepEqual(sum, want) {
				t.Fatalf("got %+v %v, want %+v", sum, err, want)
			}
		}
		check()
		fill(t, s)
		want = ledger.Summary{Entries: 6, Rollouts: 2, Verdicts: 120, Decisions: 2}
		check()
	})
}

// A backup of either database makes the same in either: a copy's backup is the same file to the byte.
func TestBackupAndRestore(t *testing.T) {
	onBoth(t, func(t *testing.T, from string) {
		s := mustOpen(t, from)
		_, _, open := fill(t, s)
		file := &bytes.Buffer{}
		if err := s.WriteBackup(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		onBoth(t, func(t *testing.T, to string) {
			c := mustOpen(t, to)
			sum, err := c.Restore(t.Context(), bytes.NewReader(file.Bytes()), judges)
			if err != nil || sum.Entries != 6 || sum.Open != 1 {
				t.Fatalf("%+v %v", sum, err)
			}
			again := &bytes.Buffer{}
			if err := c.WriteBackup(t.Context(), again); err != nil || !bytes.Equal(again.Bytes(), file.Bytes()) {
				t.Errorf("the copy's backup is another one: %v", err)
			}
			rollouts, books, err := c.Open(t.Context())
			if err != nil || len(rollouts) != 1 || !reflect.DeepEqual(books[0], open.Book) {
				t.Errorf("taken up: %+v %+v %v", rollouts, books, err)
			}
			due, err := c.Due(t.Context(), start)
			if err != nil || len(due) != 1 || due[0].News.Event != rollout.IsWaiting || due[0].Thread != "C1/17" {
				t.Errorf("due: %+v %v", due, err)
			}
			page, total, err := c.Find(t.Context(), rollout.Query{Result: rollout.RolledBack})
			if err != nil || total != 1 || page[0].Revision.Hash != "bad" {
				t.Errorf("found %+v %v", page, err)
			}
			if _, err := c.Restore(t.Context(), bytes.NewReader(file.Bytes()), judges); !errors.Is(err, errNotEmpty) {
				t.Errorf("restored over a ledger: %v", err)
			}
		})
	})
}

func TestABackupThatDoesNotFitRestoresNothing(t *testing.T) {
	s := mustOpen(t, t.TempDir()+"/from.db")
	fill(t, s)
	file, ledgerOnly := &bytes.Buffer{}, &bytes.Buffer{}
	if err := errors.Join(s.WriteBackup(t.Context(), file), s.WriteLedger(t.Context(), ledgerOnly)); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	for name, c := range map[string]struct{ text, says string }{
		"cut off":                {text[:len(text)/2], "cut off"},
		"cut off at a line":      {text[:strings.LastIndex(text, `{"end"`)], "cut off"},
		"a figure is another":    {strings.Replace(text, `\"result\":\"promoted\"`, `\"result\":\"superseded\"`, 1), "hash"},
		"a tick is another":      {strings.Replace(text, `"good":300`, `"good":301`, 1), "ticks["},
		"no backup":              {`{"rollout":{}}` + "\n", "no ledger's file"},
		"the ledger only":        {ledgerOnly.String(), "gatekeeper backup"},
		"from a later version":   {strings.Replace(text, `"format":1`, `"format":2`, 1), "newer"},
		"an open rollout's tick": {text[:strings.LastIndex(text, `"good":300`)] + `"good":301` + text[strings.LastIndex(text, `"good":300`)+10:], "open"},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := mustOpen(t, t.TempDir()+"/to.db")
			if _, err := c2.Restore(t.Context(), strings.NewReader(c.text), judges); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			if all, err := c2.List(t.Context(), "", 9); err != nil || len(all) != 0 {
				t.Errorf("restored all the same: %d rollouts %v", len(all), err)
			}
		})
	}
}

// dropTriggers does what somebody does who wants to change the ledger.
func dropTriggers(t *testing.T, s *Store) {
	t.Helper()
	statements := []string{`DROP TRIGGER entries_stay`, `DROP TRIGGER entries_remain`}
	if !s.lite {
		statements = []string{`DROP TRIGGER entries_stay ON entries`, `DROP TRIGGER entries_remain ON entries`}
	}
	for _, statement := range statements {
		if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// columns of the ledger, each with what orders its table.
func columns() map[string][]string {
	return map[string][]string{
		"entries": {"seq", "at", "kind", "rollout", "body", "previous", "hash"},
		"ticks":   {"rollout", "n", "tick", "outcome", "reason", "digest"},
		"records": {"rollout", "record"},
	}
}

// One byte that is changed, in whatever column and row of the ledger, is found.
func TestAnyChangedByteIsFound(t *testing.T) {
	s := mustOpen(t, t.TempDir()+"/gatekeeper.db")
	fill(t, s)
	dropTriggers(t, s)
	where := map[string]string{"entries": "1 = 1", "ticks": "rollout NOT LIKE '%open%'", "records": "rollout NOT LIKE '%open%'"}
	key := map[string]string{"entries": "seq", "ticks": "rollout || '/' || n", "records": "rollout"}
	rapid.Check(t, func(r *rapid.T) {
		table := rapid.SampledFrom([]string{"entries", "ticks", "records"}).Draw(r, "table")
		column := rapid.SampledFrom(columns()[table]).Draw(r, "column")
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			r.Fatal(err)
		}
		var rows int
		if err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table+` WHERE `+where[table]).Scan(&rows); err != nil {
			r.Fatal(err)
		}
		var row string
		var value any
		nth := rapid.IntRange(0, rows-1).Draw(r, "row")
		query := fmt.Sprintf(`SELECT %s, %s FROM %s WHERE %s ORDER BY 1 LIMIT 1 OFFSET %d`, key[table], column, table, where[table], nth)
		if err := tx.QueryRowContext(t.Context(), query).Scan(&row, &value); err != nil {
			r.Fatal(err)
		}
		changed := change(r, value)
		if reflect.DeepEqual(changed, value) {
			_ = tx.Rollback()
			r.Skip("an empty text has no byte")
		}
		if _, err := tx.ExecContext(t.Context(), `UPDATE `+table+` SET `+column+` = $1 WHERE `+key[table]+` = $2`, changed, row); err != nil {
			r.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			r.Fatal(err)
		}
		_, err = verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) })
		var misfit *ledger.Misfit
		if !errors.As(err, &misfit) {
			r.Errorf("%s.%s of %s from %.300q to %.300q: %v", table, column, row, value, changed, err)
		}
		if _, err := s.db.ExecContext(t.Context(), `UPDATE `+table+` SET `+column+` = $1 WHERE `+key[table]+` = $2`, value, newKey(table, column, row, changed)); err != nil {
			r.Fatal(err)
		}
	})
}

// change is value with one byte changed, or a number with one bit.
func change(r *rapid.T, value any) any {
	switch v := value.(type) {
	case int64:
		return v ^ 1<<rapid.IntRange(20, 50).Draw(r, "bit")
	case string:
		if v == "" {
			return v
		}
		text := []byte(v)
		text[rapid.IntRange(0, len(text)-1).Draw(r, "byte")] ^= byte(1 << rapid.IntRange(0, 7).Draw(r, "bit"))
		return string(text)
	}
	r.Fatalf("a column of type %T", value)
	return nil
}

// newKey is the key of a row after one of its columns was changed.
func newKey(table, column, row string, changed any) string {
	id, n, _ := strings.Cut(row, "/")
	switch table + "." + column {
	case "entries.seq", "records.rollout":
		return fmt.Sprint(changed)
	case "ticks.rollout":
		return fmt.Sprint(changed, "/", n)
	case "ticks.n":
		return fmt.Sprint(id, "/", changed)
	default:
		return row
	}
}

// What was done to the ledger is named: which entry, which rollout, which field.
func TestMisfitsAreNamed(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		s := mustOpen(t, dsn)
		good, bad, _ := fill(t, s)
		dropTriggers(t, s)
		file := func() string {
			to := &bytes.Buffer{}
			if err := s.WriteLedger(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			return to.String()
		}
		whole := file()
		for name, c := range map[string]struct {
			statement string
			arg       any
			want      ledger.Misfit
		}{
			"a body":              {`UPDATE entries SET body = replace(body, 'ann', $1) WHERE seq = 1`, "bob", ledger.Misfit{Seq: 1, Rollout: good.Rollout.ID, Where: "hash"}},
			"an entry is gone":    {`DELETE FROM entries WHERE seq = $1`, 2, ledger.Misfit{Seq: 2, Rollout: bad.Rollout.ID, Where: "seq"}},
			"the end is gone":     {`DELETE FROM entries WHERE seq >= $1`, 4, ledger.Misfit{Where: "end, where a closing entry is missing or too many"}},
			"a count":             {`UPDATE ticks SET tick = replace(tick, '"good":300', $1) WHERE n = 21`, `"good":299`, ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "ticks[20].digest"}},
			"an outcome":          {`UPDATE ticks SET outcome = $1 WHERE n = 7`, "pass", ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "ticks[6].outcome"}},
			"a tick is gone":      {`DELETE FROM ticks WHERE n = $1`, 9, ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "ticks"}},
			"the last is gone":    {`DELETE FROM ticks WHERE n = $1`, 60, ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "ticks"}},
			"all ticks are gone":  {`DELETE FROM ticks WHERE rollout = $1`, bad.Rollout.ID, ledger.Misfit{Seq: 4, Rollout: bad.Rollout.ID, Where: "ticks"}},
			"no JSON any more":    {`UPDATE ticks SET tick = $1 WHERE n = 7`, "{", ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "ticks"}},
			"what lists show":     {`UPDATE records SET record = replace(record, $1, 'promoted')`, "rolled-back", ledger.Misfit{Seq: 4, Rollout: bad.Rollout.ID, Where: "record"}},
			"a record is missing": {`DELETE FROM records WHERE rollout = $1`, good.Rollout.ID, ledger.Misfit{Seq: 2, Rollout: good.Rollout.ID, Where: "record"}},
		} {
			t.Run(name, func(t *testing.T) {
				copied := snapshot(t, s)
				defer copied(t)
				if _, err := s.db.ExecContext(t.Context(), c.statement, c.arg); err != nil {
					t.Fatal(err)
				}
				_, err := verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) })
				var misfit *ledger.Misfit
				if !errors.As(err, &misfit) || misfit.Seq != c.want.Seq || misfit.Rollout != c.want.Rollout || misfit.Where != c.want.Where || misfit.Written == misfit.Expected {
					t.Errorf("got  %v\nwant %+v", err, c.want)
				}
			})
			if file() != whole {
				t.Fatal("the test did not set right what it changed")
			}
		}
	})
}

// snapshot keeps three tables and gives what sets them right.
func snapshot(t *testing.T, s *Store) func(t *testing.T) {
	t.Helper()
	do := func(t *testing.T, statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	for table := range columns() {
		do(t, `CREATE TABLE kept_`+table+` AS SELECT * FROM `+table)
	}
	return func(t *testing.T) {
		for table := range columns() {
			do(t, `DELETE FROM `+table, `INSERT INTO `+table+` SELECT * FROM kept_`+table, `DROP TABLE kept_`+table)
		}
	}
}

// A chain that somebody made anew, with hashes that fit, still does not fit the verdicts.
func TestAForgedChainDoesNotFitItsTicks(t *testing.T) {
	forged := ledgertest.Closed("bad", start, 7, judges)
	var account rollout.Account
	if err := json.Unmarshal(forged.Entries[1].Body, &account); err != nil {
		t.Fatal(err)
	}
	for where, forge := range map[string]func(*rollout.Rollout){
		"rollout.verdict.outcome":        func(r *rollout.Rollout) { r.Verdict.Outcome = rollout.Pass },
		"rollout.steps[0].primary.good":  func(r *rollout.Rollout) { r.Steps[0].Primary.Good++ },
		"rollout.steps[0].canary":        func(r *rollout.Rollout) { r.Steps[0].Canary.Bad = 3 },
		"rollout.latest.canary":          func(r *rollout.Rollout) { r.Latest.Canary.Bad++ },
		"rollout.failedAt":               func(r *rollout.Rollout) { r.FailedAt = r.FailedAt.Add(time.Second) },
		"rollout.firstTrafficAt":         func(r *rollout.Rollout) { r.FirstTrafficAt = r.FirstTrafficAt.Add(-time.Second) },
		"rollout.policyDigest":           func(r *rollout.Rollout) { r.PolicyDigest = "0123" },
		"ticks":                          func(r *rollout.Rollout) { r.Tape.Digest = "0123" },
		"rollout.evidence.pods.slo.cash": func(r *rollout.Rollout) { r.Evidence.Pods.SLO.Cash++ },
	} {
		t.Run(where, func(t *testing.T) {
			s := mustOpen(t, t.TempDir()+"/gatekeeper.db")
			change, lie := ledgertest.Closed("bad", start, 7, judges), account
			lie.Rollout = change.Rollout.Copy()
			forge(&lie.Rollout)
			body, err := json.Marshal(lie)
			if err != nil {
				t.Fatal(err)
			}
			change.Entries[1].Body = body
			mustSave(t, s, change)
			record, err := json.Marshal(lie.Rollout)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.ExecContext(t.Context(), `UPDATE records SET record = $1`, string(record)); err != nil {
				t.Fatal(err)
			}
			_, err = verify(s, func(s *Store, to *bytes.Buffer) error { return s.WriteLedger(t.Context(), to) })
			var misfit *ledger.Misfit
			if !errors.As(err, &misfit) || misfit.Where != where || misfit.Rollout != change.Rollout.ID {
				t.Errorf("got %v", err)
			}
		})
	}
}
