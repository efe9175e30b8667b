package evidence

import (
	"math"
	"slices"
	"time"
)

// Totals are all counts at one moment, cumulative since some earlier one that is the same for all totals of a rollout.
type Totals struct {
	Canary         Counts    `json:"canary"`
	Primary        Counts    `json:"primary"`
	IngressCanary  Counts    `json:"ingressCanary"` // the second opinion, all zero where there is none
	IngressPrimary Counts    `json:"ingressPrimary"`
	CanaryTimes    Histogram `json:"canaryTimes"` // empty where latency is not judged
	PrimaryTimes   Histogram `json:"primaryTimes"`
}

// valid reports whether all counts can be counts. Infinite, negative or contradictory ones say that the source is broken,
// not that the canary is.
func (t Totals) valid() bool {
	for _, c := range []Counts{t.Canary, t.Primary, t.IngressCanary, t.IngressPrimary} {
		// Written so that NaN fails too.
		if !(c.Bad >= 0 && c.Bad <= c.Requests) || !isCount(c.Bad) || !isCount(c.Requests) {
			return false
		}
	}
	return true
}

// isCount reports whether n can have been counted: a whole number, as far as a float64 counts one by one.
func isCount(n float64) bool { return n >= 0 && n <= 1<<53 && n == math.Trunc(n) }

// Plan is what a State tests, fixed by the policy.
type Plan struct {
	Block   time.Duration // a bet is placed once per block, over 0
	Pods    Limits
	Ingress Limits  // its Alpha is 0 where the ingress is no source
	Hard    float64 // share of bad requests, in (0,1), of the hard limit; shown, decides nothing
	Latency LatencyPlan
}

// State is all evidence of one rollout: constant in size, a value, whole in JSON. The zero value has seen nothing.
type State struct {
	Pods    Channels `json:"pods"`
	Ingress Channels `json:"ingress"`
	Hard    Process  `json:"hard"`
	Latency Process  `json:"latency"`
	// Lately are both versions' counts, older ones fading away; of the pods and of the ingress.
	Lately        Lately  `json:"lately"`
	IngressLately Lately  `json:"ingressLately"`
	Slow          float64 `json:"slow"` // canary responses that were over the latency limit of their block

	Begun bool          `json:"begun"`
	From  time.Duration `json:"from"` // begin of the block under way, since the first traffic
	At    Totals        `json:"at"`   // at that moment
	First Totals        `json:"first"`
	// Broken says that the last totals were impossible, so nothing may be concluded until possible ones come.
	Broken bool `json:"broken"`
}

// Observe takes in the totals of a moment, since the canary's first traffic. Once a block's time is over its counts are
// bet on. The first totals are only where counting starts, except for the canary's own requests, which all belong to
// the rollout. Totals that go backwards or cannot be counts change nothing but Broken.
func (s State) Observe(p Plan, at time.Duration, t Totals) State {
	if !t.valid() || s.Begun && !t.after(s.At) {
		s.Broken = true
		return s
	}
	s.Broken = false
	if possible := t.CanaryTimes.valid() && t.PrimaryTimes.valid(); !possible || s.Begun && !t.timesAfter(s.At) {
		// Times that can not be say nothing of errors, whose channels go on.
		t.CanaryTimes, t.PrimaryTimes = s.At.CanaryTimes, s.At.PrimaryTimes
	}
	if !s.Begun {
		s.Begun, s.From, s.At = true, at, t
		s.At.Canary = Counts{}
		s.First = s.At
		return s
	}
	// A clock that was set back: the block begins anew by the clock as it is, its counts stay.
	s.From = min(s.From, at)
	if at-s.From < p.Block-p.Block/10 {
		return s
	}
	canary := t.Canary.minus(s.At.Canary)
	block := Block{At: s.From, Canary: canary, Primary: t.Primary.minus(s.At.Primary)}
	s.Lately = s.Lately.add(at-s.From, block)
	s.Pods = s.Lately.spare(p.Pods, block, s.Pods.Observe(p.Pods, block))
	s.Hard = s.Hard.Observe(p.Pods.Stakes, s.From, canary.Bad, canary.Requests, p.Hard)
	if p.Ingress.Alpha > 0 {
		block := Block{At: s.From, Canary: t.IngressCanary.minus(s.At.IngressCanary), Primary: t.IngressPrimary.minus(s.At.IngressPrimary)}
		s.IngressLately = s.IngressLately.add(at-s.From, block)
		s.Ingress = s.IngressLately.spare(p.Ingress, block, s.Ingress.Observe(p.Ingress, block))
	}
	if limit := p.Latency.limit(s.At.PrimaryTimes); limit > 0 {
		slow, all := t.CanaryTimes.slower(limit)-s.At.CanaryTimes.slower(limit), t.CanaryTimes.total()-s.At.CanaryTimes.total()
		s.Latency = s.Latency.Observe(p.Pods.Stakes, s.From, slow, all, p.Latency.Allowed)
		s.Slow += slow
	}
	s.From, s.At = at, t
	return s
}

// Lately are counts that fade: what is fadeTime old counts half.
type Lately struct {
	Canary  Counts `json:"canary"`
	Primary Counts `json:"primary"`
}

// fewErrors of the primary are no incident, whatever their share.
const fewErrors = 2

// fadeTime is about how long it takes to prove a serious failure.
const fadeTime = 15 * time.Second

