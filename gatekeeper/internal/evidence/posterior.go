package evidence

import (
	"math"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mathext"
)

// Posterior describes an error rate after k errors in n requests, for people: the Jeffreys posterior
// Beta(k+½, n-k+½). It does not hold under repeated looks and takes no part in any verdict (verdict.md §2.6).
type Posterior struct{ a, b float64 }

// NewPosterior is the posterior after 0 <= k <= n.
func NewPosterior(k, n float64) Posterior { return Posterior{k + .5, n - k + .5} }

// Mean is the expected error rate, 0..1.
func (p Posterior) Mean() float64 { return p.a / (p.a + p.b) }

// Above is the probability that the error rate is over rate.
func (p Posterior) Above(rate float64) float64 { return mathext.RegIncBeta(p.b, p.a, 1-rate) }

// Quantile is the error rate that is not exceeded with probability share, 0..1.
func (p Posterior) Quantile(share float64) float64 { return mathext.InvRegIncBeta(p.a, p.b, share) }

// Worse is the probability that this error rate is higher than other's, P(p > o) = ∫ f_p(x) F_o(x) dx. With x = sin² t
// the integrand is smooth also where a density of x has no bound, so few points give many digits.
func (p Posterior) Worse(other Posterior) float64 {
	const points, rest = 400, 1e-15 // rest is left out at both ends
	angle := func(x float64) float64 { return math.Asin(math.Sqrt(x)) }
	scale := math.Ln2 - mathext.Lbeta(p.a, p.b)
	return quad.Fixed(func(t float64) float64 {
		sin, cos := math.Sincos(t)
		density := math.Exp(scale + (2*p.a-1)*math.Log(sin) + (2*p.b-1)*math.Log(cos))
		return density * mathext.RegIncBeta(other.a, other.b, sin*sin)
	}, angle(p.Quantile(rest)), angle(p.Quantile(1-rest)), points, quad.Legendre{}, 0)
}
