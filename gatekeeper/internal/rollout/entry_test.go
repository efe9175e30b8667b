package rollout_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// TestNoChangeOfAnEntryKeepsItsHash changes one field, or moves a byte from one to its neighbour.
func TestNoChangeOfAnEntryKeepsItsHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 20, -1)
		e := rollout.Entry{
			At: time.Unix(0, rapid.Int64().Draw(t, "at")), Kind: rollout.EntryKind(text.Draw(t, "kind")), Rollout: text.Draw(t, "rollout"),
			Body: json.RawMessage(text.Draw(t, "body")), Previous: text.Draw(t, "previous"), Seq: rapid.Int64().Draw(t, "seq"),
		}
		other := e
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			other.Seq++
		case 1:
			other.At = e.At.Add(1)
		case 2:
			other.Kind, other.Rollout = e.Kind+rollout.EntryKind(e.Rollout[:1]), e.Rollout[1:]
		case 3:
			other.Rollout, other.Body = e.Rollout+string(e.Body[:1]), e.Body[1:]
		case 4:
			other.Body = append(json.RawMessage{}, e.Body...)
			other.Body[len(other.Body)-1] ^= 1
		case 5:
			other.Previous += "0"
		}
		if e.Sum() == other.Sum() {
			t.Fatalf("%+v and %+v have the same hash", e, other)
		}
	})
}

func TestATapeKnowsItsTicksAndTheirOrder(t *testing.T) {
	a, b := rollout.JudgedTick{Reason: "a"}, rollout.JudgedTick{Reason: "b"}
	of := func(ticks ...rollout.JudgedTick) (tape rollout.Tape) {
		for _, tick := range ticks {
			tape = tape.Add(tick)
		}
		return tape
	}
	if got, again := of(a, b), of(a, b); got.Ticks != 2 || got != again {
		t.Errorf("the same ticks give %+v and %+v", got, again)
	}
	seen := map[rollout.Tape]bool{}
	for _, tape := range []rollout.Tape{of(), of(a), of(b), of(a, b), of(b, a), of(a, a)} {
		if seen[tape] {
			t.Errorf("%+v comes from two different lists of ticks", tape)
		}
		seen[tape] = true
	}
}

func TestPaused(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	said := func(kind rollout.DecisionKind, minute int) rollout.Decision {
		return rollout.Decision{Kind: kind, By: "ann", At: at.Add(time.Duration(minute) * time.Minute)}
	}
	for name, c := range map[string]struct {
		said []rollout.Decision
		want bool
	}{
		"nothing said":         {nil, false},
		"held":                 {[]rollout.Decision{said(rollout.Pause, -1)}, true},
		"held and resumed":     {[]rollout.Decision{said(rollout.Pause, -2), said(rollout.Resume, -1)}, false},
		"held again":           {[]rollout.Decision{said(rollout.Pause, -3), said(rollout.Resume, -2), said(rollout.Pause, -1)}, true},
		"resumed later":        {[]rollout.Decision{said(rollout.Pause, -1), said(rollout.Resume, 1)}, true},
		"held later":           {[]rollout.Decision{said(rollout.Pause, 1)}, false},
		"an approval is none":  {[]rollout.Decision{said(rollout.Pause, -2), said(rollout.Approve, -1)}, true},
		"nor holds a rejected": {[]rollout.Decision{said(rollout.Reject, -1)}, false},
	} {
		r := rollout.Rollout{Decisions: c.said}
		if _, got := r.Paused(at); got != c.want {
			t.Errorf("%s: paused is %v", name, got)
		}
	}
}
