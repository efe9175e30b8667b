package drill

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// lines reads events as a proof prints them: seconds, subject, value.
func lines(t *testing.T, text string) []timeline.Event {
	t.Helper()
	var events []timeline.Event
	for line := range strings.Lines(strings.TrimSpace(text)) {
		f := strings.Fields(line)
		after, err := time.ParseDuration(f[0] + "s")
		if err != nil || len(f) != 3 {
			t.Fatalf("line %q: %v", line, err)
		}
		events = append(events, timeline.Event{At: start.Add(after), Subject: f[1], Value: f[2]})
	}
	return events
}

// Both were seen on a real cluster.
const (
	wentWell = `
		6.0 phase Progressing
		6.9 verdict hold
		8.0 told started
		16.0 weight 10
		35.9 verdict pass
		46.0 weight 25
		66.0 weight 50
		86.0 weight 100
		106.0 phase Promoting
		116.0 weight 0
		116.0 phase Finalising
		126.0 phase Succeeded
		125.9 told promoted
		133.0 entry written`
	cameBack = `
		6.0 phase Progressing
		8.0 told started
		16.0 weight 10
		16.1 fault on
		24.9 verdict fail
		26.1 weight 0
		26.1 phase Failed
		27.0 told rolled-back
		33.0 entry written`
)

func TestWindows(t *testing.T) {
	for name, c := range map[string]struct {
		wants    []timeline.Expectation
		seen     string
		old, new string // a change to what was seen
		miss     string // "" for none
	}{
		"a promotion as it should be is met":           {goodWants(0), wentWell, "", "", ""},
		"a rollback as it should be is met":            {badWants(0), cameBack, "", "", ""},
		"a weight left out is missed":                  {goodWants(0), wentWell, "66.0 weight 50\n", "", "weight 10, 25, 50, 100, 0"},
		"a step before its bake time is missed":        {goodWants(0), wentWell, "46.0 weight 25", "26.0 weight 25", "too early"},
		"a promotion that nobody is told of is missed": {goodWants(0), wentWell, "125.9 told promoted\n", "", "told promoted"},
		"a good version that comes back is missed":     {goodWants(0), wentWell, "106.0 phase Promoting", "106.0 phase Failed", "phase Promoting"},
		"a rollback without a verdict is missed":       {badWants(0), cameBack, "24.9 verdict fail\n", "", "verdict fail"},
		"a verdict that comes late is missed":          {badWants(0), cameBack, "24.9 verdict fail", "46.9 verdict fail", "too late"},
		"traffic that grows on a bad version is":       {badWants(0), cameBack, "26.1 weight 0", "26.1 weight 25", "weight 10, 0"},
		"a bad version that is promoted is missed":     {badWants(0), cameBack, "26.1 phase Failed", "26.1 phase Promoting", "phase Failed"},
		"a report without the entry is missed":         {badWants(0), cameBack, "33.0 entry written", "33.0 entry none", "entry written"},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.seen
			if c.old != "" {
				text = strings.Replace(c.seen, "\t\t"+c.old, "\t\t"+c.new, 1)
				if text == c.seen {
					t.Fatal("the change changed nothing")
				}
			}
			text = strings.ReplaceAll(text, "\n\t\t\n", "\n")
			misses, done := timeline.Judge(c.wants, lines(t, strings.ReplaceAll(text, "\t\t\t\t", "\t\t")), start, start.Add(time.Hour))
			got := strings.Join(misses, "\n")
			if !done || c.miss == "" && got != "" || !strings.Contains(got, c.miss) {
				t.Errorf("missed %q, want %q; done %v", got, c.miss, done)
			}
		})
	}
}

