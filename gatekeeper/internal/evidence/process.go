package evidence

import (
	"math"
	"time"
)

// The stake of a process: half of it at the start, the rest in equal parts, one every half minute for an hour. The later
// parts find a version that turns bad after it was good; they cost a factor of two at the start (verdict.md §2.2).
const (
	firstStake   = 0.5
	restarts     = 120
	restartEvery = 30 * time.Second
	restartStake = firstStake / restarts
)

// Process is evidence against a version that grows and shrinks with every block of counts: the mean of bets of ten
// sizes at up to 121 start times, what is not staked being kept as cash. Its E is at most 1 in the mean for a version
// within its limit, however often it is looked at, so by Ville's inequality the chance that E ever reaches 1/α is at
// most α. The zero value has seen nothing, and E is 1. It is a value: methods return the next one, JSON keeps it whole.
type Process struct {
	// Wealth is the natural logarithm of what each rung of the ladder has; it means nothing before the first stake.
	Wealth [rungs]float64 `json:"wealth"`
	// Stakes that were placed: 0, then 1 and one more for each restart, at most 1 + 120.
	Stakes int `json:"stakes"`
}

// Observe takes in k hits in n trials of one block against the allowed share q in (0,1). At is when the block began,
// since the version's first traffic. Blocks come in the order of time; one without trials changes nothing.
// The work is the same for every block: ten logarithms, no history.
func (p Process) Observe(at time.Duration, k, n, q float64) Process {
	if n == 0 {
		return p
	}
	stake := p.owed(at)
	logStake := math.Log(stake)
	for j, d := range worse() {
		switch {
		case p.Stakes == 0:
			p.Wealth[j] = logStake
		case stake > 0:
			p.Wealth[j] = logAddExp(p.Wealth[j], logStake)
		}
		p.Wealth[j] += LogShareBet(d, k, n, q)
	}
	p.Stakes = max(p.Stakes, due(at))
	return p
}

// due is how many stakes belong into a process that is at old.
func due(at time.Duration) int { return 1 + min(int(max(at, 0)/restartEvery), restarts) }

// owed is the stake that a block beginning at has to place, as a share of the whole.
func (p Process) owed(at time.Duration) float64 {
	missing := due(at) - p.Stakes
	if p.Stakes == 0 {
		return firstStake + float64(missing-1)*restartStake
	}
	return float64(max(missing, 0)) * restartStake
}

// cash is what is not staked, a share of the whole.
func (p Process) cash() float64 {
	if p.Stakes == 0 {
		return 1
	}
	return 1 - firstStake - float64(p.Stakes-1)*restartStake
}

// LogE is the natural logarithm of the evidence: 0 is none, ln 200 is "200 : 1 against".
func (p Process) LogE() float64 {
	if p.Stakes == 0 {
		return 0
	}
	staked := logSumExp(p.Wealth[:]) - math.Log(rungs)
	if p.Stakes > restarts {
		return staked // all is staked, and 1 - ½ - 120·(½/120) is not exactly 0
	}
	return logAddExp(math.Log(p.cash()), staked)
}

// Cap throws winnings away until E is at most limit, which must be at least 1. Throwing away is always allowed: the
// process stays under a valid one (verdict.md §2.2).
func (p Process) Cap(limit float64) Process {
	if p.LogE() <= math.Log(limit) {
		return p
	}
	// Every rung is scaled by the same factor: (limit - cash) over what is staked.
	factor := math.Log(limit-p.cash()) - (logSumExp(p.Wealth[:]) - math.Log(rungs))
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
