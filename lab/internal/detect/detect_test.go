package detect

import (
	"strings"
	"testing"
)

// sample is one with times in seconds; a negative one is none.
func sample(kind, judge string, verdict, weight0 float64, failed uint64) Sample {
	s := Sample{Kind: kind, Judge: judge, Failed: failed}
	if verdict >= 0 {
		s.Verdict = &verdict
	}
	if weight0 >= 0 {
		s.Weight0 = &weight0
	}
	return s
}

func TestTables(t *testing.T) {
	const alone = "Flagger alone, 10s × 10"
	early := sample(Half, "Flagger alone, 10s × 1", -1, -1, 0)
	early.False = true
	lost := sample(Half, Fast, -1, -1, 0)
	lost.Note = "the gatekeeper knows nothing of the release"
	report := Report{Machine: "m", Engine: "e", Rate: 100, False: map[string]float64{Default: 0.5, alone: 0, "Flagger alone, 10s × 1": 90}, Samples: []Sample{
		sample(Half, Default, 4, 9, 50), sample(Half, Default, 6, 12, 60), sample(Half, Default, 5, 10, 55),
		sample(Half, Fast, 2, 8, 40), sample(Half, Fast, -1, -1, 400), lost,
		sample(Half, Braked, 5, 6.5, 30),
		sample(Half, alone, -1, 110, 560),
		early,
		sample(Few, Default, 30, 40, 20),
	}}
	var b strings.Builder
	if err := report.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"median and range, and a goal that is met":                                   "| half | default | 3 | 5.0 (4.0–6.0) | 10.0 (9.0–12.0) | 55 | verdict < 6 s: goal met |",
		"a run that was not brought back counts, one that was not measured does not": "| half | fast | 2 (1 never at weight 0), 1 not measured | 2.0 (2.0–2.0) | 8.0 (8.0–8.0) | 220 | verdict < 3 s: goal met |",
		"the brake has a goal of its own":                                            "weight 0 at most 1 s later: goal missed (1.5 s) |",
		"a goal that is missed":                                                      "| few | default | 1 | 30.0 (30.0–30.0) | 40.0 (40.0–40.0) | 20 | verdict < 25 s: goal missed |",
		"ratios to the gatekeeper, false ones beside":                                "| half | Flagger alone, 10s × 10 | 1 | 110.0 (110.0–110.0) | 560 | 11.0, 10.2 | 16.9, 18.7 | 0 of 1 | 0 % |",
		"one that came back by itself":                                               "| half | Flagger alone, 10s × 1 | 0 | – | – | –, – | –, – | 1 of 1 | 90 % |",
		"better than those that are careful":                                         "half, default: at least 5 times faster and 5 times fewer failed requests than every setting of Flagger alone that brings back less than 5 % of healthy rollouts: goal met.",
		"notes":                                                                      "half, fast, run 0: the gatekeeper knows nothing of the release",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: no %q in\n%s", what, want, b.String())
		}
	}
}

func TestBetter(t *testing.T) {
	mine := row{weight0: values{10}, failed: values{50}}
	for name, c := range map[string]struct {
		other row
		want  bool
	}{
		"five times slower and dearer":       {row{weight0: values{50}, failed: values{250}}, true},
		"slower only":                        {row{weight0: values{50}, failed: values{249}}, false},
		"dearer only":                        {row{weight0: values{49}, failed: values{250}}, false},
		"one that never came back, and dear": {row{failed: values{900}}, true},
	} {
		if got := better(mine, []row{c.other}, 5); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSampleSaysWhatHappened(t *testing.T) {
	s := sample(Crash, Default, 3.2, 11, 7)
	s.Reason, s.Run = "crash-loop", 4
	if got, want := s.String(), "crash 4, default: verdict (crash-loop) after 3.2 s, weight 0 after 11.0 s, 7 failed requests"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.False = true
	if got, want := s.String(), "crash 4, default: came back before there was a fault"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
