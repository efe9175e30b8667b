package report

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func rolledBack() rollout.Rollout {
	r := rollout.New(rollout.Canary{
		Key:      rollout.Key{Namespace: "demo", Name: "podinfo"},
		Revision: rollout.Revision{Hash: "new", Image: "registry.example/app:3.0.0", DeployID: "run-7"},
		Stable:   rollout.Revision{Hash: "old", Image: "registry.example/app:2.0.0"},
		Policy:   "default",
	}, start)
	r.Observe(rollout.Tick{At: start.Add(10 * time.Second), Weight: 10, Answering: 1})
	r.Observe(rollout.Tick{At: start.Add(40 * time.Second), Weight: 10, Answering: 1, Canary: rollout.Counts{Good: 2999, Bad: 1}, Primary: rollout.Counts{Good: 27000}})
	r.Judge(rollout.Verdict{Outcome: rollout.Fail, At: start.Add(41 * time.Second), Reasons: []rollout.Reason{{Kind: "error-rate", Text: "61 of 300 | requests <failed>"}}})
	r.Observe(rollout.Tick{At: start.Add(45 * time.Second), Weight: 0, Canary: rollout.Counts{Good: 2999, Bad: 2}, Primary: rollout.Counts{Good: 27100}})
	r.End(rollout.RolledBack, rollout.Failed, start.Add(46*time.Second))
	return r
}

