package timeline

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// start is when every scenario of these tests starts; at is so many seconds later.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func TestJudge(t *testing.T) {
	promoted := []Event{{at(0), "weight", "0"}, {at(12), "weight", "10"}, {at(42), "weight", "50"}, {at(60), "phase", "Succeeded"}}
	const s = time.Second
	for name, c := range map[string]struct {
		want   Expectation
		events []Event
		now    float64
		misses string // part of the sentence, "" when none
		done   bool
	}{
		"seen inside its window is met": {
			Want(Between(50*s, 70*s), Seen("phase", "Succeeded")), promoted, 61, "", true,
		},
		"seen at the window's very edge is met": {
			Want(Between(60*s, 70*s), Seen("phase", "Succeeded")), promoted, 61, "", true,
		},
		"seen before its window is missed": {
			Want(Between(61*s, 70*s), Seen("phase", "Succeeded")), promoted, 61, "too early", true,
		},
		"seen after its window is missed": {
			Want(Between(0, 59*s), Seen("phase", "Succeeded")), promoted, 61, "too late", true,
		},
		"not seen while the window is open may still come": {
			Want(Between(0, 70*s), Seen("phase", "Failed")), promoted, 70, "", false,
		},
		"not seen when the window has closed is missed": {
			Want(Between(0, 70*s), Seen("phase", "Failed")), promoted, 70.1, "not seen 0s to 1m10s", true,
		},
		"a window after another sight counts from there": {
			Want(Between(30*s, 31*s).After(Seen("weight", "10")), Seen("weight", "50")), promoted, 61, "", true,
		},
		"a window after another sight can be missed": {
			Want(Between(0, 29*s).After(Seen("weight", "10")), Seen("weight", "50")), promoted, 61, "too late", true,
		},
		"an anchor that has not come keeps the expectation open": {
			Want(Between(0, s).After(Seen("fault", "on")), Seen("phase", "Failed")), promoted, 999, "", false,
		},
		"exactly these values in this order is met": {
			Want(Between(0, 50*s), Exactly("weight", "0", "10", "50")), promoted, 61, "", true,
		},
		"a value left out is missed at once": {
			Want(Between(0, 500*s), Exactly("weight", "0", "10", "25", "50")), promoted, 61, "saw 0, 10, 50 instead", true,
		},
		"one value too many is missed at once": {
			Want(Between(0, 500*s), Exactly("weight", "0", "10")), promoted, 61, "saw 0, 10, 50 instead", true,
		},
		"values that are still to come keep it open": {
			Want(Between(0, 500*s), Exactly("weight", "0", "10", "50", "100")), promoted, 61, "", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			misses, done := Judge([]Expectation{c.want}, c.events, start, at(c.now))
			if done != c.done {
				t.Errorf("done is %v, want %v", done, c.done)
			}
			if c.misses == "" && len(misses) > 0 || c.misses != "" && !strings.Contains(strings.Join(misses, "\n"), c.misses) {
				t.Errorf("misses %q, want %q", misses, c.misses)
			}
		})
	}
}

func TestJudgeTogether(t *testing.T) {
	fault, verdict := Seen("fault", "on"), Seen("verdict", "fail")
	wants := []Expectation{
		Want(Between(0, 10*time.Second), fault),
		Want(Between(0, 5*time.Second).After(fault), verdict),
	}
	misses, done := Judge(wants, nil, start, at(11))
	if !done || len(misses) != 2 {
		t.Errorf("an expectation whose anchor was missed must not be waited for: %q, done %v", misses, done)
	}
	events := []Event{{at(9), "fault", "on"}}
	if misses, done := Judge(wants, events, start, at(12)); done {
		t.Errorf("the second window is open until 14 s: %q", misses)
	}
	if got := Open(wants, events, start, at(12)); len(got) != 1 || !strings.Contains(got[0], "verdict fail") {
		t.Errorf("only the verdict is open: %q", got)
	}
	events = slices.Concat(events, []Event{{at(13), "verdict", "fail"}})
	if misses, done := Judge(wants, events, start, at(13)); !done || len(misses) > 0 {
		t.Errorf("both are met: %q, done %v", misses, done)
	}
}
