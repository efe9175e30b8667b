package rollout

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestTimesInWhichGatesHeld(t *testing.T) {
	hold := func(kinds ...string) (all []Held) {
		for _, k := range kinds {
			all = append(all, Held{Gate: k, Why: k + " is closed"})
		}
		return all
	}
	r := Rollout{}
	r.Hold("start", hold("approval", "freeze"), nil, at(1))
	before := r.Copy()
	r.Hold("start", hold("freeze"), map[string]string{"approval": "approved by ann"}, at(5))
	r.Hold("promotion", hold("approval"), nil, at(6))
	r.Hold("start", hold("freeze"), nil, at(7)) // holds on
	if !r.IsHeld() || !before.IsHeld() || !before.Held[0].To.IsZero() {
		t.Error("a copy changed, or nothing holds")
	}
	r.Hold("start", nil, map[string]string{"freeze": "no freeze holds now"}, at(8))
	r.Hold("start", hold("freeze"), nil, at(9)) // again
	r.End(Aborted, Failed, at(20))
	want := []Held{
		{"approval", "start", "approval is closed", at(1), at(5), "approved by ann"},
		{"freeze", "start", "freeze is closed", at(1), at(8), "no freeze holds now"},
		{"approval", "promotion", "approval is closed", at(6), at(20), ""},
		{"freeze", "start", "freeze is closed", at(9), at(20), ""},
	}
	if !reflect.DeepEqual(r.Held, want) || r.IsHeld() {
		t.Errorf("got %+v, want %+v", r.Held, want)
	}
}

// A gate that opens and closes all day does not grow the record for ever.
func TestHeldIsBounded(t *testing.T) {
	r := Rollout{}
	for i := range 3 * maxHeld {
		r.Hold("start", []Held{{Gate: "alerts", Why: strings.Repeat("ü", 2*maxWhy)}}, nil, at(2*i))
		r.Hold("start", nil, nil, at(2*i+1))
	}
	if len(r.Held) != maxHeld || r.Held[0].Why != strings.Repeat("ü", maxWhy-1)+"…" {
		t.Errorf("it remembers %d, the first: %s", len(r.Held), r.Held[0].Why)
	}
}

func TestOnlyTheNewestFailingRequestsAreKept(t *testing.T) {
	one := func(digit string, s int) Failing {
		return Failing{Trace: strings.Repeat(digit, 32), At: at(s), Status: "500"}
	}
	r := Rollout{}
	r.Observe(Tick{At: at(1), Failing: []Failing{one("1", 1), one("2", 2), one("3", 3)}})
	before := r.Copy()
	if news := r.Unknown([]Failing{one("2", 2), one("0", 0), one("4", 4), one("5", 5), one("4", 4)}); len(news) != 2 || news[0] != one("4", 4) || news[1] != one("5", 5) {
		t.Errorf("news are %+v", news)
	}
	r.Observe(Tick{At: at(2), Failing: []Failing{one("6", 6), one("4", 4), one("5", 5)}})
	r.End(RolledBack, Failed, at(3))
	r.Observe(Tick{At: at(4), Failing: []Failing{one("7", 7)}}) // its last responses
	want := []Failing{one("3", 3), one("4", 4), one("5", 5), one("6", 6), one("7", 7)}
	if !slices.Equal(r.Failing, want) || r.Latest.Failing != nil || len(before.Failing) != 3 || before.Failing[0] != one("1", 1) {
		t.Errorf("it remembers %+v, want %+v", r.Failing, want)
	}
	if news := r.Unknown(nil); news != nil {
		t.Errorf("news of nothing: %+v", news)
	}
}