func (l Lately) add(passed time.Duration, b Block) Lately {
	fade := math.Exp2(-float64(passed) / float64(fadeTime))
	plus := func(old, fresh Counts) Counts {
		return Counts{old.Requests*fade + fresh.Requests, old.Bad*fade + fresh.Bad}
	}
	return Lately{plus(l.Canary, b.Canary), plus(l.Primary, b.Primary)}
}

// Incident reports whether what happens lately is not the canary's alone: the primary is over the SLO as well, and the
// canary not twice as bad. The primary's own channel is surer, but slower where it burned its first stakes on much good
// traffic; until it speaks, an outage that both share would be blamed on the canary.
func (l Lately) Incident(limits Limits) bool {
	primary := l.Primary.Rate()
	return l.Primary.Bad > fewErrors && primary > limits.SLO && l.Canary.Rate() < 2*primary
}

// spare throws the SLO channel's winnings away during an incident, which is always allowed (verdict.md §2.2).
// Only a block with canary traffic adds to what there is to spare; by silence alone nothing is forgotten.
func (l Lately) spare(limits Limits, b Block, c Channels) Channels {
	if b.Canary.Requests > 0 && l.Incident(limits) {
		c.SLO = c.SLO.Cap(1)
	}
	return c
}

func (c Counts) minus(o Counts) Counts { return Counts{c.Requests - o.Requests, c.Bad - o.Bad} }

// after reports whether t can follow o: cumulative counts never shrink, and no request turns bad afterwards.
func (t Totals) after(o Totals) bool {
	grows := func(now, then Counts) bool {
		d := now.minus(then)
		return d.Bad >= 0 && d.Requests >= d.Bad
	}
	return grows(t.Canary, o.Canary) && grows(t.Primary, o.Primary) &&
		grows(t.IngressCanary, o.IngressCanary) && grows(t.IngressPrimary, o.IngressPrimary)
}

// timesAfter is after for response times.
func (t Totals) timesAfter(o Totals) bool {
	return t.CanaryTimes.after(o.CanaryTimes) && t.PrimaryTimes.after(o.PrimaryTimes)
}

// Histogram counts responses by time, as Prometheus does: Counts[i] took at most Bounds[i] seconds; the last count, one
// more than there are bounds, is of all.
type Histogram struct {
	Bounds []float64 `json:"bounds,omitempty"`
	Counts []float64 `json:"counts,omitempty"`
}

func (h Histogram) valid() bool {
	if len(h.Counts) == 0 {
		return len(h.Bounds) == 0
	}
	if len(h.Counts) != len(h.Bounds)+1 || !slices.IsSorted(h.Bounds) || !slices.IsSorted(h.Counts) {
		return false
	}
	return !slices.ContainsFunc(h.Counts, func(n float64) bool { return !isCount(n) })
}

// after reports whether h can follow o; where the one before is empty or has other bounds, anything can.
func (h Histogram) after(o Histogram) bool {
	if !slices.Equal(h.Bounds, o.Bounds) {
		return len(o.Counts) == 0
	}
	if len(h.Counts) < len(o.Counts) {
		return false
	}
	// A response is counted by its bound and all longer ones, so no count grows by less than the one before.
	grown := 0.0
	for i := range o.Counts {
		now := h.Counts[i] - o.Counts[i]
		if now < grown {
			return false
		}
		grown = now
	}
	return true
}

func (h Histogram) total() float64 {
	if len(h.Counts) == 0 {
		return 0
	}
	return h.Counts[len(h.Counts)-1]
}

// slower is how many responses took longer than limit seconds. A limit between two bounds counts from the upper one: what
// may have been within the limit is not held against anybody.
func (h Histogram) slower(limit float64) float64 {
	i, _ := slices.BinarySearch(h.Bounds, limit)
	if i >= len(h.Counts) {
		return 0
	}
	return h.total() - h.Counts[i]
}

// quantile is the lowest bound under which at least share of the responses were, +Inf beyond the last bound, NaN without
// responses. The true quantile is not over it.
func (h Histogram) quantile(share float64) float64 {
	if h.total() == 0 {
		return math.NaN()
	}
	for i, bound := range h.Bounds {
		if h.Counts[i] >= share*h.total() {
			return bound
		}
	}
	return math.Inf(1)
}

// LatencyPlan is how slow a canary may be: at most the share Allowed, in (0,1), of its responses may take longer than the
// limit. The limit is Max seconds (0: none), or WorseBy times (1.25: a quarter slower; 0: not compared) the time within
// which 1 - Allowed of the primary's responses were, whichever is shorter. Alpha 0: latency is not judged.
type LatencyPlan struct {
	Alpha, Allowed, Max, WorseBy float64
}

// enoughTimes is from how many of the primary's responses its quantile is believed: below, a p99 is the time of a handful.
const enoughTimes = 1000

// limit is that of the next block. It depends on the past only, as a bet's terms must (verdict.md §5.4 and §2.1).
func (p LatencyPlan) limit(primary Histogram) float64 {
	if p.Alpha == 0 {
		return 0
	}
	limit := p.Max
	if p.WorseBy > 0 && primary.total() >= enoughTimes {
		if than := p.WorseBy * primary.quantile(1-p.Allowed); limit == 0 || than < limit {
			limit = than
		}
	}
	if math.IsInf(limit, 0) {
		return 0
	}
	return limit
}
