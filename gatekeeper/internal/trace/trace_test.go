package trace

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// rolledBack is the tape of a release that waited for an approval, climbed two steps and failed.
func rolledBack(t *testing.T) policy.Tape {
	t.Helper()
	rules := policy.Default()
	r := rollout.New(rollout.Canary{
		Key:      rollout.Key{Namespace: "demo", Name: "podinfo"},
		Revision: rollout.Revision{Hash: "new", DeployID: "sha-1-1", Image: "registry:5000/app:2.0.0", Commit: "c0ffee"},
		Stable:   rollout.Revision{Hash: "old", Image: "registry:5000/app:1.0.0"}, Policy: "default",
	}, start)
	r.Hold("start", []rollout.Held{{Gate: "approval", Why: "a person must approve the start"}}, nil, at(1))
	r.Hold("start", nil, map[string]string{"approval": "approved by ann"}, at(9))
	r.Decisions = []rollout.Decision{{Kind: rollout.Approve, By: "ann", Via: "page", At: at(8)}}
	tape := policy.Tape{Seq: 3, Rules: rules}
	for s := 10; s < 100; s++ {
		n := uint64(s - 10)
		tick := rollout.Tick{
			At: at(s), Phase: rollout.Progressing, Weight: 10, Next: 25, Answering: 1,
			Canary: rollout.Counts{Good: 20 * n}, Primary: rollout.Counts{Good: 180 * n}, Health: rollout.Health{Pods: 1, Ready: 1},
		}
		if s >= 60 {
			tick.Weight, tick.Next, tick.Canary.Bad = 25, 50, 10*(n-49)
		}
		if s == 61 {
			tick.Failing = []rollout.Failing{{Trace: strings.Repeat("ab", 16), At: at(61), Route: "/api/items", Status: "500", Seconds: .25}}
		}
		policy.Advance(rules, &r, tick)
		judged := rollout.Judge(tick, r.Verdict)
		tape.Ticks, r.Tape = append(tape.Ticks, judged), r.Tape.Add(judged)
	}
	r.End(rollout.RolledBack, rollout.Failed, at(100))
	if r.Verdict.Outcome != rollout.Fail {
		t.Fatalf("the release was to fail, and it is %s", r.Verdict.Text())
	}
	tape.Rollout = r
	return tape
}

func (s Span) attribute(name string) attribute.Value {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value
		}
	}
	return attribute.Value{}
}

