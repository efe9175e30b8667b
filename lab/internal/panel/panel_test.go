package panel

import (
	"slices"
	"strings"
	"testing"
)

const board = `{"uid":"slo","panels":[
 {"type":"row","title":"folded","panels":[{"title":"Budget","targets":[{"refId":"A","expr":"budget{namespace=\"$namespace\"}"},{"refId":"B","expr":"rate(x[$__rate_interval])"}]}]},
 {"title":"Words","type":"text"},
 {"title":"Burn","targets":[{"refId":"A","expr":"burn{name=\"${name}\"}"}]}],
 "annotations":{"list":[{"name":"built in"},{"name":"Alerts","expr":"ALERTS{namespace=\"$namespace\"}"},{"name":"Ends","target":{"expr":"ends"}}]}}`

func values() map[string]string {
	return map[string]string{"name": "n", "namespace": "demo", "__rate_interval": "20s"}
}

func TestDashboard(t *testing.T) {
	got, err := Dashboard([]byte(board), values())
	want := []Query{
		{"slo/Budget A", "slo/Budget", `budget{namespace="demo"}`},
		{"slo/Budget B", "slo/Budget", `rate(x[20s])`},
		{"slo/Burn A", "slo/Burn", `burn{name="n"}`},
		{"slo/annotation Alerts", "", `ALERTS{namespace="demo"}`},
		{"slo/annotation Ends", "", "ends"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
	for name, text := range map[string]string{"no JSON": "{", "no uid": "{}", "a variable without a value": strings.ReplaceAll(board, "$namespace", "$else")} {
		if _, err := Dashboard([]byte(text), values()); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestRules(t *testing.T) {
	got, err := Rules([]byte("groups:\n- name: g\n  rules:\n  - {record: r, expr: up, labels: {version: canary, canary: podinfo}}\n  - {alert: A, expr: up == 0}\n"))
	want := []Rule{{"g", "r", "g/r{canary=podinfo, version=canary}", false, "up"}, {"g", "A", "g/A{}", true, "up == 0"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := Rules([]byte("groups: 1")); err == nil {
		t.Error("what are no rules is taken")
	}
}

func TestTally(t *testing.T) {
	queries := []Query{{"d/One A", "d/One", "one"}, {"d/One B", "d/One", "more"}, {"d/Two A", "d/Two", "two"}, {"rule", "", "three"}}
	type notes map[string][]Moment
	for name, c := range map[string]struct {
		exceptions []Exception
		answered   notes
		wrong      string // error of every query
		good       int    // panels
		miss       string
	}{
		"all with data are met": {
			nil, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {UnderWay}}, "", 2, "",
		},
		"one query of a panel without data is missed": {
			nil, notes{"d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {UnderWay}}, "", 1, "d/One A had no data while a release is under way: one",
		},
		"data after it came back is too late": {
			nil, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {Broken}, "rule": {UnderWay}}, "", 1, "d/Two A had no data while",
		},
		"but not where that is said": {
			[]Exception{{Where: "d/Two", From: Broken, Why: "counts what came back"}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {Broken}, "rule": {UnderWay}}, "", 2, "",
		},
		"and then it must be": {
			[]Exception{{Where: "d/Two", From: Broken, Why: "counts what came back"}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "rule": {UnderWay}}, "", 1, "d/Two A had no data while a bad release is under way or after it",
		},
		"what never happens needs no data": {
			[]Exception{{Where: "rule", From: Never, Why: "no such thing"}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}}, "", 2, "",
		},
		"an exception that is not needed is missed": {
			[]Exception{{Where: "rule", From: Never, Why: "no such thing"}},
			notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {Broken}},
			"", 2,
			"rule has data while a bad release is under way or after it: the exception for it (no such thing) is not needed",
		},
		"an exception for a panel is needed for one of its queries": {
			[]Exception{{Where: "d/One", From: Never, Why: "no such thing"}}, notes{"d/One A": {UnderWay}, "d/Two A": {UnderWay}, "rule": {UnderWay}}, "", 2, "",
		},
		"but not one for what an earlier proof has left": {
			[]Exception{{Where: "rule", From: Never, Why: "no such thing"}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {Before, Broken}}, "", 2, "",
		},
		"nor one for what is sometimes there": {
			[]Exception{{Where: "rule", From: Sometimes, Why: "too short"}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {Broken}}, "", 2, "",
		},
		"nor one for what may have data early": {
			[]Exception{{Where: "rule", From: Broken, Why: "an alert", Early: true}}, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {UnderWay, Broken}}, "", 2, "",
		},
		"an error is missed": {
			nil, notes{"d/One A": {UnderWay}, "d/One B": {UnderWay}, "d/Two A": {UnderWay}, "rule": {UnderWay}}, "bad_data", 0, "rule: bad_data: three",
		},
	} {
		t.Run(name, func(t *testing.T) {
			book, err := NewBook(queries, c.exceptions)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []Moment{Before, UnderWay, Broken} {
				for _, q := range queries {
					book.Note(q, at, slices.Contains(c.answered[q.Where], at), c.wrong)
				}
			}
			tally := book.Tally()
			misses := strings.Join(tally.Misses, "\n")
			if tally.Panels != 2 || tally.Answered != c.good || c.miss == "" && misses != "" || !strings.Contains(misses, c.miss) {
				t.Errorf("got %+v, want %d good panels of 2 and the miss %q", tally, c.good, c.miss)
			}
		})
	}
}

func TestWhatIsMissing(t *testing.T) {
	queries := []Query{{"a", "", "a"}, {"b", "", "b"}}
	book, err := NewBook(queries, []Exception{{Where: "b", From: Broken, Why: "later"}})
	if err != nil {
		t.Fatal(err)
	}
	names := func(list []Query) (all string) {
		for _, q := range list {
			all += q.Where
		}
		return all
	}
	if names(book.Due(UnderWay)) != "ab" || names(book.Missing(UnderWay)) != "a" || names(book.Missing(Broken)) != "b" {
		t.Errorf("at first due are %v, missing %v and %v", book.Due(UnderWay), book.Missing(UnderWay), book.Missing(Broken))
	}
	book.Note(queries[0], UnderWay, true, "")
	if names(book.Due(UnderWay)) != "b" || len(book.Missing(UnderWay)) != 0 {
		t.Errorf("with a answered, due are %v, missing %v", book.Due(UnderWay), book.Missing(UnderWay))
	}
	// A moment that did not come is not judged, and is no success either.
	if misses := book.Tally().Misses; len(misses) != 0 {
		t.Errorf("missed %v", misses)
	}
	panels, err := NewBook([]Query{{"One A", "One", "a"}, {"One B", "One", "b"}, {"Two A", "Two", "c"}}, []Exception{{Where: "One B", From: Broken, Why: "later"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range panels.Due(UnderWay) {
		panels.Note(q, UnderWay, true, "")
	}
	if tally := panels.Tally(); tally.Panels != 2 || tally.Asked != 1 || tally.Answered != 1 {
		t.Errorf("of two panels, one with a query for later: %+v", tally)
	}
	if _, err := NewBook(queries, []Exception{{Where: "c", From: Never, Why: ""}}); err == nil {
		t.Error("an exception for what nobody asks is taken")
	}
}
