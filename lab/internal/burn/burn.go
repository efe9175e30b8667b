// Package burn says from counts when an error budget has burnt faster than an alert allows.
package burn

import (
	"slices"
	"time"
)

// Sample is what had been asked and what had failed at one moment, since some beginning.
type Sample struct {
	At         time.Time
	Total, Bad float64 // requests
}

// Tier is one pair of windows of an alert.
type Tier struct {
	Long, Short time.Duration
	Threshold   float64 // share of bad requests, 0 to 1, that both windows must be above
	Least       float64 // requests in Long below which nothing is alerted
}

// Crossing is the first of the samples, oldest first, at which the tier's alert must fire for whoever has watched since
// from; false when there is none.
func (t Tier) Crossing(samples []Sample, from time.Time) (time.Time, bool) {
	for i, now := range samples {
		if !now.At.After(from) {
			continue
		}
		total, bad := in(samples[:i+1], from, now.At.Add(-t.Long))
		_, burst := in(samples[:i+1], from, now.At.Add(-t.Short))
		if total >= t.Least && bad > t.Threshold && burst > t.Threshold {
			return now.At, true
		}
	}
	return time.Time{}, false
}

// in is what the last of the samples adds to that at begin or at from, whichever is later: the requests, and the share of
// bad ones, 0 without requests.
func in(samples []Sample, from, begin time.Time) (total, share float64) {
	if begin.Before(from) {
		begin = from
	}
	first, last := at(samples, begin), samples[len(samples)-1]
	if total = last.Total - first.Total; total == 0 {
		return 0, 0
	}
	return total, (last.Bad - first.Bad) / total
}

// at is what the counts were at a moment, on the line between the samples around it.
func at(samples []Sample, moment time.Time) Sample {
	i, exact := slices.BinarySearchFunc(samples, moment, func(s Sample, m time.Time) int { return s.At.Compare(m) })
	if exact || i == 0 {
		return samples[i]
	}
	if i == len(samples) {
		return samples[i-1]
	}
	a, b := samples[i-1], samples[i]
	part := float64(moment.Sub(a.At)) / float64(b.At.Sub(a.At))
	return Sample{At: moment, Total: a.Total + part*(b.Total-a.Total), Bad: a.Bad + part*(b.Bad-a.Bad)}
}

// After is how long a share of failing requests, 0 to 1, takes to fire the tier's alert, when healthy traffic of the same
// rate went before it for history. 0 stands for never.
//
// After t of failures the share in the long window is share × t / Long, so t = Long × Threshold / share. Where the window is not
// full by then it is share × t / (history + t), so t = history × Threshold / (share − Threshold).
func (t Tier) After(history time.Duration, share float64) time.Duration {
	if share <= t.Threshold {
		return 0
	}
	young := time.Duration(float64(history) * t.Threshold / (share - t.Threshold))
	return min(young, time.Duration(float64(t.Long)*t.Threshold/share))
}

// Clears is how long after a share of failing requests, 0 to 1, has ended the tier's alert is over: when so much of the short
// window is good again that its share, share × (Short − t) / Short, is the threshold. 0 where it never fired.
func (t Tier) Clears(share float64) time.Duration {
	if share <= t.Threshold {
		return 0
	}
	return time.Duration(float64(t.Short) * (1 - t.Threshold/share))
}
