// Package ledgertest makes rollouts for tests of the ledger: judged by the real policy, with all their ticks.
package ledgertest

import (
	"encoding/json"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// seconds that a made-up rollout takes.
const seconds = 60

// Closed is a rollout from its begin to its closing entry: a minute at 10 %, with badPerSecond of 20 responses a second bad,
// approved by ann in between, and judged by the given version.
func Closed(hash string, begin time.Time, badPerSecond uint64, judges string) rollout.Change {
	change := Open(hash, begin, badPerSecond, judges)
	r := &change.Rollout
	result, phase := rollout.Promoted, rollout.Succeeded
	if badPerSecond > 0 {
		result, phase = rollout.RolledBack, rollout.Failed
	}
	end := begin.Add(seconds * time.Second)
	r.End(result, phase, end)
	late := r.Latest
	late.Canary.Good++ // a response that was on its way
	r.Observe(late)
	r.Reported = true
	rules, _, _ := rules().Document() // what is valid can be encoded
	body, _ := json.Marshal(rollout.Account{Rollout: *r, Rules: rules})
	change.Entries = append(change.Entries, rollout.Entry{At: end, Kind: rollout.EntryRollout, Rollout: r.ID, Body: body})
	return change
}

// Open is a rollout that has not ended, with its ticks and the entry of its approval.
func Open(hash string, begin time.Time, badPerSecond uint64, judges string) rollout.Change {
	by := rules()
	_, digest, _ := by.Document() // as above
	r := rollout.New(rollout.Canary{
		Key: rollout.Key{Namespace: "demo", Name: "podinfo"}, Revision: rollout.Revision{Hash: hash, Image: "registry.example/app:" + hash, DeployID: "run-" + hash}, Policy: by.Name,
		Stable: rollout.Revision{Hash: "stable", Image: "registry.example/app:1"},
	}, begin)
	r.PolicyDigest, r.JudgedBy = digest, []string{judges}
	approval := rollout.Decision{Kind: rollout.Approve, By: "ann", Via: "api", Why: "looks <good>", At: begin.Add(3 * time.Second)}
	body, _ := json.Marshal(approval) // as above
	change := rollout.Change{Book: rollout.Book{}, Entries: []rollout.Entry{{At: approval.At, Kind: rollout.EntryDecision, Rollout: r.ID, Body: body}}}
	r.Decisions = append(r.Decisions, approval)
	for s := range uint64(seconds) {
		tick := rollout.Tick{At: begin.Add(time.Duration(s) * time.Second), Phase: rollout.Progressing, Next: 100, Answering: 1, Health: rollout.Health{Pods: 1, Ready: 1}}
		if s >= 5 {
			tick.Weight = 10
			tick.Canary = rollout.Counts{Good: (20 - badPerSecond) * (s - 5), Bad: badPerSecond * (s - 5)}
		}
		tick.Primary = rollout.Counts{Good: 180 * s}
		policy.Advance(by, &r, tick)
		judged := rollout.Judge(tick, r.Verdict)
		change.Ticks, r.Tape = append(change.Ticks, judged), r.Tape.Add(judged)
	}
	change.Rollout = r
	return change
}

func rules() policy.Rules {
	by := policy.Default()
	by.Evidence.Source = []policy.Source{policy.Pods}
	return by
}
