// Package rules turns objectives into Prometheus' recording and alert rules, and adds those about rollouts.
package rules

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// Group is evaluated in order, each rule on what those before it gave.
type Group struct {
	Name     string
	Interval time.Duration
	Rules    []Rule
}

// Rule records or alerts.
type Rule struct {
	Record, Alert       string // exactly one
	Expr                string
	For                 time.Duration // how long an alert must hold before it fires
	KeepFiring          time.Duration // how long it fires on when it does not hold any more
	Labels, Annotations map[string]string
}

// Groups are all rules of spec. With accelerate above 1 the windows of the objectives, and with them the period, are
// that many times shorter; names and labels stay those of the real windows, so that whoever reads the records finds them.
func Groups(spec slo.Spec, accelerate int) ([]Group, error) {
	shortest := slo.Tiers()[0].Short / time.Duration(max(accelerate, 1))
	if accelerate < 1 || shortest < 2*spec.Scrape {
		return nil, fmt.Errorf("accelerate the rules %d times: the shortest window would be %s, and it needs two scrapes of %s", accelerate, shortest, spec.Scrape)
	}
	t := newTimes(spec.Scrape, time.Duration(accelerate))
	var groups []Group
	for _, s := range spec.Services {
		groups = append(groups, sli(s, t), meta(s, t), burn(s, t))
		if s.Source != slo.Queries {
			groups = append(groups, versions(s))
		}
	}
	return append(groups, rollouts()), nil
}

// times are the clock of a service's rules.
type times struct {
	interval   time.Duration // between two evaluations
	slice      time.Duration // window whose rates, taken at each evaluation, add up without gap or overlap
	accelerate time.Duration
}

// Between the last scrape of one slice and the first of the next there are requests too. A window that is longer than the
// evaluation interval by one scrape begins with the scrape at which the one before it ended.
func newTimes(scrape, accelerate time.Duration) times {
	interval := max(slo.Evaluation/accelerate, scrape)
	return times{interval: interval, slice: interval + scrape, accelerate: accelerate}
}

// of is the window that stands in the expressions.
func (t times) of(window time.Duration) time.Duration { return window / t.accelerate }

// Text writes a duration as Prometheus does: 1h30m, 30d, 42s857ms. It must be positive and whole milliseconds count.
func Text(d time.Duration) string {
	text := ""
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / unit.long; n > 0 {
			text += strconv.Itoa(int(n)) + unit.name
			d -= n * unit.long
		}
	}
	return text
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

func with(labels map[string]string, pairs ...string) map[string]string {
	all := maps.Clone(labels)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

// runbooks is where operations.md has a section for each alert.
const runbooks = "https://github.com/rollout-monitoring/microservice_rollout_monitoring/blob/main/docs/operations.md#"
