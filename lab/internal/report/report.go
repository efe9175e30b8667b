// Package report finds the entries of deployment_report.md and reads their numbers.
package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/count"
)

// Entry is what the report says of one rollout.
type Entry struct {
	ID       string
	Versions map[string]Version // "canary" and "primary"
	Text     string             // the entry as it stands, from its mark on
}

// Version is the row of one version.
type Version struct {
	Tag      string       `json:"tag"`
	Revision string       `json:"revision"`
	Requests uint64       `json:"requests"`
	Counts   count.Counts `json:"counts"`
}

const mark = "<!-- rollout "

// Parse reads all entries in their order. A row whose numbers can not be read is an error.
func Parse(text string) ([]Entry, error) {
	var entries []Entry
	for i, part := range strings.Split(text, mark) {
		if i == 0 {
			continue // what stands above the first entry
		}
		id, _, ok := strings.Cut(part, " -->")
		if !ok || strings.ContainsAny(id, " \n") {
			return nil, fmt.Errorf("read report: entry %d has no end of its mark", i)
		}
		e := Entry{ID: id, Versions: map[string]Version{}, Text: mark + strings.TrimRight(part, "\n")}
		for line := range strings.Lines(part) {
			if err := e.row(line); err != nil {
				return nil, fmt.Errorf("read report of %s: %w", id, err)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// row takes in a line if it is `| canary | tag | revision | requests | good | bad | good % | interval |`, or primary's.
func (e *Entry) row(line string) error {
	cells := strings.Split(strings.TrimSpace(line), "|")
	if len(cells) != 10 || cells[0] != "" || cells[9] != "" {
		return nil
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	name := cells[1]
	if name != "canary" && name != "primary" {
		return nil
	}
	if _, again := e.Versions[name]; again {
		return fmt.Errorf("%s has two rows", name)
	}
	var n [3]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(cells[4+i], 10, 64); err != nil {
			return fmt.Errorf("row of %s: %w", name, err)
		}
	}
	e.Versions[name] = Version{Tag: cells[2], Revision: cells[3], Requests: n[0], Counts: count.Counts{Good: n[1], Bad: n[2]}}
	return nil
}
