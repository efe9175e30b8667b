package evidence

import "math"

// Upper is the highest error rate, 0..1, that k errors in n requests leave possible at level beta (0.05: the truth is
// ever above it with at most that probability, for independent requests, however often one looks). Dispersion >= 1
// makes it wider where errors come in clusters of about that size. 1 when nothing is known. Source: verdict.md §2.4.
func Upper(k, n, beta, dispersion float64) float64 {
	beyond := func(q float64) bool { return ruledOut(k, n, q, beta, dispersion) }
	if !beyond(1) {
		return 1
	}
	return bisect(beyond)
}

// ruledOut reports whether an error rate of q or more is no longer possible.
func ruledOut(k, n, q, beta, dispersion float64) bool {
	ladder := better()
	return logMeanBet(ladder[:], k/dispersion, n/dispersion, q) >= -math.Log(beta)
}

// Lower is the lowest error rate that the counts leave possible, as Upper; 0 when no error was seen.
func Lower(k, n, beta, dispersion float64) float64 {
	if k == 0 {
		return 0
	}
	ladder := worse()
	k, n = k/dispersion, n/dispersion
	within := func(q float64) bool { return logMeanBet(ladder[:], k, n, q) < -math.Log(beta) }
	if within(0) {
		return 0
	}
	return bisect(within)
}

// bisect finds where yes turns true on [0,1]; it is false at 0 and true at 1. It ends where floating point has no
// number in between.
func bisect(yes func(float64) bool) float64 {
	low, high := 0.0, 1.0
	for {
		middle := low + (high-low)/2
		if middle == low || middle == high {
			return high
		}
		if yes(middle) {
			high = middle
		} else {
			low = middle
		}
	}
}

// AllowedWeight is the largest share of the traffic, 0..1, that the evidence supports: if the version is as bad as it
// may still be, the whole service fails at most riskBurn times its budget of failed requests (1 - objective).
// weight × Upper <= riskBurn × budget. Source: verdict.md §2.4, the risk-budgeted ramp.
func AllowedWeight(upper, riskBurn, budget float64) float64 {
	return min(1, riskBurn*budget/upper)
}

// CleanRequests is how many more requests without an error bring Upper down to at most rate, in (0,1): 0 when it is
// there already. It answers "how much longer".
func CleanRequests(k, n, rate, beta, dispersion float64) float64 {
	enough := func(more float64) bool { return ruledOut(k, n+more, rate, beta, dispersion) }
	if enough(0) {
		return 0
	}
	high := 1.0
	for !enough(high) {
		high *= 2
	}
	low := high / 2
	for high-low > 1 {
		middle := math.Floor(low + (high-low)/2)
		if enough(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
