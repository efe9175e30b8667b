package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// release records a made-up release: 50 requests a second, of which the canary fails the share bad of its own, while Flagger
// takes the weights in turn, each for step. It is over when the verdict is fail or the last weight has had its time.
func release(weights []int, step time.Duration, bad func(seconds int) float64) policy.Tape {
	const rate, primaryBad = 50, .001
	dice := rand.New(rand.NewPCG(1, 2))
	rules := policy.Default()
	r := rollout.New(rollout.Canary{
		Key:      rollout.Key{Namespace: "demo", Name: "podinfo"},
		Revision: rollout.Revision{Hash: "6f9c8d7b5", Image: "registry.example/app:2.1.0"}, Stable: rollout.Revision{Hash: "5d4c3b2a1", Image: "registry.example/app:2.0.0"}, Policy: "default",
	}, start)
	tape := policy.Tape{Rules: rules}
	var canary, primary rollout.Counts
	add := func(to *rollout.Counts, share float64) {
		if dice.Float64() < share {
			to.Bad++
		} else {
			to.Good++
		}
	}
	end := len(weights) * int(step/time.Second)
	for s := range end + 5 {
		weight := 0
		if s >= 5 {
			weight = weights[(s-5)/int(step/time.Second)]
		}
		for range rate {
			if dice.IntN(100) < weight {
				add(&canary, bad(s-5))
			} else {
				add(&primary, primaryBad)
			}
		}
		tick := rollout.Tick{
			At: start.Add(time.Duration(s) * time.Second), Phase: rollout.Progressing, Weight: weight, Next: 100, Answering: 1,
			Canary: canary, Primary: primary, Health: rollout.Health{Pods: 1, Ready: 1},
		}
		policy.Advance(rules, &r, tick)
		tape.Ticks = append(tape.Ticks, rollout.Judge(tick, r.Verdict))
		if r.Verdict.Outcome == rollout.Fail {
			r.End(rollout.RolledBack, rollout.Failed, tick.At.Add(4*time.Second))
			tape.Rollout = r
			return tape
		}
	}
	r.Decisions = []rollout.Decision{{Kind: rollout.Approve, By: "ann@example.org", At: start.Add(time.Duration(end*3/4) * time.Second)}}
	r.End(rollout.Promoted, rollout.Succeeded, start.Add(time.Duration(end+8)*time.Second))
	tape.Rollout = r
	return tape
}

func good(int) float64 { return .001 }

// later is a fault that begins at a second.
func later(second int, share float64) func(int) float64 {
	return func(s int) float64 {
		if s < second {
			return .001
		}
		return share
	}
}

func tapes() map[string]policy.Tape {
	return map[string]policy.Tape{
		"promoted":  release([]int{10, 25, 50, 100}, 2*time.Minute, good),
		"bad":       release([]int{10, 25, 50, 100}, 2*time.Minute, func(int) float64 { return .3 }),
		"turns-bad": release([]int{10, 25, 50, 100}, 2*time.Minute, later(200, .08)),
		"lurking":   release([]int{10, 25, 50, 100}, 3*time.Minute, func(int) float64 { return .02 }),
		"hours":     release([]int{1, 10, 50}, time.Hour, good),
	}
}

func drawn(t *testing.T, tape policy.Tape, o Options) string {
	t.Helper()
	text := &bytes.Buffer{}
	if err := Draw(text, tape, o); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// CHARTS=folder keeps the pictures, to be looked at.
func TestPicturesAreSmallAndWhole(t *testing.T) {
	for name, tape := range tapes() {
		for colours, o := range map[string]Options{"light": {}, "dark": {Palette: Dark()}} {
			svg := drawn(t, tape, o)
			if folder := os.Getenv("CHARTS"); folder != "" {
				if err := os.WriteFile(filepath.Join(folder, name+"-"+colours+".svg"), []byte(svg), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if len(svg) > 60_000 {
				t.Errorf("%s is %d bytes", name, len(svg))
			}
			if svg != drawn(t, tape, o) {
				t.Errorf("%s is not the same when it is drawn again", name)
			}
			for _, never := range []string{"style=", "<script", "href", "NaN", "Inf"} {
				if strings.Contains(svg, never) {
					t.Errorf("%s has %s", name, never)
				}
			}
			if texts := texts(t, svg); !strings.Contains(texts, string(tape.Rollout.Result)) || !strings.Contains(texts, "SLO 0.5 %") || !strings.Contains(texts, tape.Rollout.Summary()) {
				t.Errorf("%s says %s", name, texts)
			}
		}
	}
}

// texts are all the words of a picture; one that is no XML fails the test.
func texts(t *testing.T, svg string) string {
	t.Helper()
	var words []string
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return strings.Join(words, "\n")
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if text, ok := token.(xml.CharData); ok {
			words = append(words, string(text))
		}
	}
}

func TestNamesOfOthersStayText(t *testing.T) {
	tape := release([]int{10}, 30*time.Second, good)
	hostile := "<script>alert(1)</script> & \x00\x1b[31m\xff\u202e" + strings.Repeat("n", 500)
	tape.Rollout.Revision.Hash, tape.Rollout.Canary.Name, tape.Rollout.Decisions[0].By = hostile, hostile, hostile
	svg := drawn(t, tape, Options{})
	if strings.Contains(svg, "<script") {
		t.Error("a name became an element")
	}
	if texts(t, svg) == "" {
		t.Error("no words")
	}
}

func TestNothingToDraw(t *testing.T) {
	tape := release([]int{10}, 30*time.Second, good)
	tape.Ticks = nil
	if err := Draw(io.Discard, tape, Options{}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	if err := Draw(io.Discard, policy.Tape{}, Options{}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}
