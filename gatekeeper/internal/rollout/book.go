package rollout

import (
	"maps"
	"slices"
	"time"
)

// SLI says which of a service's metrics are counted, and what is good.
type SLI struct {
	Requests string            // counter of responses
	Status   string            // its label with the status code
	Duration string            // histogram of response times in seconds, "" when they are not asked for
	Match    map[string]string // labels that a series must have to count
	IsGood   func(status string) bool
	Ingress  bool // the ingress's counts are asked for too
	// Traces is the histogram of response times whose exemplars name traces, also where Duration is "".
	Traces string
}

// Reading is what one source's counters said at one moment, since its process started.
type Reading struct {
	Counts Counts
	Start  float64 // Unix seconds at which the process started, 0 when the source does not say
	Times  Times
	// Uncounted says that the page is without the counter of responses: in most client libraries a counter with labels
	// begins with the first response.
	Uncounted bool
	// Failing are its requests that were not good and have a trace. At is zero where the source does not say when.
	Failing []Failing
}

// Times are responses by the time they took: Counts[i] took at most Bounds[i] seconds, the last count, one more than there
// are bounds, is of all. Empty where nothing was asked for.
type Times struct {
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []uint64  `json:"counts,omitempty"`
}

// combine gives t changed by o's counts, one by one; o alone where t is empty, nothing where the bounds differ.
func (t Times) combine(o Times, change func(a, b uint64) uint64) Times {
	switch {
	case len(t.Counts) == 0:
		return Times{o.Bounds, slices.Clone(o.Counts)}
	case len(o.Counts) == 0:
		return t
	case !slices.Equal(t.Bounds, o.Bounds) || len(t.Counts) != len(o.Counts):
		return Times{}
	}
	sum := Times{t.Bounds, make([]uint64, len(t.Counts))}
	for i := range t.Counts {
		sum.Counts[i] = change(t.Counts[i], o.Counts[i])
	}
	return sum
}

// Add gives the sum of both, nothing where their bounds differ: what cannot be added is not known.
func (t Times) Add(o Times) Times { return t.combine(o, func(a, b uint64) uint64 { return a + b }) }

// sub gives what t has beyond o.
func (t Times) sub(o Times) Times {
	return t.combine(o, func(a, b uint64) uint64 { return a - min(a, b) })
}

// Record is what is known of one source, a pod or a series: its last reading and what it has contributed to the rollout.
type Record struct {
	Track        Track     `json:"track"`
	Last         Counts    `json:"last"`
	Start        float64   `json:"start"`
	Counted      Counts    `json:"counted"`
	LastTimes    Times     `json:"lastTimes,omitzero"`
	CountedTimes Times     `json:"countedTimes,omitzero"`
	SeenAt       time.Time `json:"seenAt"`
	// WasReady says that the pod was seen ready, UnreadyFor how long it has not been since.
	WasReady   bool          `json:"wasReady,omitempty"`
	UnreadyFor time.Duration `json:"unreadyFor,omitempty"`
	// FirstSeen is when failing requests that do not credibly say when they were were first seen, by their traces. It is not
	// kept, for it matters to no count, and is replaced, never changed.
	FirstSeen map[string]time.Time `json:"-"`
}

// Book has a Record for every pod (by UID) and series that has answered during one rollout, also for those that are gone.
// It is kept with the rollout, so that responses given while the gatekeeper restarts are counted, and counted once.
type Book map[string]Record

// Clone is a copy that can be changed alone. Records are values whose slices are never written to.
func (b Book) Clone() Book { return maps.Clone(b) }

// Add takes in a reading. fromZero says that all the source ever counted belongs to the rollout; otherwise the first
// reading is only where counting starts. A process that started anew counts from zero: what it served between the last
// reading and its end is not known to anybody.
func (b Book) Add(source string, track Track, seen time.Time, got Reading, fromZero bool) {
	r, known := b[source]
	r.Track = track
	anew := known && (got.startedAfter(r) || got.Counts.Good < r.Last.Good || got.Counts.Bad < r.Last.Bad)
	switch {
	case !known && !fromZero:
	case !known || anew:
		r.Counted = r.Counted.Add(got.Counts)
	default:
		r.Counted = r.Counted.Add(got.Counts.Sub(r.Last))
	}
	r.addTimes(got.Times, !known && !fromZero, anew)
	r.Last, r.Start, r.SeenAt = got.Counts, got.Start, seen
	b[source] = r
}

// Forgets reports whether a source that has counted is without its counter, and nothing says that its process is a new one:
// no zero, for when the counter comes back, all would be counted once more.
func (b Book) Forgets(source string, got Reading) bool {
	r := b[source]
	return got.Uncounted && r.Last.Total() > 0 && !got.startedAfter(r)
}

// Remember keeps when failing requests of a source that is known were first seen.
func (b Book) Remember(source string, firstSeen map[string]time.Time) {
	r := b[source]
	r.FirstSeen = firstSeen
	b[source] = r
}

const (
	// startSlack is by how much the clocks of a pod and of the gatekeeper may differ.
	startSlack = 5 * time.Second
	// startShift is by how many seconds a start may be told differently: the boot time is in whole ones.
	startShift = 2
)

// startedAfter reports whether the process is another than the one of the record. Its start alone does not say so: client
// libraries compute it from the node's boot time, which moves when the node's clock is set.
func (g Reading) startedAfter(r Record) bool {
	return g.Start-r.Start > startShift && time.UnixMilli(int64(1000*g.Start)).After(r.SeenAt.Add(-startSlack))
}

// addTimes takes in response times. A page without any, such as that of a process that has answered nothing yet, takes
// nothing away.
func (r *Record) addTimes(got Times, begin, anew bool) {
	if len(got.Counts) == 0 {
		if anew {
			r.LastTimes = Times{}
		}
		return
	}
	switch {
	case begin:
	case anew || len(r.LastTimes.Counts) == 0:
		r.CountedTimes = r.CountedTimes.Add(got)
	default:
		r.CountedTimes = r.CountedTimes.Add(got.sub(r.LastTimes))
	}
	r.LastTimes = got
}

// Begin lets counting of a source start at this reading, whatever it contributed before.
func (b Book) Begin(source string, track Track, seen time.Time, got Reading) {
	delete(b, source)
	b.Add(source, track, seen, got, false)
}

// Total sums what all sources of a track have contributed.
func (b Book) Total(track Track) Counts {
	var sum Counts
	for _, r := range b {
		if r.Track == track {
			sum = sum.Add(r.Counted)
		}
	}
	return sum
}

// Times sums response times of both versions; nil while there are none, or when pods do not agree on the bounds.
func (b Book) Times() *Latency {
	var canary, primary Times
	// In a fixed order, so that pods that disagree give the same answer each time.
	for _, source := range slices.Sorted(maps.Keys(b)) {
		switch r := b[source]; r.Track {
		case TrackCanary:
			canary = canary.Add(r.CountedTimes)
		case TrackPrimary:
			primary = primary.Add(r.CountedTimes)
		}
	}
	if len(primary.Counts) == 0 {
		primary = Times{canary.Bounds, make([]uint64, len(canary.Counts))}
	}
	if len(canary.Counts) == 0 || !slices.Equal(canary.Bounds, primary.Bounds) {
		return nil
	}
	return &Latency{Bounds: canary.Bounds, Canary: canary.Counts, Primary: primary.Counts}
}
