// Package count reads good and bad answers out of the app's own counters and sums them over its pods.
package count

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Counts are answers to business requests since a process started: good are those with a 2xx status.
type Counts struct {
	Good uint64 `json:"good"`
	Bad  uint64 `json:"bad"`
}

// Total is all answers.
func (c Counts) Total() uint64 { return c.Good + c.Bad }

// Add is the sum of both.
func (c Counts) Add(o Counts) Counts { return Counts{c.Good + o.Good, c.Bad + o.Bad} }

// ErrorRate is the percentage of bad answers, 0 without any.
func (c Counts) ErrorRate() float64 {
	if c.Total() == 0 {
		return 0
	}
	return 100 * float64(c.Bad) / float64(c.Total())
}

// Parse reads one scrape. An app without the counters is an error, not a zero.
func Parse(text io.Reader) (Counts, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return Counts{}, fmt.Errorf("parse metrics: %w", err)
	}
	requests, ok := families["http_requests_total"]
	if !ok {
		return Counts{}, fmt.Errorf("parse metrics: there is no http_requests_total")
	}
	var c Counts
	for _, m := range requests.GetMetric() {
		status := ""
		for _, l := range m.GetLabel() {
			if l.GetName() == "status" {
				status = l.GetValue()
			}
		}
		if strings.HasPrefix(status, "2") && len(status) == 3 {
			c.Good += uint64(m.GetCounter().GetValue())
		} else {
			c.Bad += uint64(m.GetCounter().GetValue())
		}
	}
	return c, nil
}

// Pods keeps the last counts of every process ever seen, so that those of a pod that is gone still count. The zero
// value is empty and ready to use; it is not safe for concurrent use.
type Pods struct {
	last map[string]Counts
}

// Put sets the counts of a process; id must differ for each one, also between restarts in the same pod. Fewer than before
// are left out: they are those of a process started since, of which the id does not tell yet.
func (p *Pods) Put(id string, c Counts) {
	if p.last == nil {
		p.last = map[string]Counts{}
	}
	if last := p.last[id]; c.Good < last.Good || c.Bad < last.Bad {
		return
	}
	p.last[id] = c
}

// Len is how many processes were seen.
func (p *Pods) Len() int { return len(p.last) }

// Each is what every process has answered, in no order.
func (p *Pods) Each() []Counts { return slices.Collect(maps.Values(p.last)) }

// Sum is what all processes together have answered.
func (p *Pods) Sum() Counts {
	var sum Counts
	for _, c := range p.last {
		sum = sum.Add(c)
	}
	return sum
}
