package policy

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// ticksOf makes a rollout's way out of any bytes: six for each tick.
func ticksOf(data []byte) []rollout.Tick {
	t := rollout.Tick{At: start, Phase: rollout.Progressing, Answering: 1, Next: 100, Health: rollout.Health{Pods: 1, Ready: 1}}
	var all []rollout.Tick
	for ; len(data) >= 6; data = data[6:] {
		t.At = t.At.Add(time.Duration(data[0]%64) * 500 * time.Millisecond)
		t.Weight = []int{0, 10, 25, 50, 100}[data[1]%5]
		t.Next = []int{10, 25, 50, 100, 0, -3, 300}[data[1]/5%7]
		t.Canary = t.Canary.Add(rollout.Counts{Good: uint64(data[2]), Bad: uint64(data[3]) / 16})
		t.Primary = t.Primary.Add(rollout.Counts{Good: 4 * uint64(data[2]), Bad: uint64(data[4]) / 32})
		t.Ingress, t.Age, t.Health.Restarts = nil, 0, 0
		switch data[5] % 16 {
		case 0:
			t.Ingress = &rollout.Opinion{Canary: t.Canary, Primary: t.Primary, Age: time.Duration(data[4]) * time.Second}
		case 1:
			t.Age = time.Minute
		case 2:
			t.Health.DownFor = time.Duration(data[4]) * time.Second
		case 3:
			t.Canary = rollout.Counts{} // a source that lost its memory
		case 4:
			t.Phase = rollout.Phase(data[4:5])
		case 5:
			t.Phase = rollout.Progressing
		}
		all = append(all, t)
	}
	return all
}

func judged(rules Rules, ticks []rollout.Tick) (rollout.Rollout, []rollout.JudgedTick) {
	r := rollout.New(rollout.Canary{Ingress: "shop", Revision: rollout.Revision{Hash: "b"}}, start)
	var tape []rollout.JudgedTick
	for _, t := range ticks {
		Advance(rules, &r, t)
		tape = append(tape, rollout.Judge(t, r.Verdict))
	}
	return r, tape
}

// Whatever comes, there is a verdict with a reason in words; fails last; one more bad response never makes a pass of a
// fail; and the tape, through JSON, gives the same verdicts again bit for bit.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{4, 1, 100, 0, 0, 9, 4, 1, 100, 255, 0, 9, 4, 1, 100, 255, 0, 9, 4, 1, 100, 255, 0, 9}, uint8(1))
	f.Add([]byte{4, 0, 0, 0, 0, 9, 60, 1, 200, 0, 0, 0, 60, 6, 200, 0, 255, 0, 60, 6, 200, 0, 0, 3}, uint8(0))
	f.Add([]byte{1, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11, 2}, uint8(3))
	rules := quick(Default())
	rules.Latency = &Latency{Quantile: 99, Max: time.Second, WorseBy: 10}
	f.Fuzz(func(t *testing.T, data []byte, worse uint8) {
		ticks := ticksOf(data)
		if len(ticks) == 0 || len(ticks) > 500 {
			return
		}
		r, tape := judged(rules, ticks)
		failed := false
		for _, j := range tape {
			if j.Outcome == "" {
				continue // the phase was not one of the analysis, and nothing had been said before
			}
			if failed && j.Outcome != rollout.Fail {
				t.Fatalf("a fail became %s", j.Outcome)
			}
			failed = j.Outcome == rollout.Fail
			if j.Reason == "" {
				t.Fatalf("no reason for %s at %s", j.Outcome, j.Tick.At)
			}
		}

		text, err := json.Marshal(Tape{Rollout: r, Rules: rules, Ticks: tape})
		if err != nil {
			t.Fatal(err)
		}
		var kept Tape
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		var again []rollout.JudgedTick
		for i, v := range Replay(kept.Rules, kept.Rollout, kept.Ticks) {
			again = append(again, rollout.Judge(kept.Ticks[i].Tick, v))
		}
		if !reflect.DeepEqual(again, kept.Ticks) {
			t.Fatal("the tape gives other verdicts than were recorded")
		}

		from := int(worse) % len(ticks)
		bad := ticksOf(data)
		for i := from; i < len(bad); i++ {
			bad[i].Canary.Bad++
		}
		was, is := tape[len(tape)-1].Outcome, func() rollout.Outcome { w, _ := judged(rules, bad); return w.Verdict.Outcome }()
		if was == rollout.Fail && is == rollout.Pass {
			t.Fatalf("one more bad response turned fail into pass")
		}
	})
}
