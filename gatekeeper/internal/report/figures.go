package report

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/evidence"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// miss is the chance that the true share is ever above the interval, and as much that it is ever below: 5 % in all.
const miss = .025

// All are five table cells: requests, good, not good, good in percent, and what the counts leave possible of it.
func (d data) All(c rollout.Counts) string {
	return fmt.Sprintf("%d | %d | %d | %s | %s", c.Total(), c.Good, c.Bad, share(c), d.interval(c))
}

// Brief are four table cells: as All, without the good ones.
func (d data) Brief(c rollout.Counts) string {
	return fmt.Sprintf("%d | %d | %s | %s", c.Total(), c.Bad, share(c), d.interval(c))
}

// share of good responses in percent, cut, not rounded, so that one bad response never reads as 100 %.
func share(c rollout.Counts) string {
	if c.Total() == 0 {
		return "–"
	}
	return decimals(float64(c.Good*10_000/c.Total()) / 100)
}

// interval is what the counts leave possible of the share of good responses, rounded outward.
func (d data) interval(c rollout.Counts) string {
	if c.Total() == 0 {
		return "–"
	}
	k, n, dispersion := float64(c.Bad), float64(c.Total()), max(d.Rules.Confidence.Dispersion, 1)
	low, high := 1-evidence.Upper(k, n, miss, dispersion), 1-evidence.Lower(k, n, miss, dispersion)
	return decimals(math.Floor(10_000*low)/100) + " to " + decimals(math.Ceil(10_000*high)/100)
}

func decimals(percent float64) string { return strconv.FormatFloat(percent, 'f', 2, 64) }

// Spent says what the canary's bad responses cost: of the budget of the policy's window where that is known, else of what
// the objective allows for the responses of this rollout's own time.
func (d data) Spent() string {
	bad := d.Latest.Canary.Bad
	if b := d.Budget; b != nil && d.Rules.Budget != nil && b.Requests > 0 {
		whole := b.Requests * d.Rules.Allowed()
		return fmt.Sprintf("the canary's %d bad responses are %s %% of the budget of %s; %s %% of it was left in the end", bad,
			decimals(100*float64(bad)/whole), d.Rules.Budget.Window, decimals(100-100*b.Bad/whole))
	}
	all := d.Latest.Canary.Add(d.Latest.Primary).Total()
	allowed := float64(all) * d.Rules.Allowed()
	if all == 0 {
		return "nothing was served"
	}
	return fmt.Sprintf("the canary's %d bad responses are %s %% of the %s that the objective allows in the %d of both versions in this time", bad,
		decimals(100*float64(bad)/allowed), strconv.FormatFloat(allowed, 'f', 1, 64), all)
}

// latencies is a row of percentiles.
type latencies struct{ Name, Half, P95, P99 string }

// Latencies has a row for each version; none when nothing was measured.
func (d data) Latencies() (rows []latencies) {
	l := d.Latest.Latency
	if l == nil {
		return nil
	}
	for _, v := range []struct {
		name   string
		counts []uint64
	}{{"canary", l.Canary}, {"primary", l.Primary}} {
		rows = append(rows, latencies{v.name, within(l.Bounds, v.counts, .5), within(l.Bounds, v.counts, .95), within(l.Bounds, v.counts, .99)})
	}
	return rows
}

// within is the time that the share of the responses took at most. Inside a bucket they are taken to be spread evenly, as
// Prometheus' histogram_quantile does; beyond the last bound nothing is known but that.
func within(bounds []float64, counts []uint64, share float64) string {
	if len(counts) != len(bounds)+1 || counts[len(counts)-1] == 0 {
		return "–"
	}
	rank := share * float64(counts[len(counts)-1])
	low, before := 0.0, 0.0
	for i, bound := range bounds {
		if up := float64(counts[i]); up >= rank {
			seconds := low + (bound-low)*(rank-before)/(up-before)
			return time.Duration(seconds * float64(time.Second)).Round(100 * time.Microsecond).String()
		}
		low, before = bound, float64(counts[i])
	}
	return fmt.Sprintf("over %v s", low)
}
