package rollout

import (
	"cmp"
	"slices"
	"time"
)

// Failing is a canary request that was not good and whose trace is known, by an exemplar on its pod's page of metrics. It is
// for people: no verdict depends on it.
type Failing struct {
	Trace   string    `json:"trace"` // id, 32 hexadecimal digits
	At      time.Time `json:"at"`    // by the pod's clock, or when it was first seen
	Route   string    `json:"route,omitempty"`
	Status  string    `json:"status"`
	Seconds float64   `json:"seconds,omitempty"` // that it took; 0: not known
}

// maxFailing is how many a rollout remembers: enough to see a pattern.
const maxFailing = 5

// newest are the newest of both, each trace once, the newest last. Neither slice is written to: copies share them.
func newest(known, more []Failing) []Failing {
	if len(more) == 0 {
		return known
	}
	all := slices.Clone(known)
	for _, f := range more {
		if !slices.ContainsFunc(all, func(k Failing) bool { return k.Trace == f.Trace }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Failing) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Trace, b.Trace)) })
	return all[max(0, len(all)-maxFailing):]
}

// Unknown are those of found that r would remember and does not yet, so that a tick has only what is news.
func (r *Rollout) Unknown(found []Failing) []Failing {
	var news []Failing
	for _, f := range newest(r.Failing, found) {
		if !slices.ContainsFunc(r.Failing, func(k Failing) bool { return k.Trace == f.Trace }) {
			news = append(news, f)
		}
	}
	return news
}
