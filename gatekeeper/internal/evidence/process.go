package evidence

import (
	"math"
	"time"
)

// Stakes is when a process places how much of what it has. The stake that is placed later finds a version that turns bad
// after it was good; it costs at the start. However it is placed, all of it together is 1, which is what bounds the
// chance of a false rollback (verdict.md §2.2).
type Stakes struct {
	First float64       // at the start, in (0,1)
	Every time.Duration // then the rest, in parts, as often as this, over 0
	Count int           // so many times, over 0
	// Fade makes the parts smaller with time: the i-th is about as 1/(i + Fade). 0: all are alike, as in verdict.md §2.2.
	Fade float64
}

// EveryBlock are the stakes that the gatekeeper uses. A part in every block leaves fresh money on the high rungs, which a few
// good requests burn, so what turns bad late is found sooner (TestALateFaultIsFoundSooner). The parts fade, because most of
// what goes wrong does so early.
func EveryBlock(block time.Duration) Stakes {
	return Stakes{First: .25, Every: block, Count: int(time.Hour / block), Fade: 50}
}

// placed is the share of the whole that is placed after n parts.
func (s Stakes) placed(n int) float64 {
	share := float64(n) / float64(s.Count)
	if s.Fade > 0 {
		share = math.Log1p(float64(n)/s.Fade) / math.Log1p(float64(s.Count)/s.Fade)
	}
	return s.First + (1-s.First)*share
}

// due is how many parts belong into a process that is at old.
func (s Stakes) due(at time.Duration) int { return min(int(max(at, 0)/s.Every), s.Count) }

// Process is evidence against a version that grows and shrinks with every block of counts: the mean of bets of ten
// sizes at many start times, what is not staked being kept as cash. Its E is at most 1 in the mean for a version
// within its limit, however often it is looked at, so by Ville's inequality the chance that E ever reaches 1/α is at
// most α. The zero value has seen nothing, and E is 1. It is a value: methods return the next one, JSON keeps it whole.
type Process struct {
	// Wealth is the natural logarithm of what each rung of the ladder has; it means nothing before the first stake.
	Wealth [rungs]float64 `json:"wealth"`
	// Stakes that were placed: 0, then 1 and one more for each part.
	Stakes int `json:"stakes"`
	// Cash is what is not staked, a share of the whole; it means nothing before the first stake.
	Cash float64 `json:"cash"`
}

// Observe takes in k hits in n trials of one block against the allowed share q in (0,1). At is when the block began,
// since the version's first traffic. Blocks come in the order of time, with the same stakes; one without trials changes
// nothing. The work is the same for every block: some thirty logarithms, no history.
func (p Process) Observe(s Stakes, at time.Duration, k, n, q float64) Process {
	if n == 0 {
		return p
	}
	due := s.due(at)
	stake := s.placed(due)
	if p.Stakes > 0 {
		stake -= s.placed(p.Stakes - 1)
	}
	logStake := math.Log(max(stake, 0))
	for j, d := range worse() {
		switch {
		case p.Stakes == 0:
			p.Wealth[j] = logStake
		case stake > 0:
			p.Wealth[j] = logAddExp(p.Wealth[j], logStake)
		}
		p.Wealth[j] += LogShareBet(d, k, n, q)
	}
	if due >= p.Stakes {
		p.Stakes = due + 1
		p.Cash = max(1-s.placed(due), 0)
		if due == s.Count {
			p.Cash = 0 // exactly
		}
	}
	return p
}

// LogE is the natural logarithm of the evidence: 0 is none, ln 200 is "200 : 1 against".
func (p Process) LogE() float64 {
	if p.Stakes == 0 {
		return 0
	}
	staked := logSumExp(p.Wealth[:]) - math.Log(rungs)
	if p.Cash == 0 {
		return staked
	}
	return logAddExp(math.Log(p.Cash), staked)
}

// Cap throws winnings away until E is at most limit, which must be at least 1. Throwing away is always allowed: the
// process stays under a valid one (verdict.md §2.2).
func (p Process) Cap(limit float64) Process {
	if p.LogE() <= math.Log(limit) {
		return p
	}
	// Every rung is scaled by the same factor: (limit - cash) over what is staked.
	factor := math.Log(limit-p.Cash) - (logSumExp(p.Wealth[:]) - math.Log(rungs))
	for j := range p.Wealth {
		p.Wealth[j] += factor
	}
	return p
}

func logAddExp(a, b float64) float64 {
	top, low := max(a, b), min(a, b)
	if math.IsInf(top, 0) {
		return top
	}
	return top + math.Log1p(math.Exp(low-top))
}