func TestScenarios(t *testing.T) {
	if got, want := Versions(Scenarios()), []string{"1.0.0", "10.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0", "9.0.0"}; !slices.Equal(got, want) {
		t.Errorf("versions are %v, want %v", got, want)
	}
	if got, want := Versions(Scenarios()[:2]), []string{"1.0.0", "2.0.0", "3.0.0"}; !slices.Equal(got, want) {
		t.Errorf("versions of the first two are %v, want %v", got, want)
	}
	for name, c := range map[string]struct {
		numbers, want []int
		fail          bool
	}{
		"none means all":                   {nil, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, false},
		"some come in their own order":     {[]int{3, 2}, []int{2, 3}, false},
		"one that is named twice is once":  {[]int{2, 2}, []int{2}, false},
		"one that is not there is refused": {[]int{1, 12}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := Choose(c.numbers)
			var got []int
			for _, s := range chosen {
				got = append(got, s.Number)
			}
			if !slices.Equal(got, c.want) || (err != nil) != c.fail {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestServing(t *testing.T) {
	stable := kube.Release{Image: "app:2.0.0", DeployID: "d2", Ready: true}
	for name, c := range map[string]struct {
		is     kube.Release
		weight int
		miss   string
	}{
		"the wanted version, ready and alone, is met": {stable, 0, ""},
		"another image is missed":                     {kube.Release{Image: "app:3.0.0", DeployID: "d2", Ready: true}, 0, "primary runs app:3.0.0"},
		"the same image of another release is missed": {kube.Release{Image: "app:2.0.0", DeployID: "d3", Ready: true}, 0, "(d3)"},
		"a primary that is not ready is missed":       {kube.Release{Image: "app:2.0.0", DeployID: "d2"}, 0, "not ready"},
		"traffic left on the canary is missed":        {stable, 10, "10 %"},
	} {
		t.Run(name, func(t *testing.T) { wantMiss(t, serving(stable, c.is, c.weight), c.miss) })
	}
}

func TestAnswered(t *testing.T) {
	good, bad := Scenario{result: promoted}, Scenario{result: rolledBack}
	codes := func(pairs map[string]uint64) load {
		l := load{Codes: pairs}
		for _, n := range pairs {
			l.Requests += n
		}
		return l
	}
	shared, dying := Scenario{result: rolledBack, faults: both}, Scenario{result: promoted, loses: 2}
	for name, c := range map[string]struct {
		s      Scenario
		users  load
		canary count.Counts
		miss   string
	}{
		"failures of the primary are the fault's too":  {shared, codes(map[string]uint64{"200": 90, "500": 13}), count.Counts{Good: 40, Bad: 10}, ""},
		"in an outage that is shared each must count":  {shared, codes(map[string]uint64{"200": 90, "500": 14}), count.Counts{Good: 40, Bad: 10}, "both versions counted 13"},
		"some requests may die with a process":         {dying, codes(map[string]uint64{"200": 98, "502": 2}), count.Counts{Good: 40}, ""},
		"more than were under way may not":             {dying, codes(map[string]uint64{"200": 97, "502": 3}), count.Counts{Good: 40}, "want at most 2"},
		"a promotion without a failure is met":         {good, codes(map[string]uint64{"200": 90, "201": 10}), count.Counts{Good: 40}, ""},
		"one failed request in a promotion is missed":  {good, codes(map[string]uint64{"200": 99, "502": 1}), count.Counts{Good: 40}, "1 of the users' 100 requests failed"},
		"no answer at all is a failure too":            {good, codes(map[string]uint64{"200": 99, "0": 1}), count.Counts{Good: 40}, "failed, want none"},
		"a promotion that no user saw is missed":       {good, codes(map[string]uint64{"200": 100}), count.Counts{}, "too little happened"},
		"the canary's 500s and no others are met":      {bad, codes(map[string]uint64{"200": 90, "500": 10}), count.Counts{Good: 40, Bad: 10}, ""},
		"a 500 that the canary did not give is missed": {bad, codes(map[string]uint64{"200": 90, "500": 10}), count.Counts{Good: 40, Bad: 9}, "pods counted 9"},
		"a failure beside the fault's is missed":       {bad, codes(map[string]uint64{"200": 89, "500": 10, "503": 1}), count.Counts{Good: 40, Bad: 10}, "other failures"},
		"a fault that did nothing is missed":           {bad, codes(map[string]uint64{"200": 100}), count.Counts{Good: 40}, "no bad answer"},
	} {
		t.Run(name, func(t *testing.T) {
			wantMiss(t, answered(c.s, c.users, view{canary: c.canary, primary: count.Counts{Bad: 3}}), c.miss)
		})
	}
}

func TestNotified(t *testing.T) {
	told := func(events ...string) view {
		v := view{tellers: map[string]map[string]bool{}}
		for i, event := range events {
			if v.tellers[event] == nil {
				v.tellers[event] = map[string]bool{}
			}
			v.tellers[event][string(rune('a'+i))] = true
		}
		return v
	}
	s := Scenario{result: rolledBack}
	for name, c := range map[string]struct {
		seen view
		miss string
	}{
		"start and end, once each, are met": {told("started", "rolled-back"), ""},
		"an end without a start is missed":  {told("rolled-back"), `0 notifications "started"`},
		"the same told twice is missed":     {told("started", "rolled-back", "rolled-back"), `2 notifications "rolled-back"`},
		"another end is missed":             {told("started", "rolled-back", "promoted"), `a notification "promoted"`},
	} {
		t.Run(name, func(t *testing.T) { wantMiss(t, notified(s, c.seen), c.miss) })
	}
}

func TestReported(t *testing.T) {
	d := &Drill{run: "r", entries: []string{"first", "mine"}}
	s := Scenario{Number: 2, version: "3.0.0"}
	right := func() []report.Entry {
		return []report.Entry{{ID: "first"}, {ID: "mine", Text: "deploy id lab-r-2", Versions: map[string]report.Version{
			"canary":  {Tag: "3.0.0", Requests: 100, Counts: count.Counts{Good: 80, Bad: 20}},
			"primary": {Tag: "2.0.0", Requests: 900, Counts: count.Counts{Good: 900}},
		}}}
	}
	for name, c := range map[string]struct {
		change func([]report.Entry) []report.Entry
		miss   string
	}{
		"the numbers of the app are met":    {func(e []report.Entry) []report.Entry { return e }, ""},
		"an entry that stands twice is not": {func(e []report.Entry) []report.Entry { return append(e, e[1]) }, "2 entries of mine"},
		"an earlier entry must stay":        {func(e []report.Entry) []report.Entry { return e[1:] }, "0 entries of first"},
		"one request too few is missed":     {version("canary", func(v *report.Version) { v.Requests-- }), "its pods counted 100, 80, 20"},
		"one bad answer too many is missed": {version("canary", func(v *report.Version) { v.Counts.Bad++ }), "21 bad"},
		"another version is missed":         {version("canary", func(v *report.Version) { v.Tag = "2.0.0" }), "want 3.0.0"},
		"bad answers of the primary are":    {version("primary", func(v *report.Version) { v.Counts.Bad = 1 }), "primary 1 bad"},
		"a silent primary is missed":        {version("primary", func(v *report.Version) { v.Requests = 0 }), "no requests"},
		"more than users sent is missed":    {version("primary", func(v *report.Version) { v.Requests = 950 }), "users sent only 1000"},
		"an entry without rows is missed":   {func(e []report.Entry) []report.Entry { e[1].Versions = nil; return e }, "no row of the canary"},
		"another release is missed":         {func(e []report.Entry) []report.Entry { e[1].Text = "lab-r-1"; return e }, "deploy id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, misses := d.reported(s, c.change(right()), "mine", view{canary: count.Counts{Good: 80, Bad: 20}}, load{Requests: 1000})
			wantMiss(t, misses, c.miss)
		})
	}
}

// A process that died took with it what nobody had read yet, but no more.
func TestReportedWithADeath(t *testing.T) {
	d, s := &Drill{run: "r"}, Scenario{Number: 10, version: "10.0.0", loses: 13}
	for name, c := range map[string]struct {
		requests uint64
		miss     string
	}{
		"the same is met":              {100, ""},
		"what was lost is met":         {87, ""},
		"more than that is missed":     {86, "want a difference of at most 13"},
		"what was counted twice is so": {150, "want a difference of at most 13"},
	} {
		t.Run(name, func(t *testing.T) {
			entries := []report.Entry{{ID: "mine", Text: "lab-r-10", Versions: map[string]report.Version{
				"canary": {Tag: "10.0.0", Requests: c.requests, Counts: count.Counts{Good: c.requests}}, "primary": {Requests: 500, Counts: count.Counts{Good: 500}},
			}}}
			_, misses := d.reported(s, entries, "mine", view{canary: count.Counts{Good: 100}}, load{Requests: 1000})
			wantMiss(t, misses, c.miss)
		})
	}
}

func version(name string, change func(*report.Version)) func([]report.Entry) []report.Entry {
	return func(e []report.Entry) []report.Entry {
		v := e[1].Versions[name]
		change(&v)
		e[1].Versions = maps.Clone(e[1].Versions)
		e[1].Versions[name] = v
		return e
	}
}

func wantMiss(t *testing.T, misses []string, want string) {
	t.Helper()
	got := strings.Join(misses, "\n")
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("missed %q, want %q", got, want)
	}
}

func TestResult(t *testing.T) {
	r := Result{Number: 3, Name: "it comes back"}
	r.take(view{
		start: start, events: lines(t, cameBack), canary: count.Counts{Good: 40, Bad: 14}, rollout: rollout{ID: "x"},
	}, load{Requests: 1660, Codes: map[string]uint64{"200": 1646, "500": 14}})
	r.OK, r.Seconds = true, 72.4
	want := "✓ 3 it comes back: ok, 72s; weights 10 0; fault → verdict 8.8s → weight 0 after 10.0s; users 1660 requests, 14 failed; canary 54, 14 bad"
	if got := r.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.OK, r.Misses = false, []string{"phase Failed: not seen"}
	if got := r.String(); !strings.HasPrefix(got, "✗ 3 it comes back: MISSED") || !strings.HasSuffix(got, "\n    missed: phase Failed: not seen") {
		t.Errorf("got %s", got)
	}
}

func TestOutcome(t *testing.T) {
	var o Outcome
	o.add(Result{Number: 1, OK: true})
	o.add(Result{Number: 2, Misses: []string{"late"}})
	var text, machine bytes.Buffer
	if err := o.WriteText(&text); err != nil || text.String() != "1 passed, 1 failed\n" {
		t.Errorf("got %q, %v", text.String(), err)
	}
	if err := o.WriteJSON(&machine); err != nil {
		t.Fatal(err)
	}
	var back Outcome
	if err := json.Unmarshal(machine.Bytes(), &back); err != nil || back.Failed != 1 || back.Scenarios[1].Misses[0] != "late" {
		t.Errorf("got %s, %v", machine.String(), err)
	}
}

func TestLiveLine(t *testing.T) {
	var plain, terminal bytes.Buffer
	p, m := liveLine{w: &plain}, liveLine{w: &terminal, terminal: true}
	v := view{start: time.Now(), phase: "Progressing", weight: 10, canary: count.Counts{Good: 8, Bad: 2}}
	v.rollout.Verdict.Outcome = "hold"
	for range 3 {
		p.show(v)
		m.show(v)
	}
	p.end()
	m.end()
	if n := strings.Count(plain.String(), "\n"); n != 1 || !strings.Contains(plain.String(), "weight 10 %  |  canary 20.0 % bad of 10") {
		t.Errorf("without a terminal the same is written once: %q", plain.String())
	}
	if n := strings.Count(terminal.String(), "\r"); n != 3 || !strings.HasSuffix(terminal.String(), "\n") {
		t.Errorf("on a terminal the line is painted each time and ended: %q", terminal.String())
	}
	if got := cut(strings.Repeat("ä", 200), 160); len([]rune(got)) != 160 {
		t.Errorf("cut to %d", len([]rune(got)))
	}
}
