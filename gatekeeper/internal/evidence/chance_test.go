package evidence

import (
	"fmt"
	"math"
	"testing"
)

func TestChanceIsTheBinomialTailTwice(t *testing.T) {
	for _, r := range load(t).Tail {
		same(t, fmt.Sprintf("%v or more of %v", r.K, r.N), Chance(r.K, r.N, .005), 2*r.Value)
		same(t, fmt.Sprintf("%v or more of %v, from the other side", r.K, r.N), Chance(r.N-r.K, r.N, .995), 2*r.Value)
	}
	for _, c := range []struct{ k, n, want float64 }{
		{0, 0, 1}, {5, 10, 1}, {0, 10, 2 * math.Pow(.5, 10)}, {10, 10, 2 * math.Pow(.5, 10)}, {1, 10, 22 * math.Pow(.5, 10)},
	} {
		same(t, fmt.Sprintf("%v of %v at ½", c.k, c.n), Chance(c.k, c.n, .5), c.want)
	}
}
