package drill

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/timeline"
)

// facts compares what everybody says once the release is over: the windows, the cluster, the users, the app's own
// counters, the gatekeeper, its report and its notifications. It returns what does not agree.
func (d *Drill) facts(ctx context.Context, s Scenario, seen view, users load, stable kube.Release, result *Result) ([]string, error) {
	misses, _ := timeline.Judge(s.wants, seen.events, seen.start, time.Now())
	if len(misses) > 0 {
		for _, name := range slices.Sorted(maps.Keys(seen.trouble)) {
			misses = append(misses, "last look at "+name+": "+seen.trouble[name])
		}
	}
	primary, err := d.Kube.Release(ctx, d.Namespace, d.Name+"-primary")
	if err != nil {
		return misses, err
	}
	weight, err := d.Kube.Weight(ctx, d.Namespace, d.Name)
	if err != nil {
		return misses, err
	}
	mine, err := d.rollouts(ctx, d.deployID(s))
	if err != nil {
		return misses, err
	}
	entries, err := d.report(ctx)
	if err != nil {
		return misses, err
	}
	want := stable
	if s.result == promoted {
		want.Image, want.DeployID = d.Repository+":"+s.version, d.deployID(s)
	}
	misses = append(misses, serving(want, primary, weight)...)
	misses = append(misses, answered(s, users, seen)...)
	misses = append(misses, notified(s, seen)...)
	if len(mine) != 1 {
		return append(misses, fmt.Sprintf("the gatekeeper has %d rollouts of this release, want 1", len(mine))), nil
	}
	if mine[0].Result != s.result {
		misses = append(misses, fmt.Sprintf("the gatekeeper says %q, want %q", mine[0].Result, s.result))
	}
	d.entries = append(d.entries, mine[0].ID)
	if s.tapped {
		differs, err := d.course(ctx, s, seen, result)
		if err != nil {
			return misses, err
		}
		misses = append(misses, differs...)
	}
	if s.tapped && d.Traces {
		wrong, err := d.traced(ctx, s, mine[0], result)
		if err != nil {
			return misses, err
		}
		misses = append(misses, wrong...)
	}
	told, reported := d.reported(s, entries, mine[0].ID, seen, users)
	result.Report = told
	return append(misses, reported...), nil
}

// serving compares what serves the users after the release with what must.
func serving(want, is kube.Release, weight int) (misses []string) {
	if is.Image != want.Image || is.DeployID != want.DeployID {
		misses = append(misses, fmt.Sprintf("primary runs %s (%s), want %s (%s)", is.Image, is.DeployID, want.Image, want.DeployID))
	}
	if !is.Ready {
		misses = append(misses, "primary is not ready")
	}
	if weight != 0 {
		misses = append(misses, fmt.Sprintf("the ingress still gives the canary %d %%", weight))
	}
	return misses
}

// answered compares what the users got with the canary's own counters: the only failures are the fault's, each of
// them counted.
func answered(s Scenario, users load, seen view) (misses []string) {
	if users.Requests == 0 || seen.canary.Total() == 0 {
		misses = append(misses, fmt.Sprintf("too little happened to prove anything: users sent %d requests, the canary answered %d", users.Requests, seen.canary.Total()))
	}
	if s.result == promoted && users.failed() > s.loses {
		misses = append(misses, fmt.Sprintf("%d of the users' %d requests failed, want %s: %v", users.failed(), users.Requests, atMost(s.loses), users.Codes))
	}
	if s.loses > 0 {
		return misses // who dies has no answer to be compared
	}
	if users.failed() != users.Codes["500"] {
		misses = append(misses, fmt.Sprintf("users saw other failures than the fault's 500: %v", users.Codes))
	}
	bad, whose := seen.canary.Bad, "the canary's pods"
	if s.faults == both {
		bad, whose = bad+seen.primary.Bad, "the pods of both versions"
	}
	if users.Codes["500"] != bad {
		misses = append(misses, fmt.Sprintf("users saw %d answers 500, %s counted %d bad ones", users.Codes["500"], whose, bad))
	}
	if s.result == rolledBack && seen.canary.Bad == 0 {
		misses = append(misses, "the canary gave no bad answer")
	}
	return misses
}

