package rollout

import "time"

// Reading is what one pod's counters said at one moment, since its process started.
type Reading struct {
	Counts Counts
	Start  float64 // Unix seconds at which the process started, 0 when the pod does not say
}

// Record is what is known of one pod: its last reading and what it has contributed to the rollout.
type Record struct {
	Track   Track     `json:"track"`
	Last    Counts    `json:"last"`
	Start   float64   `json:"start"`
	Counted Counts    `json:"counted"`
	SeenAt  time.Time `json:"seenAt"`
}

// Book has a Record for every pod (by UID) that has answered during one rollout, also for those that are gone. It is
// kept with the rollout, so that responses given while the gatekeeper restarts are counted, and counted once.
type Book map[string]Record

// Add takes in a reading. fromZero says that all the pod ever counted belongs to the rollout; otherwise the first
// reading is only where counting starts. A process that started anew counts from zero: what it served between the last
// reading and its end is not known to anybody.
func (b Book) Add(pod Pod, now time.Time, got Reading, fromZero bool) {
	r, known := b[pod.UID]
	switch {
	case !known && !fromZero:
		r = Record{Track: pod.Track}
	case !known:
		r = Record{Track: pod.Track, Counted: got.Counts}
	case got.Start != r.Start || got.Counts.Good < r.Last.Good || got.Counts.Bad < r.Last.Bad:
		r.Counted = r.Counted.Add(got.Counts)
	default:
		r.Counted = r.Counted.Add(got.Counts.Sub(r.Last))
	}
	r.Last, r.Start, r.SeenAt = got.Counts, got.Start, now
	b[pod.UID] = r
}

// Total sums what all pods of a track have contributed.
func (b Book) Total(track Track) Counts {
	var sum Counts
	for _, r := range b {
		if r.Track == track {
			sum = sum.Add(r.Counted)
		}
	}
	return sum
}
