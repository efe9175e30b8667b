package bench

import (
	"strings"
	"testing"
	"time"
)

func TestTruePercentile(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, c := range map[string]struct {
		percent         float64
		duration, pause time.Duration
		want            time.Duration
	}{
		"without a pause everybody waits for the delay":              {99, 10 * s, 0, 20 * ms},
		"who comes first into the pause waits longest":               {100, 10 * s, s, s + 20*ms},
		"a hundredth of a thousand are the ten who wait longest":     {99, 10 * s, s, s + 20*ms - 10*10*ms},
		"nine tenths wait the delay, the pause is the last tenth":    {90, 10 * s, s, 20 * ms},
		"the first beyond nine tenths comes right before the end":    {90.1, 10 * s, s, 10*ms + 20*ms},
		"a pause that is longer than what is left is waited for too": {100, 3 * s, 5 * s, 5*s + 20*ms},
	} {
		t.Run(name, func(t *testing.T) {
			got := truePercentile(c.percent, 100, c.duration, 20*ms, 2*s, c.pause)
			if (got - c.want).Abs() > time.Microsecond {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRatiosAreOfNeighboursInTime(t *testing.T) {
	// The machine became ten times slower after the first round; the ratio did not change.
	table := Table{Title: "speed", Unit: "requests/s", Base: "ours", Higher: true}
	for _, pair := range [][2]float64{{1000, 500}, {100, 50}, {100, 60}} {
		table.add("ours", pair[0])
		table.add("other", pair[1])
	}
	report := Report{Machine: "here", Rounds: 3, Tables: []Table{table}}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"other  60 requests/s", "(50 to 500)", "0.50 × ours", "more is better"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &text)
		}
	}
}

func TestTheReportsOfOthersAreUnderstood(t *testing.T) {
	if got := heyPattern.FindStringSubmatch("  95% in 0.0210 secs\n  99% in 1.0230 secs\n"); got == nil || got[1] != "1.0230" {
		t.Errorf("hey: %v", got)
	}
	if got := wrkPattern.FindStringSubmatch("Requests/sec:  48211.07\nTransfer/sec:"); got == nil || got[1] != "48211.07" {
		t.Errorf("wrk: %v", got)
	}
	if got := handledPattern.FindStringSubmatch("Active connections: 1 \nserver accepts handled requests\n 12 12 345 \nReading: 0 Writing: 1 Waiting: 0 \n"); got == nil || got[1] != "345" {
		t.Errorf("nginx: %v", got)
	}
}