func (t Trace) named(name string) (found []Span) {
	for _, s := range t.Spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func TestOneRolloutIsOneTrace(t *testing.T) {
	tape := rolledBack(t)
	got := Of(tape)
	whole := got.Spans[0]
	if whole.Name != "rollout" || whole.Parent.IsValid() || !whole.Start.Equal(start) || !whole.End.Equal(at(100)) || !strings.Contains(whole.Error, "was rolled back to 1.0.0 (old)") {
		t.Errorf("the whole is %+v", whole)
	}
	for name, want := range map[string]string{
		"k8s.namespace.name": "demo", "deployment.name": "demo/podinfo", "deployment.id": tape.Rollout.ID, "deployment.status": "failed", "rollout.canary": "podinfo",
		"container.image.name": "registry:5000/app", "rollout.deploy_id": "sha-1-1", "vcs.ref.head.revision": "c0ffee", "rollout.result": "rolled-back", "rollout.stable.tag": "1.0.0",
	} {
		if v := whole.attribute(name).AsString(); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if tags := whole.attribute("container.image.tags").AsStringSlice(); !slices.Equal(tags, []string{"2.0.0"}) {
		t.Errorf("tags %v", tags)
	}
	if len(whole.Events) != 1 || whole.Events[0].Name != "failing request" || !whole.Events[0].At.Equal(at(61)) {
		t.Errorf("events %+v", whole.Events)
	}
	ids := map[string]bool{}
	for _, s := range got.Spans {
		if ids[s.ID.String()] || !s.ID.IsValid() {
			t.Errorf("%s has the id %s of another", s.Name, s.ID)
		}
		ids[s.ID.String()] = true
		if s.Start.Before(start) || s.End.After(at(100)) || s.End.Before(s.Start) {
			t.Errorf("%s is from %s to %s", s.Name, s.Start, s.End)
		}
		if s.ID != whole.ID && s.Parent != whole.ID {
			t.Errorf("%s does not belong to the rollout", s.Name)
		}
	}
}

func TestStepsHaveTheResponsesOfBothVersions(t *testing.T) {
	got := Of(rolledBack(t))
	first, second := got.named("step 10 %"), got.named("step 25 %")
	if len(first) != 1 || len(second) != 1 {
		t.Fatalf("%d and %d spans", len(first), len(second))
	}
	if !first[0].Start.Equal(at(10)) || !first[0].End.Equal(at(60)) || !second[0].End.Equal(at(100)) {
		t.Errorf("steps from %s to %s and to %s", first[0].Start, first[0].End, second[0].End)
	}
	if n, bad := second[0].attribute("rollout.canary.requests").AsInt64(), second[0].attribute("rollout.canary.errors").AsInt64(); n != 1170 || bad != 390 { // of the 39 s after it was first seen
		t.Errorf("%d requests and %d errors of the canary", n, bad)
	}
	if n := second[0].attribute("rollout.primary.requests").AsInt64(); n != 180*39 {
		t.Errorf("%d requests of the primary", n)
	}
}

func TestGatesAndDecisionsAreInIt(t *testing.T) {
	got := Of(rolledBack(t))
	gates, decisions := got.named("gate approval"), got.named("decision approve")
	if len(gates) != 1 || len(decisions) != 1 {
		t.Fatalf("%d gates, %d decisions", len(gates), len(decisions))
	}
	if g := gates[0]; !g.Start.Equal(at(1)) || !g.End.Equal(at(9)) || g.attribute("rollout.gate.opened").AsString() != "approved by ann" || g.attribute("rollout.stage").AsString() != "start" {
		t.Errorf("the gate: %+v", g)
	}
	if d := decisions[0]; !d.Start.Equal(at(8)) || !d.End.Equal(at(8)) || d.attribute("rollout.decision.by").AsString() != "ann" {
		t.Errorf("the decision: %+v", d)
	}
}

func TestEachChangeOfTheVerdictIsASpan(t *testing.T) {
	tape := rolledBack(t)
	var all []Span
	for _, s := range Of(tape).Spans {
		if strings.HasPrefix(s.Name, "verdict ") {
			all = append(all, s)
		}
	}
	for i := range all[1:] {
		if !all[i].End.Equal(all[i+1].Start) {
			t.Errorf("%s ends at %s, the next begins at %s", all[i].Name, all[i].End, all[i+1].Start)
		}
	}
	last := all[len(all)-1]
	if last.Name != "verdict fail" || !last.Start.Equal(tape.Rollout.FailedAt) || !last.End.Equal(at(100)) || last.Error != tape.Rollout.Verdict.Text() {
		t.Errorf("the last one: %+v", last)
	}
	if log, line := last.attribute("rollout.evidence.log_slo").AsFloat64(), last.attribute("rollout.evidence.log_line").AsFloat64(); log != tape.Rollout.Verdict.Evidence.LogSLO || line <= 0 {
		t.Errorf("evidence %v, line %v; want %v", log, line, tape.Rollout.Verdict.Evidence.LogSLO)
	}
	// A verdict that another gatekeeper came to is told as far as it is recorded.
	other := tape
	other.Ticks = slices.Clone(tape.Ticks)
	for i := range other.Ticks {
		other.Ticks[i].Digest = "other"
	}
	spans := Of(other).Spans
	if last := spans[len(spans)-1]; last.Name != "verdict fail" || last.attribute("rollout.evidence.log_slo").Type() != attribute.EMPTY || last.attribute("rollout.verdict.kind").AsString() != tape.Rollout.Verdict.Kind() {
		t.Errorf("judged by another: %+v", last)
	}
	// Of pruned ticks the last verdict is left.
	other.Ticks = nil
	spans = Of(other).Spans
	if last := spans[len(spans)-1]; last.Name != "verdict fail" || !last.Start.Equal(tape.Rollout.FailedAt) {
		t.Errorf("without ticks: %+v", last)
	}
}

func TestTheSameRecordGivesTheSameTrace(t *testing.T) {
	tape := rolledBack(t)
	text, err := json.Marshal(tape)
	if err != nil {
		t.Fatal(err)
	}
	var again policy.Tape
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(Of(tape), Of(again)) {
		t.Error("two readings of one record differ")
	}
	other := tape
	other.Rollout.ID += "1"
	if a, b := Of(tape), Of(other); a.ID == b.ID || a.Spans[0].ID == b.Spans[0].ID {
		t.Error("two rollouts share ids")
	}
}

func TestThePipelineIsTheParent(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, c := range []struct {
		traceparent string
		id, parent  string // "": its own
		sampled     bool
	}{
		{"00-" + trace + "-" + span + "-01", trace, span, true},
		{"00-" + trace + "-" + span + "-00", trace, span, false},
		{"00-" + trace + "-0000000000000000-01", "", "0000000000000000", true},
		{"00-00000000000000000000000000000000-" + span + "-01", "", "0000000000000000", true},
		{"ff-" + trace + "-" + span + "-01", "", "0000000000000000", true},
		{"\x00|<script>", "", "0000000000000000", true},
		{"", "", "0000000000000000", true},
	} {
		tape := rolledBack(t)
		tape.Rollout.Revision.Traceparent = c.traceparent
		got := Of(tape)
		_, _, sampled := Context(tape.Rollout.ID, c.traceparent)
		own := got.ID.IsValid() && got.ID.String() != trace
		if c.id != "" && got.ID.String() != c.id || c.id == "" && !own || got.Spans[0].Parent.String() != c.parent || sampled != c.sampled {
			t.Errorf("%q: trace %s, parent %s, sampled %t", c.traceparent, got.ID, got.Spans[0].Parent, sampled)
		}
	}
}

func TestATraceIsBounded(t *testing.T) {
	tape := rolledBack(t)
	for i := range 3 * maxSpans {
		tape.Rollout.Steps = append(tape.Rollout.Steps, rollout.Step{Weight: i, From: at(99), To: at(100)})
	}
	got := Of(tape)
	if len(got.Spans) != maxSpans+1 || got.Spans[0].attribute("rollout.spans_left_out").AsInt64() == 0 || len(got.named("verdict fail")) != 1 {
		t.Errorf("%d spans", len(got.Spans))
	}
}

// What is about to be said of a rollout without any story must be said too.
func TestOfNothing(t *testing.T) {
	got := Of(policy.Tape{Rollout: rollout.Rollout{ID: "x", StartedAt: start}})
	if len(got.Spans) != 1 || !got.Spans[0].End.Equal(start) || got.Spans[0].Error != "" {
		t.Errorf("%+v", got)
	}
}

func TestLinks(t *testing.T) {
	id, _, _ := Context("x", "")
	for _, c := range []struct {
		links Links
		want  string
	}{
		{Links{}, ""},
		{Links{Template: "https://j.example/trace/{trace_id}"}, ""},
		{Links{Template: "https://j.example/trace/{trace_id}", Rollouts: true}, "https://j.example/trace/" + id.String()},
		{Links{Rollouts: true}, ""},
	} {
		if got := c.links.Rollout("x", ""); got != c.want {
			t.Errorf("%+v leads to %q, want %q", c.links, got, c.want)
		}
	}
	const unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	if l := (Links{Template: "https://j.example/{trace_id}", Rollouts: true}); l.Rollout("x", unsampled) != "" || l.ID("x", unsampled) != "" {
		t.Error("a trace that nobody records has a link")
	}
	for template, good := range map[string]bool{
		"https://j.example/trace/{trace_id}": true, "http://j/?q={trace_id}&x=%7B": true, "https://j.example/trace/": false, "ftp://j/{trace_id}": false, "/trace/{trace_id}": false,
		"https://j/{trace_id}) [x](": false, "javascript:alert('{trace_id}')": false, "https://j/{trace_id}|": false, "https://j/\n{trace_id}": false, "": false,
	} {
		if err := CheckURL(template); (err == nil) != good {
			t.Errorf("%q: %v", template, err)
		}
	}
}

func ExampleLinks_To() {
	fmt.Println(Links{Template: "https://jaeger.example/trace/{trace_id}"}.To("4bf92f3577b34da6a3ce929d0e0e4736"))
	// Output: https://jaeger.example/trace/4bf92f3577b34da6a3ce929d0e0e4736
}
