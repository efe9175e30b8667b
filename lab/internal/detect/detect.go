// Package detect says from faults that were set and found how soon each judge finds them and what that costs, against goals.
package detect

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The kinds of fault.
const (
	Half  = "half"  // half of the canary's requests fail
	Few   = "few"   // one in twenty fails
	Crash = "crash" // the process of each canary pod dies as often as it is started
)

// Kinds are all of them.
func Kinds() []string { return []string{Half, Few, Crash} }

// Judge is who judges a Canary: the gatekeeper by a policy, or Flagger alone by its own success rate.
type Judge struct {
	Policy    string // of the gatekeeper, "" for Flagger alone
	Interval  string // Flagger's, alone
	Threshold int    // failed checks that bring a release back, Flagger's, alone
}

// The policies of the gatekeeper that are measured.
const (
	Default = "default"
	Fast    = "fast"   // default with blocks of a second
	Braked  = "braked" // default with the brake on
)

// Gatekeeper are its judges.
func Gatekeeper() []Judge { return []Judge{{Policy: Default}, {Policy: Fast}, {Policy: Braked}} }

// Alone are Flagger's.
func Alone() []Judge {
	return []Judge{{Interval: "10s", Threshold: 1}, {Interval: "10s", Threshold: 10}, {Interval: "1m", Threshold: 5}}
}

func (j Judge) String() string {
	if j.Policy != "" {
		return j.Policy
	}
	return fmt.Sprintf("Flagger alone, %s × %d", j.Interval, j.Threshold)
}

// Sample is one release with a fault.
type Sample struct {
	Kind    string   `json:"kind"`
	Judge   string   `json:"judge"`
	Run     int      `json:"run"`
	Verdict *float64 `json:"verdictSeconds"`    // from the fault's onset, null without one
	Reason  string   `json:"reason,omitempty"`  // of the verdict
	Weight0 *float64 `json:"weight0Seconds"`    // from the fault's onset, null where the traffic stayed to the end of patience
	Failed  uint64   `json:"failedRequests"`    // of the users, of all they sent to both versions
	Before  uint64   `json:"failedBeforeFault"` // of these, before there was a fault
	False   bool     `json:"falseRollback"`     // it came back before there was a fault: nothing else was measured
	Note    string   `json:"note,omitempty"`    // why nothing was measured
}

// String is one line.
func (s Sample) String() string {
	what := fmt.Sprintf("%s %d, %s: ", s.Kind, s.Run, s.Judge)
	switch {
	case s.Note != "":
		return what + s.Note
	case s.False:
		return what + "came back before there was a fault"
	}
	text := what
	if s.Verdict != nil {
		text += fmt.Sprintf("verdict (%s) after %.1f s, ", s.Reason, *s.Verdict)
	}
	if s.Weight0 != nil {
		text += fmt.Sprintf("weight 0 after %.1f s, ", *s.Weight0)
	}
	return text + fmt.Sprintf("%d failed requests", s.Failed)
}

// Report is all that was measured.
type Report struct {
	Machine string   `json:"machine"`
	Engine  string   `json:"engine"`
	Rate    float64  `json:"requestsPerSecond"` // of each Canary's users
	Notes   []string `json:"notes,omitempty"`
	Samples []Sample `json:"samples"`
	// False is, by judge, the percentage of healthy simulated rollouts that it brought back; nil without a simulation.
	False map[string]float64 `json:"simulatedFalseRollbacks,omitempty"`
}

