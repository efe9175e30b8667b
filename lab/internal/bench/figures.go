package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is all that was measured.
type Report struct {
	Machine string   `json:"machine"`
	Rounds  int      `json:"rounds"`
	Notes   []string `json:"notes,omitempty"`
	Tables  []Table  `json:"tables"`
}

// Table holds one figure of several programs, one value a round.
type Table struct {
	Title  string `json:"title"`
	Unit   string `json:"unit"`
	Base   string `json:"base,omitempty"` // the program that the others are compared with, if any
	Higher bool   `json:"higherIsBetter"`
	Rows   []*Row `json:"rows"`
}

// Row is one program's values in the order of the rounds, so that those of one round are neighbours in time.
type Row struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	// Ratio is the median of this program's value over the base's of the same round; 0 without a base.
	Ratio float64 `json:"ratioToBase,omitempty"`
}

func (t *Table) add(name string, value float64) {
	for _, row := range t.Rows {
		if row.Name == name {
			row.Values = append(row.Values, value)
			return
		}
	}
	t.Rows = append(t.Rows, &Row{Name: name, Values: []float64{value}})
}

// settle fills in what follows from the values.
func (t *Table) settle() {
	var base *Row
	for _, row := range t.Rows {
		row.Median = median(row.Values)
		if row.Name == t.Base {
			base = row
		}
	}
	if base == nil {
		return
	}
	for _, row := range t.Rows {
		var ratios []float64
		for i := range min(len(row.Values), len(base.Values)) {
			ratios = append(ratios, row.Values[i]/base.Values[i])
		}
		row.Ratio = median(ratios)
	}
}

// median of at least one value; of an even number it is the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// truePercentile is the latency that percent of the users do not exceed who come at an even rate for a time to a server
// that takes delay for each, but takes up nobody in the pause that begins at from. Users who come in the pause wait for
// its end. Nearest rank.
func truePercentile(percent, rate float64, duration, delay, from, pause time.Duration) time.Duration {
	var waits []time.Duration
	for n := range int(rate * duration.Seconds()) {
		due := time.Duration(float64(n) / rate * float64(time.Second))
		wait := delay
		if due >= from && due < from+pause {
			wait += from + pause - due
		}
		waits = append(waits, wait)
	}
	slices.Sort(waits)
	return waits[int(math.Ceil(percent/100*float64(len(waits))))-1]
}

// WriteJSON writes all of it for machines.
func (r Report) WriteJSON(w io.Writer) error {
	r.settle()
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r Report) settle() {
	for i := range r.Tables {
		r.Tables[i].settle()
	}
}

// WriteText writes it for people.
func (r Report) WriteText(w io.Writer) error {
	r.settle()
	fmt.Fprintf(w, "%s; %d rounds, medians\n", r.Machine, r.Rounds)
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
	for _, t := range r.Tables {
		better := "less is better"
		switch {
		case t.Higher:
			better = "more is better"
		case t.Base == "":
			better = ""
		}
		fmt.Fprintf(w, "\n%s  %s\n", t.Title, better)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range t.Rows {
			fmt.Fprintf(table, "  %s\t%.5g %s\t(%.5g to %.5g)", row.Name, row.Median, t.Unit, slices.Min(row.Values), slices.Max(row.Values))
			if row.Ratio != 0 {
				fmt.Fprintf(table, "\t%.2f × %s", row.Ratio, t.Base)
			}
			fmt.Fprintln(table)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
