package evidence

import "gonum.org/v1/gonum/mathext"

// Chance is the probability, 0..1, that of n requests drawn one by one with probability share a number as far from the
// middle as k, or farther, goes to a version: the exact binomial tail on k's side, doubled. Share in (0,1), 0 <= k <= n.
func Chance(k, n, share float64) float64 {
	// P(X <= k) = I_{1-p}(n-k, k+1), P(X >= k) = I_p(k, n-k+1); DLMF 8.17.5.
	low, high := 1.0, 1.0
	if k < n {
		low = mathext.RegIncBeta(n-k, k+1, 1-share)
	}
	if k > 0 {
		high = mathext.RegIncBeta(k, n-k+1, share)
	}
	return min(1, 2*min(low, high))
}
