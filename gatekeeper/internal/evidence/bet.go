// Package evidence turns counts into how strongly they speak against a version or for it, and how much more is needed.
package evidence

import "math"

// worse are the bet sizes against a version: how many times higher than allowed its odds of failing may be. Ten rungs
// cover every rate at once; they cost about a quarter of the requests of a test that knows the true rate beforehand
// (verdict.md §2.2).
func worse() [rungs]float64 { return [rungs]float64{1.5, 2, 3, 4, 6, 10, 20, 50, 200, 1000} }

const rungs = 10

// better are the bet sizes for a version: its odds of failing are this small a part of a supposed rate's.
func better() [5]float64 { return [5]float64{.01, .1, .25, .5, .75} }

// LogShareBet is the natural logarithm of one bet that a version fails more often than q, an allowed share in (0,1),
// after k hits (real, 0..n) in n trials (real, >= 0):
//
//	z = (1 + (d-1) q)^-n
//	B = z + (1 - z) (k/n) / q
//
// Its mean is at most 1 whenever the mean of k/n is at most q, whatever the dependence between the n trials (it is
// affine in k/n and 1 at q), so errors in clusters can not turn a good version into a bad one. For n = 1 it is the
// Bernoulli likelihood ratio at d > 1 times the odds. Nothing happened (n = 0) is worth 1. Source: verdict.md §2.1.
func LogShareBet(d, k, n, q float64) float64 {
	if n == 0 {
		return 0
	}
	logZ := -n * math.Log1p((d-1)*q)
	if k == 0 {
		return logZ // exact where exp would underflow
	}
	// ln(z + (1-z) r) with r = (k/n)/q; 1-z by Expm1, which keeps the digits that 1-exp loses.
	return math.Log(math.Exp(logZ) - math.Expm1(logZ)*k/(n*q))
}

// logBet is the logarithm of the likelihood bet that the odds of failing are d times those of q:
//
//	l = k ln d - n ln(1 + (d-1) q)
//
// It supposes independent trials, so it is only good for bounds, not for rolling back. Source: verdict.md §2.4.
func logBet(d, k, n, q float64) float64 {
	return k*math.Log(d) - n*math.Log1p((d-1)*q)
}

// logMeanBet is the logarithm of the mean likelihood bet over a ladder.
func logMeanBet(ladder []float64, k, n, q float64) float64 {
	logs := make([]float64, len(ladder))
	for i, d := range ladder {
		logs[i] = logBet(d, k, n, q)
	}
	return logSumExp(logs) - math.Log(float64(len(ladder)))
}

// logSumExp is ln Σ exp(x), without overflow; -Inf for nothing.
func logSumExp(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	if math.IsInf(top, 0) {
		return top
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}
