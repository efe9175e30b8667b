package rollout

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }

func TestBookCountsEveryResponseOnce(t *testing.T) {
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
		"a restarted process keeps what it gave before":         {true, []reading{{10, 1, 1}, {3, 0, 9}}, Counts{13, 1}},
		"a restart that overtook the old count is still seen":   {true, []reading{{10, 1, 1}, {30, 2, 9}}, Counts{40, 3}},
		"a counter that fell without a start time is a restart": {true, []reading{{10, 5, 0}, {12, 1, 0}}, Counts{22, 6}},
		"a start that moves with the node's clock is none":      {false, []reading{{1000, 50, -9000}, {1010, 51, -8999}}, Counts{10, 1}},
		"an older pod that restarts counts all since":           {false, []reading{{1000, 50, 1}, {5, 2, 9}}, Counts{5, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			book := Book{}
			for i, r := range c.readings {
				book.Add("uid", TrackCanary, at(i), Reading{Counts: Counts{r.good, r.bad}, Start: float64(start.Unix()) + r.start}, c.fromZero)
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

func TestResponsesBelongToTheStepInWhichTheyFell(t *testing.T) {
	r := New(Canary{Key: Key{"demo", "podinfo"}, Revision: Revision{Hash: "abc"}}, at(0))
	for _, tick := range []Tick{
		{At: at(1), Primary: Counts{1000, 5}},
		{At: at(2), Canary: Counts{1, 0}, Primary: Counts{2000, 5}}, // NGINX was quicker than our watch, or somebody tried it by hand
		{At: at(3), Weight: 10, Canary: Counts{5, 1}, Primary: Counts{2050, 5}},
		{At: at(4), Weight: 10, Canary: Counts{9, 2}, Primary: Counts{2090, 6}},
		{At: at(5), Weight: 50, Canary: Counts{12, 2}, Primary: Counts{2110, 6}}, // fell before the change was seen
		{At: at(6), Weight: 0, Canary: Counts{40, 3}, Primary: Counts{2120, 6}},
		{At: at(7), Weight: 0, Canary: Counts{41, 3}, Primary: Counts{2220, 6}}, // a request on its way; the primary's are nobody's
	} {
		r.Observe(tick)
	}
	if !r.FirstTrafficAt.Equal(at(3)) {
		t.Errorf("first traffic at %s, want the first weight", r.FirstTrafficAt)
	}
	if r.Latest.Primary != (Counts{170, 1}) {
		t.Errorf("the primary's counts since first traffic are %+v", r.Latest.Primary)
	}
	want := []Step{
		{Weight: 10, From: at(3), To: at(5), Canary: Counts{12, 2}, Primary: Counts{60, 1}},
		{Weight: 50, From: at(5), To: at(6), Canary: Counts{29, 1}, Primary: Counts{10, 0}},
	}
	if !reflect.DeepEqual(r.Steps, want) {
		t.Errorf("got  %+v\nwant %+v", r.Steps, want)
	}
	if _, underWay := r.Step(); underWay {
		t.Error("a step is under way at weight 0")
	}
}

func TestAfterTheEndOnlyTheCanarysLastResponsesCount(t *testing.T) {
	var r Rollout
	r.Observe(Tick{At: at(1), Weight: 10})
	r.Observe(Tick{At: at(2), Weight: 10, Canary: Counts{5, 0}, Primary: Counts{50, 0}})
	r.End(RolledBack, Failed, at(3))
	r.Observe(Tick{At: at(4), Weight: 10, Canary: Counts{6, 0}, Primary: Counts{500, 0}}) // a watch that lags behind
	if len(r.Steps) != 1 || r.Steps[0].Canary != (Counts{6, 0}) || r.Latest.Primary != (Counts{50, 0}) || !r.Steps[0].To.Equal(at(3)) {
		t.Errorf("got %+v, latest %+v", r.Steps, r.Latest)
	}
}

func TestASupersedingRolloutIgnoresTheWeightOfTheOneBefore(t *testing.T) {
	r := Rollout{AwaitsReset: true, StartedAt: at(0)}
	r.Observe(Tick{At: at(1), Weight: 50})
	r.Observe(Tick{At: at(2), Weight: 50})
	if len(r.Steps) != 0 || !r.FirstTrafficAt.IsZero() {
		t.Errorf("steps %+v before Flagger has reset the weight", r.Steps)
	}
	r.Observe(Tick{At: at(3), Weight: 0})
	r.Observe(Tick{At: at(4), Weight: 10})
	if len(r.Steps) != 1 || r.Steps[0].Weight != 10 {
		t.Errorf("steps %+v after it", r.Steps)
	}
	missed := Rollout{AwaitsReset: true, StartedAt: at(0)}
	missed.Observe(Tick{At: at(121), Weight: 10}) // the gatekeeper was away while Flagger reset it
	if len(missed.Steps) != 1 || missed.AwaitsReset {
		t.Errorf("a reset that was missed is waited for: %+v", missed)
	}
}

func TestFirstIsTheBeginningOfTheClimbUnderWay(t *testing.T) {
	var r Rollout
	for i, weight := range []int{0, 10, 25, 0, 0, 10, 25} {
		r.Observe(Tick{At: at(i), Weight: weight})
		if want := []int{0, 0, 0, 0, 0, 2, 2}[i]; r.First() != want {
			t.Errorf("after tick %d: first step is %d of %+v, want %d", i, r.First(), r.Steps, want)
		}
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
	if bound := maxTimeline + 1; len(r.Timeline) != bound {
		t.Errorf("%d lines, want %d", len(r.Timeline), bound)
	}
	r.Note(at(9), "gatekeeper", "rolled-back")
	if r.Timeline[len(r.Timeline)-1].Text != "rolled-back" {
		t.Error("the end of the story was left out")
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

// verdict.md §4.2, property 7: wherever processes start anew and whenever a source is first seen, what was read is counted
// once; only what was served after the last reading and before the end of a process is lost.
func TestRestartsLoseOnlyWhatNobodyRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book := Book{}
		type process struct {
			served, read Counts
			start        float64
		}
		sources := map[string]*process{}
		var want Counts // of all that was served, less what died unread
		clock := 0.0
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			clock = float64(at(10 * i).Unix())
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "source")
			p := sources[name]
			if p == nil {
				p = &process{start: clock}
				sources[name] = p
			}
			fresh := Counts{rapid.Uint64Range(0, 50).Draw(t, "good"), rapid.Uint64Range(0, 5).Draw(t, "bad")}
			p.served, want = p.served.Add(fresh), want.Add(fresh)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0: // it dies, and what was not read of it is gone
				lost := p.served.Sub(p.read)
				want = Counts{want.Good - lost.Good, want.Bad - lost.Bad}
				*p = process{start: clock}
			case 1: // nobody looks
			default:
				book.Add(name, TrackCanary, at(10*i), Reading{Counts: p.served, Start: p.start}, true)
				p.read = p.served
			}
		}
		for _, p := range sources {
			unread := p.served.Sub(p.read)
			want = Counts{want.Good - unread.Good, want.Bad - unread.Bad}
		}
		if got := book.Total(TrackCanary); got != want {
			t.Fatalf("counted %+v, want %+v", got, want)
		}
	})
}

func TestWhatWasFoundAfterwardsSaysSo(t *testing.T) {
	for result, want := range map[Result]string{Promoted: "2.0 (b) of demo/shop was promoted", RolledBack: "was rolled back to 1.0 (a)", Stuck: "a person must act"} {
		r := Rollout{Canary: Key{"demo", "shop"}, Revision: Revision{Hash: "b", Image: "shop:2.0"}, Stable: Revision{Hash: "a", Image: "shop:1.0"}, Result: result, Unseen: true}
		if got := r.Summary(); !strings.Contains(got, want) || !strings.Contains(got, "while no gatekeeper looked") {
			t.Errorf("%s: %s", result, got)
		}
	}
}

// Who hears of a rehearsed rollback must not take it for a real one.
func TestADrillSaysSo(t *testing.T) {
	r := Rollout{Canary: Key{"demo", "shop"}, Revision: Revision{Hash: "b", Image: "shop:2.0", Drill: true}, Stable: Revision{Hash: "a", Image: "shop:1.0", Drill: true}}
	for result, want := range map[Result]string{"": "drill 2.0 (b) of demo/shop is on its way", RolledBack: "drill 2.0 (b) of demo/shop was rolled back to 1.0 (a)"} {
		r.Result = result
		if got := r.Summary(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s", result, got)
		}
	}
	if got := r.News(HasStarted, time.Time{}).Text; got != "drill 2.0 (b) of demo/shop is being rolled out, stable is 1.0 (a)" {
		t.Error(got)
	}
}