// WriteJSON writes all of it for machines.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteMarkdown writes tables for people: how soon the gatekeeper finds each kind, and, where Flagger alone was measured
// beside it, how they compare.
func (r Report) WriteMarkdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s, engine %s, %.0f requests a second at each Canary, fault at 10 %% of the traffic.\n", r.Machine, r.Engine, r.Rate)
	for _, note := range r.Notes {
		fmt.Fprintf(b, "%s\n", note)
	}
	b.WriteString("\n| fault | policy | runs | fault → verdict, s: median (min–max) | fault → weight 0, s: median (min–max) | failed user requests, median | goal |\n|---|---|---|---|---|---|---|\n")
	for _, kind := range Kinds() {
		for _, judge := range Gatekeeper() {
			if row := r.row(kind, judge.String()); row.runs > 0 {
				fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", kind, judge, row.count(), row.verdict, row.weight0, row.failed.middle(), goal(kind, judge.Policy, row))
			}
		}
	}
	if slices.ContainsFunc(r.Samples, func(s Sample) bool { return strings.HasPrefix(s.Judge, "Flagger") }) {
		r.compare(b)
	}
	for _, s := range r.Samples {
		if s.Note != "" {
			fmt.Fprintf(b, "\n%s, %s, run %d: %s", s.Kind, s.Judge, s.Run, s.Note)
		}
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// compare sets the gatekeeper beside Flagger alone. Ratios are to the gatekeeper's medians.
func (r Report) compare(b *strings.Builder) {
	b.WriteString("\n| fault | judge | runs | seconds to weight 0, median (min–max) | failed user requests, median | × default: time, failed | × braked: time, failed | came back before the fault | healthy ones brought back, simulated |\n|---|---|---|---|---|---|---|---|---|\n")
	var lines []string
	for _, kind := range Kinds() {
		base, braked := r.row(kind, Default), r.row(kind, Braked)
		var against []row
		for _, judge := range slices.Concat(Gatekeeper(), Alone()) {
			row := r.row(kind, judge.String())
			if row.runs == 0 && row.early == 0 {
				continue
			}
			share, known := r.False[judge.String()]
			simulated := "–"
			if known {
				simulated = fmt.Sprintf("%.3g %%", share)
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %d of %d | %s |\n", kind, judge, row.count(), row.weight0, row.failed.middle(),
				ratios(row, base), ratios(row, braked), row.early, row.runs+row.early, simulated)
			if judge.Policy == "" && known && share < 5 && row.runs > 0 {
				against = append(against, row)
			}
		}
		for _, mine := range []struct {
			name string
			row  row
		}{{Default, base}, {Braked, braked}} {
			if len(against) > 0 && len(mine.row.weight0) > 0 {
				lines = append(lines, fmt.Sprintf("%s, %s: at least 5 times faster and 5 times fewer failed requests than every setting of Flagger alone that brings back less than 5 %% of healthy rollouts: %s.",
					kind, mine.name, met(better(mine.row, against, 5))))
			}
		}
	}
	for _, line := range lines {
		b.WriteString("\n" + line + "\n")
	}
}

// better reports whether mine is so many times faster and cheaper than each of the others. One that never came to weight 0
// is slower than all.
func better(mine row, others []row, times float64) bool {
	for _, other := range others {
		if len(other.weight0) > 0 && median(other.weight0) < times*median(mine.weight0) || median(other.failed) < times*median(mine.failed) {
			return false
		}
	}
	return true
}

func ratios(row, base row) string {
	return ratio(row.weight0, base.weight0) + ", " + ratio(row.failed, base.failed)
}

func ratio(a, b values) string {
	if len(a) == 0 || len(b) == 0 || median(b) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", median(a)/median(b))
}

// row is what the samples of one kind and judge have in common.
type row struct {
	runs, early, lost       int // measured, came back before the fault, not measured
	verdict, weight0, brake values
	failed                  values
}

func (r Report) row(kind, judge string) row {
	var out row
	for _, s := range r.Samples {
		switch {
		case s.Kind != kind || s.Judge != judge:
			continue
		case s.False:
			out.early++
			continue
		case s.Note != "":
			out.lost++
			continue
		}
		out.runs++
		out.failed = append(out.failed, float64(s.Failed))
		if s.Verdict != nil {
			out.verdict = append(out.verdict, *s.Verdict)
		}
		if s.Weight0 != nil {
			out.weight0 = append(out.weight0, *s.Weight0)
		}
		if s.Verdict != nil && s.Weight0 != nil {
			out.brake = append(out.brake, *s.Weight0-*s.Verdict)
		}
	}
	return out
}

func (r row) count() string {
	text := fmt.Sprint(r.runs)
	if never := r.runs - len(r.weight0); never > 0 {
		text += fmt.Sprintf(" (%d never at weight 0)", never)
	}
	if r.lost > 0 {
		text += fmt.Sprintf(", %d not measured", r.lost)
	}
	return text
}

// goal says what is aimed at and whether it is reached: half in 6 s by the default policy and 3 s by the fast one, few in
// 25 s, a crash loop in 10 s, each from the fault to the verdict; with the brake the traffic is gone a second later.
func goal(kind, policy string, r row) string {
	limit := map[string]float64{Half: 6, Few: 25, Crash: 10}[kind]
	if kind == Half && policy == Fast {
		limit = 3
	}
	text := fmt.Sprintf("verdict < %.0f s: %s", limit, met(len(r.verdict) > 0 && median(r.verdict) < limit))
	if policy == Braked {
		text += "; weight 0 at most 1 s later: " + met(len(r.brake) > 0 && median(r.brake) <= 1)
		if len(r.brake) > 0 {
			text += fmt.Sprintf(" (%.1f s)", median(r.brake))
		}
	}
	return text
}

func met(yes bool) string {
	if yes {
		return "goal met"
	}
	return "goal missed"
}

// values of one figure.
type values []float64

func (v values) String() string {
	if len(v) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f (%.1f–%.1f)", median(v), slices.Min(v), slices.Max(v))
}

func (v values) middle() string {
	if len(v) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", median(v))
}

// median of at least one value; of an even number it is the mean of the middle two.
func median(v values) float64 {
	sorted := slices.Sorted(slices.Values(v))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
