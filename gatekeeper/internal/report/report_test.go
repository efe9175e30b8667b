package report

import (
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
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
	if err := Write(text, policy.Tape{Rollout: rolledBack(), Rules: policy.Default()}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<!-- rollout demo-podinfo-new-1767323045 -->\n## rolled-back: demo/podinfo 3.0.0 (new), 2026-01-02 03:04 UTC\n",
		"**3.0.0 (new) of demo/podinfo was rolled back to 2.0.0 (old): 61 of 300 \\| requests &lt;failed&gt;.**",
		"| deploy id | run-7 |",
		"| verdict | fail, 03:04:46.678 |",
		"| canary | 3.0.0 | new | 3001 | 2999 | 2 | 99.93 |", // 99.9333… cut, not rounded up
		"| primary | 2.0.0 | old | 27100 | 27100 | 0 | 100.00 |",
		"| 10 % | 03:04:15.678 | 35s | 3001 | 2999 | 2 | 99.93 | 27100 | 27100 | 0 | 100.00 |",
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
	if err := Write(text, policy.Tape{Rollout: r, Rules: policy.Default()}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "## under way: demo/podinfo") || !strings.Contains(text.String(), "| under way | 3001 |") {
		t.Error(text)
	}
}

func TestOneBadResponseNeverReadsAsPerfect(t *testing.T) {
	if got := counts(rollout.Counts{Good: 9_999_999, Bad: 1}); got != "10000000 | 9999999 | 1 | 99.99" {
		t.Error(got)
	}
	if got := counts(rollout.Counts{}); got != "0 | 0 | 0 | –" {
		t.Error(got)
	}
}

func TestNamesOfOthersDoNoHarm(t *testing.T) {
	r := rolledBack()
	r.Revision.DeployID = "x |\n<script>alert(1)</script> [a](javascript:b) `c` **d**"
	r.Note(start, "flagger", "line\r\n| forged | row |\n## forged heading")
	text := &strings.Builder{}
	if err := Write(text, policy.Tape{Rollout: r, Rules: policy.Default()}); err != nil {
		t.Fatal(err)
	}
	for _, harm := range []string{"<script", " [a]", "\n| forged", "\n## forged", " **d**"} {
		if strings.Contains(text.String(), harm) {
			t.Errorf("entry contains %q", harm)
		}
	}
	if strings.Contains(Mark("a --> <b"), "a --> <b") {
		t.Error("an id can end the mark")
	}
}