func TestEntry(t *testing.T) {
	text := &strings.Builder{}
	if err := Write(text, policy.Tape{Rollout: rolledBack(), Rules: policy.Default()}, "", trace.Links{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<!-- rollout demo-podinfo-new-1767323045 -->\n## rolled-back: demo/podinfo 3.0.0 (new), 2026-01-02 03:04 UTC\n",
		"**3.0.0 (new) of demo/podinfo was rolled back to 2.0.0 (old): 61 of 300 \\| requests &lt;failed&gt;.**",
		"| deploy id | run-7 |",
		"| verdict | fail, 03:04:46.678 |",
		"| canary | 3.0.0 | new | 3001 | 2999 | 2 | 99.93 |", // 99.9333… cut, not rounded up
		"| primary | 2.0.0 | old | 27100 | 27100 | 0 | 100.00 |",
		"| 10 % | 03:04:15.678 | 35s | 3001 | 2 | 99.93 |",
		"- error-rate: 61 of 300 \\| requests &lt;failed&gt;\n",
		"| 03:04:50.678 | gatekeeper | canary weight is 0 % |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("entry lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestEntryOfARolloutUnderWay(t *testing.T) {
	r := rolledBack()
	r.Result, r.Steps[0].To = "", time.Time{}
	text := &strings.Builder{}
	if err := Write(text, policy.Tape{Rollout: r, Rules: policy.Default()}, "", trace.Links{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "## under way: demo/podinfo") || !strings.Contains(text.String(), "| under way | 3001 |") {
		t.Error(text)
	}
}

func TestFigures(t *testing.T) {
	d := data{Rollout: &rollout.Rollout{}, Rules: policy.Default()}
	for _, c := range []struct {
		counts rollout.Counts
		want   string
	}{
		{rollout.Counts{}, "0 | 0 | 0 | – | –"},
		{rollout.Counts{Good: 9_999_999, Bad: 1}, "10000000 | 9999999 | 1 | 99.99 | 99.99 to 100.00"}, // one bad response never reads as 100 %
		{rollout.Counts{Good: 1}, "1 | 1 | 0 | 100.00 | 0.00 to 100.00"},
		{rollout.Counts{Good: 1000}, "1000 | 1000 | 0 | 100.00 | 99.54 to 100.00"},
		{rollout.Counts{Good: 700, Bad: 300}, "1000 | 700 | 300 | 70.00 | 64.98 to 75.48"},
		{rollout.Counts{Bad: 5}, "5 | 0 | 5 | 0.00 | 0.00 to 58.59"},
	} {
		if got := d.All(c.counts); got != c.want {
			t.Errorf("%+v: %s, want %s", c.counts, got, c.want)
		}
	}
}

func TestPercentilesOfLatency(t *testing.T) {
	bounds := []float64{.1, .2, .4}
	for _, c := range []struct {
		counts                []uint64
		half, p95, ninetyNine string
	}{
		{[]uint64{0, 0, 0, 0}, "–", "–", "–"},
		{[]uint64{100, 100, 100, 100}, "50ms", "95ms", "99ms"},
		{[]uint64{0, 100, 100, 100}, "150ms", "195ms", "199ms"},
		{[]uint64{50, 94, 98, 100}, "100ms", "250ms", "over 0.4 s"},
		{[]uint64{1, 2}, "–", "–", "–"}, // counts of other buckets
	} {
		for share, want := range map[float64]string{.5: c.half, .95: c.p95, .99: c.ninetyNine} {
			if got := within(bounds, c.counts, share); got != want {
				t.Errorf("%v of %v: %s, want %s", share, c.counts, got, want)
			}
		}
	}
}

func TestSpentBudget(t *testing.T) {
	r := rolledBack()
	rules := policy.Default()
	// 2 of 3001 bad; of 3001 + 27100 responses the objective of 99.5 % allows 150.5.
	if got, want := (data{Rollout: &r, Rules: rules}).Spent(), "the canary's 2 bad responses are 1.33 % of the 150.5 that the objective allows in the 30101 of both versions in this time"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	rules.Budget = &policy.Budget{Window: 24 * time.Hour}
	r.Budget = &rollout.BudgetLeft{Requests: 1_000_000, Bad: 1_000}
	if got, want := (data{Rollout: &r, Rules: rules}).Spent(), "the canary's 2 bad responses are 0.04 % of the budget of 24h0m0s; 80.00 % of it was left in the end"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (data{Rollout: &rollout.Rollout{}, Rules: rules}).Spent(); got != "nothing was served" {
		t.Error(got)
	}
}

func TestLeadTime(t *testing.T) {
	r := rolledBack()
	r.Revision.CommittedAt = start.Add(-90 * time.Minute)
	if got := (data{Rollout: &r}).LeadTime(); got != "" {
		t.Errorf("of what was rolled back: %s", got)
	}
	r.Result = rollout.Promoted
	if got := (data{Rollout: &r}).LeadTime(); got != "1h30m46s from the commit (2026-01-02 01:34 UTC) to the promotion" {
		t.Error(got)
	}
}

func TestADrillHasARow(t *testing.T) {
	r := rolledBack()
	r.Revision.Drill = true
	text := &strings.Builder{}
	if err := Write(text, policy.Tape{Rollout: r, Rules: policy.Default()}, "", trace.Links{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"**drill 3.0.0 (new) of demo/podinfo was rolled back", "\n| drill | a rehearsal"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// Who reads the entry comes to the rollout's trace and to those of failing requests, where it is known how.
func TestTracesInTheEntry(t *testing.T) {
	failed := strings.Repeat("ab", 16)
	r := rolledBack()
	r.Failing = []rollout.Failing{{Trace: failed, At: start.Add(time.Second), Route: "/api/items", Status: "500", Seconds: .0125}, {Trace: failed, At: start, Route: "/slow", Status: "500"}}
	own, _, _ := trace.Context(r.ID, "")
	for _, c := range []struct {
		links        trace.Links
		want, unlike string
	}{
		{trace.Links{}, "| /slow | – | " + failed + " |", "| 0.0 ms |"},
		{trace.Links{}, "| 03:04:06.678 | 500 | /api/items | 12.5 ms | " + failed + " |", "\n| trace |"},
		{trace.Links{Template: "https://t.example/{trace_id}"}, "| 12.5 ms | [" + failed + "](https://t.example/" + failed + ") |", "\n| trace |"},
		{trace.Links{Template: "https://t.example/{trace_id}", Rollouts: true}, "| trace | [" + own.String() + "](https://t.example/" + own.String() + ") |", "| trace | " + own.String()},
		{trace.Links{Rollouts: true}, "| trace | " + own.String() + " |", "https://"},
	} {
		text := &strings.Builder{}
		if err := Write(text, policy.Tape{Rollout: r, Rules: policy.Default()}, "", c.links); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), c.want) || strings.Contains(text.String(), c.unlike) {
			t.Errorf("%+v: want %q and not %q:\n%s", c.links, c.want, c.unlike, text)
		}
	}
}
