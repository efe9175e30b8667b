package rollout

import (
	"reflect"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }

func TestBookCountsEveryResponseOnce(t *testing.T) {
	canary := Pod{UID: "c", Track: TrackCanary}
	type reading struct {
		good, bad uint64
		start     float64
	}
	for name, c := range map[string]struct {
		fromZero bool
		readings []reading
		want     Counts
	}{
		"a pod made for the rollout counts from zero":           {true, []reading{{10, 1, 1}}, Counts{10, 1}},
		"an older pod counts from its first reading":            {false, []reading{{1000, 50, 1}, {1010, 51, 1}}, Counts{10, 1}},
		"the same reading again adds nothing":                   {true, []reading{{10, 1, 1}, {10, 1, 1}, {10, 1, 1}}, Counts{10, 1}},
		"a restarted process keeps what it gave before":         {true, []reading{{10, 1, 1}, {3, 0, 2}}, Counts{13, 1}},
		"a restart that overtook the old count is still seen":   {true, []reading{{10, 1, 1}, {30, 2, 2}}, Counts{40, 3}},
		"a counter that fell without a start time is a restart": {true, []reading{{10, 5, 0}, {12, 1, 0}}, Counts{22, 6}},
		"an older pod that restarts counts all since":           {false, []reading{{1000, 50, 1}, {5, 2, 2}}, Counts{5, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			book := Book{}
			for i, r := range c.readings {
				book.Add(canary, at(i), Reading{Counts: Counts{r.good, r.bad}, Start: r.start}, c.fromZero)
			}
			if got := book.Total(TrackCanary); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got := book.Total(TrackPrimary); got != (Counts{}) {
				t.Errorf("the primary got %+v of the canary's", got)
			}
		})
	}
}

func TestStepsAddUpToTheTotals(t *testing.T) {
	r := New(Canary{Key: Key{"demo", "podinfo"}, Revision: Revision{Hash: "abc"}}, at(0))
	ticks := []Tick{
		{At: at(1), Weight: 0},
		{At: at(2), Weight: 0, Canary: Counts{1, 0}, Primary: Counts{9, 0}}, // NGINX was quicker than our watch
		{At: at(3), Weight: 10, Canary: Counts{5, 1}, Primary: Counts{50, 0}},
		{At: at(4), Weight: 10, Canary: Counts{9, 2}, Primary: Counts{90, 1}},
		{At: at(5), Weight: 50, Canary: Counts{30, 2}, Primary: Counts{110, 1}},
		{At: at(6), Weight: 0, Canary: Counts{40, 3}, Primary: Counts{120, 1}}, // requests on their way
		{At: at(7), Weight: 0, Canary: Counts{41, 3}, Primary: Counts{130, 1}},
	}
	for _, tick := range ticks {
		r.Observe(tick)
	}
	if !r.FirstTrafficAt.Equal(at(2)) {
		t.Errorf("first traffic at %s", r.FirstTrafficAt)
	}
	want := []Step{
		{Weight: 10, From: at(3), To: at(5), Canary: Counts{9, 2}, Primary: Counts{90, 1}},
		{Weight: 50, From: at(5), To: at(6), Canary: Counts{32, 1}, Primary: Counts{40, 0}},
	}
	if !reflect.DeepEqual(r.Steps, want) {
		t.Errorf("got  %+v\nwant %+v", r.Steps, want)
	}
	if _, underWay := r.Step(); underWay {
		t.Error("a step is under way at weight 0")
	}
}

func TestTimelineIsBoundedAndDoesNotRepeatItself(t *testing.T) {
	var r Rollout
	r.Note(at(0), "flagger", "a")
	r.Note(at(1), "flagger", "a")
	r.Note(at(2), "flagger", "b")
	if len(r.Timeline) != 2 {
		t.Errorf("got %+v", r.Timeline)
	}
	for i := range 2 * maxTimeline {
		r.Note(at(i), "flagger", time.Duration(i).String())
	}
	if len(r.Timeline) != maxTimeline {
		t.Errorf("%d lines, want %d", len(r.Timeline), maxTimeline)
	}
}

func TestTag(t *testing.T) {
	for image, want := range map[string]string{
		"registry.example:5000/team/app:1.2.3": "1.2.3",
		"registry.example:5000/team/app":       "",
		"app@sha256:abc":                       "sha256:abc",
		"":                                     "",
	} {
		if got := (Revision{Image: image}).Tag(); got != want {
			t.Errorf("%q: got %q, want %q", image, got, want)
		}
	}
}