func atMost(n uint64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("at most %d", n)
}

// notified compares the notifications: started and the end, each told once, and nothing else.
func notified(s Scenario, seen view) (misses []string) {
	for _, event := range []string{"started", s.result} {
		if n := len(seen.tellers[event]); n != 1 {
			misses = append(misses, fmt.Sprintf("%d notifications %q were received, want 1", n, event))
		}
	}
	for event := range seen.tellers {
		if event != "started" && event != s.result {
			misses = append(misses, fmt.Sprintf("a notification %q was received", event))
		}
	}
	return misses
}

// reported compares the report with the app's counters. Each rollout of this run must be in it once, also the earlier
// ones.
func (d *Drill) reported(s Scenario, entries []report.Entry, id string, seen view, users load) (*report.Version, []string) {
	var misses []string
	times := map[string]int{}
	var mine report.Entry
	for _, e := range entries {
		times[e.ID]++
		if e.ID == id {
			mine = e
		}
	}
	for _, id := range d.entries {
		if times[id] != 1 {
			misses = append(misses, fmt.Sprintf("the report has %d entries of %s, want 1", times[id], id))
		}
	}
	canary, ok := mine.Versions["canary"]
	if !ok {
		return nil, append(misses, "the report has no row of the canary")
	}
	if canary.Tag != s.version {
		misses = append(misses, fmt.Sprintf("the report's canary is %s, want %s", canary.Tag, s.version))
	}
	if s.loses > 0 {
		if diff := max(canary.Requests, seen.canary.Total()) - min(canary.Requests, seen.canary.Total()); diff > s.loses || canary.Counts.Bad > s.loses {
			misses = append(misses, fmt.Sprintf("the report gives the canary %d requests, %d bad; its pods counted %d: want a difference of %s",
				canary.Requests, canary.Counts.Bad, seen.canary.Total(), atMost(s.loses)))
		}
	} else if canary.Counts != seen.canary || canary.Requests != seen.canary.Total() {
		misses = append(misses, fmt.Sprintf("the report gives the canary %d requests, %d good, %d bad; its pods counted %d, %d, %d",
			canary.Requests, canary.Counts.Good, canary.Counts.Bad, seen.canary.Total(), seen.canary.Good, seen.canary.Bad))
	}
	switch primary := mine.Versions["primary"]; {
	case primary.Requests == 0:
		misses = append(misses, "the report gives the primary no requests")
	case primary.Requests+canary.Requests > users.Requests:
		misses = append(misses, fmt.Sprintf("the report has %d + %d requests, but users sent only %d", primary.Requests, canary.Requests, users.Requests))
	case s.faults == both && primary.Counts.Bad != seen.primary.Bad:
		misses = append(misses, fmt.Sprintf("the report gives the primary %d bad answers; its pods counted %d", primary.Counts.Bad, seen.primary.Bad))
	case s.faults != both && primary.Counts.Bad != 0:
		misses = append(misses, fmt.Sprintf("the report gives the primary %d bad answers; it gave none", primary.Counts.Bad))
	}
	if !strings.Contains(mine.Text, d.deployID(s)) {
		misses = append(misses, "the report's entry does not name the deploy id "+d.deployID(s))
	}
	return &canary, misses
}

// course notes which way the release went and compares it with that on other engines.
func (d *Drill) course(ctx context.Context, s Scenario, seen view, result *Result) ([]string, error) {
	var err error
	if result.calls, err = d.calls(ctx, d.heard); err != nil {
		return nil, err
	}
	if result.Course, err = transcript(seen.events, result.calls); err != nil {
		return nil, err
	}
	return compare(s.Number, result.Course)
}
