package evidence

import (
	"math"
	"time"
)

// Counts are requests and those of them that were bad, during a block.
type Counts struct{ Requests, Bad float64 }

// Rate is the share of bad requests, 0 without any request.
func (c Counts) Rate() float64 {
	if c.Requests == 0 {
		return 0
	}
	return c.Bad / c.Requests
}

// Block is what both versions answered in one block of time. At is its begin since the canary's first traffic.
type Block struct {
	At              time.Duration
	Canary, Primary Counts
}

// Limits are what the channels test against.
type Limits struct {
	SLO   float64 // share of bad requests that the objective allows, in (0,1): 0.005 for 99.5 %
	Ratio float64 // how many times the primary's odds of failing the canary's may be; 1 is "no worse"
	Alpha float64 // chance, in (0,1), of ever rolling a good canary back, for each channel
	Stakes
}

// Channels are the processes that decide on a canary, all fed with the same blocks (verdict.md §2.3). The zero value
// has seen nothing.
type Channels struct {
	SLO     Process `json:"slo"`     // the canary's error rate is over the SLO's
	Compare Process `json:"compare"` // the canary's share of all errors is over its share of the traffic
	Primary Process `json:"primary"` // the primary's error rate is over the SLO's: the environment is ill
}

// primaryCap keeps the primary's evidence low enough to recover soon after an incident, in multiples of 1/α.
const primaryCap = 10

// Observe takes in one block. While the primary is in breach the SLO channel may not gather evidence: an outage of
// something that both versions need says nothing about the canary. Comparing goes on, for it cancels by itself.
func (c Channels) Observe(l Limits, b Block) Channels {
	if b.Canary.Requests == 0 && b.Primary.Requests == 0 {
		return c
	}
	c.SLO = c.SLO.Observe(l.Stakes, b.At, b.Canary.Bad, b.Canary.Requests, l.SLO)
	c.Primary = c.Primary.Observe(l.Stakes, b.At, b.Primary.Bad, b.Primary.Requests, l.SLO)
	c.Primary = c.Primary.Cap(primaryCap / l.Alpha)
	if c.Breach(l) {
		c.SLO = c.SLO.Cap(1)
	}
	// With one arm empty its share is 0 or 1 and there is nothing to compare.
	if b.Canary.Requests > 0 && b.Primary.Requests > 0 {
		weighed := l.Ratio * b.Canary.Requests
		share := weighed / (weighed + b.Primary.Requests)
		c.Compare = c.Compare.Observe(l.Stakes, b.At, b.Canary.Bad, b.Canary.Bad+b.Primary.Bad, share)
	}
	return c
}

// Breach reports whether the primary itself is proven to be over the SLO.
func (c Channels) Breach(l Limits) bool { return c.Primary.LogE() >= -math.Log(l.Alpha) }
