// Package dora works out the four delivery metrics of dora.dev from rollouts that have ended.
package dora

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Window is how far back is looked where nothing else is asked for.
const Window = 30 * 24 * time.Hour

// Figures are the four metrics over the rollouts that ended in a window (dora.dev/guides/dora-metrics-four-keys). Each says
// of how many rollouts it is made; of few it says little.
type Figures struct {
	// Deployments were promoted, those too that no gatekeeper saw; PerDay is their number by the days of the window.
	Deployments int     `json:"deployments"`
	PerDay      float64 `json:"deploymentsPerDay"`
	// LeadTime is from the commit to the promotion, of those that say when they were committed.
	LeadTime Spread `json:"leadTime"`
	// Decided were promoted or failed. Failed were rolled back, or stuck; FailureRate is their share, 0 to 1.
	Decided     int     `json:"decided"`
	Failed      int     `json:"failed"`
	FailureRate float64 `json:"changeFailureRate"`
	// Restore is from the first traffic of one that was rolled back to its end, when all traffic was on the stable version.
	Restore Spread `json:"timeToRestore"`
}

// Spread is how long something took, in seconds; 0 without any.
type Spread struct {
	N      int     `json:"n"`
	Median float64 `json:"medianSeconds"`
	P90    float64 `json:"p90Seconds"`
}

// Of are the figures of rollouts that ended at from or later, and before to. Drills are left out: a rehearsed failure is no
// failed change, and nobody meant to deploy it.
func Of(rollouts []rollout.Brief, from, to time.Time) Figures {
	var f Figures
	var lead, restore []time.Duration
	for _, r := range rollouts {
		if r.Revision.Drill || r.EndedAt.Before(from) || !r.EndedAt.Before(to) {
			continue
		}
		switch r.Result {
		case rollout.Promoted:
			f.Deployments++
			if at := r.Revision.CommittedAt; !at.IsZero() && !at.After(r.EndedAt) {
				lead = append(lead, r.EndedAt.Sub(at))
			}
		case rollout.RolledBack:
			f.Failed++
			if !r.FirstTrafficAt.IsZero() {
				restore = append(restore, r.EndedAt.Sub(r.FirstTrafficAt))
			}
		case rollout.Stuck:
			f.Failed++
		}
	}
	f.Decided = f.Deployments + f.Failed
	if f.Decided > 0 {
		f.FailureRate = float64(f.Failed) / float64(f.Decided)
	}
	if days := to.Sub(from).Hours() / 24; days > 0 {
		f.PerDay = float64(f.Deployments) / days
	}
	f.LeadTime, f.Restore = spread(lead), spread(restore)
	return f
}

// OfCanary are the figures of one Canary.
type OfCanary struct {
	Canary rollout.Key `json:"canary"`
	Figures
}

// ByCanary are the figures of each Canary, in the order of their names.
func ByCanary(rollouts []rollout.Brief, from, to time.Time) []OfCanary {
	of := map[rollout.Key][]rollout.Brief{}
	for _, r := range rollouts {
		of[r.Canary] = append(of[r.Canary], r)
	}
	all := make([]OfCanary, 0, len(of))
	keys := slices.SortedFunc(maps.Keys(of), func(a, b rollout.Key) int { return cmp.Compare(a.String(), b.String()) })
	for _, key := range keys {
		all = append(all, OfCanary{Canary: key, Figures: Of(of[key], from, to)})
	}
	return all
}

func spread(times []time.Duration) Spread {
	if len(times) == 0 {
		return Spread{}
	}
	slices.Sort(times)
	// The smallest time that the share of all is not over.
	at := func(share float64) float64 { return times[int(math.Ceil(share*float64(len(times))))-1].Seconds() }
	return Spread{N: len(times), Median: at(.5), P90: at(.9)}
}
