package evidence

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func ladder() []float64 {
	d := worse()
	return d[:]
}

// binomial is the probability of k of n at q.
func binomial(k, n int, q float64) float64 {
	choose := func(x int) float64 { g, _ := math.Lgamma(float64(x) + 1); return g }
	return math.Exp(choose(n) - choose(k) - choose(n-k) + float64(k)*math.Log(q) + float64(n-k)*math.Log1p(-q))
}

func TestABetIsFairAtTheLimitAndLosesBelowIt(t *testing.T) {
	for _, n := range []int{1, 2, 5, 50, 500} {
		for _, q := range []float64{.005, .02, .1} {
			for _, d := range worse() {
				mean := func(truth float64) (sum float64) {
					for k := range n + 1 {
						sum += binomial(k, n, truth) * math.Exp(LogShareBet(d, float64(k), float64(n), q))
					}
					return sum
				}
				if got := mean(q); math.Abs(got-1) > 1e-9 {
					t.Errorf("n %d, q %v, d %v: the mean at the limit is %.12f, want 1", n, q, d, got)
				}
				for _, below := range []float64{.01, .5, .99} {
					if got := mean(below * q); got > 1 {
						t.Errorf("n %d, q %v, d %v: the mean at %v of the limit is %.12f, want at most 1", n, q, d, below, got)
					}
				}
				// The hardest cluster: all fail or none.
				if got := (1-q)*math.Exp(LogShareBet(d, 0, float64(n), q)) + q*math.Exp(LogShareBet(d, float64(n), float64(n), q)); got > 1+1e-12 {
					t.Errorf("n %d, q %v, d %v: the mean of all or nothing is %.15f, want at most 1", n, q, d, got)
				}
			}
		}
	}
}

// The one thing asked of the errors is their mean; whether they come alone or all at once does not matter.
func TestABetIsFairWhateverTheDependence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		q := rapid.Float64Range(.001, .3).Draw(t, "q")
		d := rapid.SampledFrom(ladder()).Draw(t, "d")
		law := rapid.SliceOfN(rapid.Float64Range(0, 1), n+1, n+1).Draw(t, "law")
		total, mean := 0.0, 0.0
		for k, w := range law {
			total += w
			mean += w * float64(k)
		}
		if total == 0 {
			t.Skip("no law")
		}
		mean /= total
		// What is over the allowed mean is moved to "no error at all", so that the mean is exactly allowed.
		keep := min(1, float64(n)*q/max(mean, 1e-300))
		value := 1 - keep
		value *= math.Exp(LogShareBet(d, 0, float64(n), q))
		for k, w := range law {
			value += keep * w / total * math.Exp(LogShareBet(d, float64(k), float64(n), q))
		}
		if value > 1+1e-12 {
			t.Fatalf("the mean is %.15f, want at most 1", value)
		}
	})
}

func TestABetOnOneRequestIsTheLikelihoodRatio(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.Float64Range(.0001, .9).Draw(t, "q")
		d := rapid.Float64Range(1.01, 1000).Draw(t, "d")
		for k := range 2 {
			got, want := LogShareBet(d, float64(k), 1, q), logBet(d, float64(k), 1, q)
			if math.Abs(got-want) > 1e-12*max(1, math.Abs(want)) {
				t.Fatalf("k %d: %v, want %v", k, got, want)
			}
		}
	})
}

// Likelihoods do not care how requests are cut into blocks. Share bets do, on purpose: that is what bears clusters.
func TestOnlyTheLikelihoodIsTheSameForAnyBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, d := rapid.Float64Range(.001, .3).Draw(t, "q"), rapid.SampledFrom(ladder()).Draw(t, "d")
		counts := func(name string) (k, n float64) {
			n = float64(rapid.IntRange(1, 1000).Draw(t, name))
			return float64(rapid.IntRange(0, int(n)).Draw(t, name+" bad")), n
		}
		k1, n1 := counts("first")
		k2, n2 := counts("second")
		apart, whole := logBet(d, k1, n1, q)+logBet(d, k2, n2, q), logBet(d, k1+k2, n1+n2, q)
		if math.Abs(apart-whole) > 1e-12*(k1+k2+n1+n2)*math.Log(1000) {
			t.Fatalf("in two blocks the likelihood is %v, in one %v", apart, whole)
		}
	})
	if apart, whole := 2*LogShareBet(10, 5, 50, .005), LogShareBet(10, 10, 100, .005); apart < whole+1 {
		t.Errorf("twice 5 of 50 are worth %v, 10 of 100 %v: one block must be worth much less", apart, whole)
	}
}

// Stakes of both kinds add up to 1 and are placed in full, whichever blocks are missing.
func TestStakesAddUp(t *testing.T) {
	for _, s := range []Stakes{documented(), EveryBlock(time.Second), EveryBlock(2 * time.Second), EveryBlock(time.Minute)} {
		if got := s.placed(0); got != s.First {
			t.Errorf("%+v: at the start %v are placed", s, got)
		}
		if got := s.placed(s.due(2 * time.Hour)); math.Abs(got-1) > 1e-12 {
			t.Errorf("%+v: in the end %v are placed", s, got)
		}
		for n := 1; n <= s.Count; n++ {
			if part := s.placed(n) - s.placed(n-1); part <= 0 || s.Fade > 0 && n > 1 && part > s.placed(n-1)-s.placed(n-2) {
				t.Fatalf("%+v: part %d is %v", s, n, part)
			}
		}
		p := Process{}.Observe(s, 0, 0, 1, .005).Observe(s, 90*time.Minute, 0, 1, .005)
		if p.Cash != 0 || p.Stakes != s.Count+1 {
			t.Errorf("%+v: after an hour there are %v in cash, %d stakes", s, p.Cash, p.Stakes)
		}
	}
}

// tape draws blocks in the order of time.
func tape(t *rapid.T) []Block {
	at := time.Duration(0)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Block {
		at += time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second
		counts := func(name string) Counts {
			n := rapid.IntRange(0, 400).Draw(t, name)
			return Counts{float64(n), float64(rapid.IntRange(0, n).Draw(t, name+" bad"))}
		}
		return Block{At: at, Canary: counts("canary"), Primary: counts("primary")}
	}), 1, 30).Draw(t, "tape")
}

func limits() Limits { return Limits{SLO: .005, Ratio: 1, Alpha: .005, Stakes: documented()} }

func fold(blocks []Block) (c Channels) {
	for _, b := range blocks {
		c = c.Observe(limits(), b)
	}
	return c
}

func TestOneErrorMoreNeverSpeaksForTheCanary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := tape(t)
		at := rapid.IntRange(0, len(blocks)-1).Draw(t, "block")
		alone := func(blocks []Block) (p Process) {
			for _, b := range blocks {
				p = p.Observe(documented(), b.At, b.Canary.Bad, b.Canary.Requests, .005)
			}
			return p
		}
		before := alone(blocks).LogE()
		more := slices.Clone(blocks)
		if more[at].Canary.Bad < more[at].Canary.Requests {
			more[at].Canary.Bad++
			if after := alone(more).LogE(); after < before-1e-9 {
				t.Fatalf("an error more took the evidence from %v to %v", before, after)
			}
		}
		more = slices.Clone(blocks)
		more[at].Canary.Requests++
		if after := alone(more).LogE(); after > before+1e-9 {
			t.Fatalf("a success more took the evidence from %v to %v", before, after)
		}
	})
}

func TestBoundsHoldTheRateBetweenThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := float64(rapid.IntRange(1, 20_000).Draw(t, "n"))
		k := float64(rapid.IntRange(0, int(n)).Draw(t, "k"))
		phi := rapid.Float64Range(1, 5).Draw(t, "dispersion")
		low, high := Lower(k, n, .025, phi), Upper(k, n, .05, phi)
		if low > k/n || high < k/n || low < 0 || high > 1 {
			t.Fatalf("the bounds of %v in %v are %v and %v", k, n, low, high)
		}
		if k < n && Upper(k+1, n, .05, phi) < high {
			t.Fatal("the upper bound falls with an error more")
		}
		if Upper(k, n+1, .05, phi) > high {
			t.Fatal("the upper bound rises with a success more")
		}
		if got, want := AllowedWeight(high, 2, .005), min(1, .01/high); math.Abs(got-want) > 1e-12 {
			t.Fatalf("with the rate at most %v, weight %v is allowed, want %v", high, got, want)
		}
		if got, want := [2]float64{low, high}, [2]float64{Lower(k/phi, n/phi, .025, 1), Upper(k/phi, n/phi, .05, 1)}; got != want {
			t.Fatalf("errors in clusters of %v bound the rate to %v, that part of the counts to %v", phi, got, want)
		}
	})
}

func TestCleanRequestsAreJustEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := float64(rapid.IntRange(0, 3000).Draw(t, "n"))
		k := float64(rapid.IntRange(0, min(20, int(n))).Draw(t, "k"))
		rate := rapid.Float64Range(.004, .5).Draw(t, "rate")
		more := CleanRequests(k, n, rate, .05, 1)
		if got := Upper(k, n+more, .05, 1); got > rate*(1+1e-12) {
			t.Fatalf("after %v more the bound is %v, want at most %v", more, got, rate)
		}
		if more > 0 && Upper(k, n+more-1, .05, 1) <= rate*(1-1e-12) {
			t.Fatalf("one less than %v is enough", more)
		}
	})
}

func TestStateIsAValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := tape(t)
		c := fold(blocks)
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Channels
		if err := json.Unmarshal(text, &back); err != nil || back != c {
			t.Fatalf("JSON makes %+v of %+v (%v)", back, c, err)
		}
		last := blocks[len(blocks)-1].At
		if again := c.Observe(limits(), Block{At: last + time.Hour}); again != c {
			t.Fatal("a block without requests changes something")
		}
	})
}

func TestCapThrowsAwayAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := fold(tape(t))
		limit := rapid.Float64Range(1, 5000).Draw(t, "limit")
		for _, p := range []Process{c.SLO, c.Compare, c.Primary} {
			capped := p.Cap(limit)
			if want := min(p.LogE(), math.Log(limit)); math.Abs(capped.LogE()-want) > 1e-9 {
				t.Fatalf("Cap(%v) made %v of %v", limit, capped.LogE(), p.LogE())
			}
			if cash := p.Cash; cash < -1e-12 || cash > 1 || math.Exp(p.LogE()) < cash-1e-9 {
				t.Fatalf("the evidence %v is under its cash %v", math.Exp(p.LogE()), cash)
			}
		}
	})
}

// A block at exactly the allowed share is worth 1, so all that is staked, and what is not, must add up to 1 at any time.
func TestStakesAndCashAddUpToOne(t *testing.T) {
	for _, first := range []time.Duration{0, 29 * time.Second, 30 * time.Second, 10 * time.Minute, 59*time.Minute + 30*time.Second, time.Hour, 5 * time.Hour} {
		for _, second := range []time.Duration{0, 29 * time.Second, 30 * time.Second, 59*time.Minute + 30*time.Second, time.Hour} {
			p := Process{}.Observe(documented(), first, 1, 200, .005).Observe(documented(), first+second, 1, 200, .005)
			if math.Abs(p.LogE()) > 1e-12 {
				t.Errorf("blocks at %s and %s later: the evidence is %v, want none", first, second, p.LogE())
			}
			if want := 1 + min(120, int((first+second)/(30*time.Second))); p.Stakes != want {
				t.Errorf("blocks at %s and %s later: %d stakes, want %d", first, second, p.Stakes, want)
			}
		}
	}
}

// What was staked at the start is lost by good traffic; a version that turns bad is found by the later stakes.
func TestLaterStakesFindAVersionThatTurnsBad(t *testing.T) {
	var once, again Process
	for i := range 300 {
		at := time.Duration(i) * 2 * time.Second
		once, again = once.Observe(documented(), 0, 0, 200, .005), again.Observe(documented(), at, 0, 200, .005)
	}
	for i := range 15 {
		at := 10*time.Minute + time.Duration(i)*2*time.Second
		once, again = once.Observe(documented(), 0, 10, 200, .005), again.Observe(documented(), at, 10, 200, .005)
	}
	if again.LogE() < math.Log(200) || once.LogE() > math.Log(200) {
		t.Errorf("after half a minute the evidence is %v, without later stakes %v; only the first may cross", again.LogE(), once.LogE())
	}
}

// With all traffic on one side there is nothing to compare, and the other channels go on.
func TestAnEmptySideFreezesComparingOnly(t *testing.T) {
	before := Channels{}.Observe(limits(), Block{Canary: Counts{10, 1}, Primary: Counts{90, 1}})
	for name, c := range map[string]struct{ canary, primary Counts }{
		"no primary": {canary: Counts{100, 3}}, "no canary": {primary: Counts{100, 3}}, "nothing": {},
	} {
		after := before.Observe(limits(), Block{At: time.Minute, Canary: c.canary, Primary: c.primary})
		want := Channels{
			SLO:     before.SLO.Observe(documented(), time.Minute, c.canary.Bad, c.canary.Requests, .005),
			Compare: before.Compare,
			Primary: before.Primary.Observe(documented(), time.Minute, c.primary.Bad, c.primary.Requests, .005),
		}
		if after != want {
			t.Errorf("%s: got %+v, want %+v", name, after, want)
		}
	}
}

// An outage of what both share is not held against the canary, and the primary recovers soon.
func TestABreachOfThePrimarySparesTheCanary(t *testing.T) {
	var c Channels
	for i := range 30 {
		c = c.Observe(limits(), Block{At: time.Duration(i) * 2 * time.Second, Canary: Counts{20, 2}, Primary: Counts{180, 18}})
		if c.Breach(limits()) != (c.Primary.LogE() >= math.Log(200)) || c.Breach(limits()) && c.SLO.LogE() > 1e-9 {
			t.Fatalf("block %d: breach is %t at %v, and the canary's evidence %v", i, c.Breach(limits()), c.Primary.LogE(), c.SLO.LogE())
		}
		if c.Primary.LogE() > math.Log(2000)+1e-9 {
			t.Fatalf("block %d: the primary's evidence is %v, want at most that of 2000 : 1", i, c.Primary.LogE())
		}
	}
	if !c.Breach(limits()) || c.Compare.LogE() > 1 {
		t.Errorf("at the end breach is %t, and comparing says %v", c.Breach(limits()), c.Compare.LogE())
	}
}

func TestComparingIsTheSameFromBothSides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := float64(rapid.IntRange(1, 300).Draw(t, "n"))
		k := float64(rapid.IntRange(0, int(n)).Draw(t, "k"))
		f := float64(rapid.IntRange(0, int(n)).Draw(t, "f"))
		compare := func(a, b Counts) float64 {
			return Channels{}.Observe(limits(), Block{Canary: a, Primary: b}).Compare.LogE()
		}
		// With equal traffic the share is ½ on either side, and what one side has the other lacks.
		ours, theirs := compare(Counts{n, k}, Counts{n, f}), compare(Counts{n, f}, Counts{n, k})
		if sum := math.Exp(ours) + math.Exp(theirs); math.Abs(sum-2) > 1e-12 {
			t.Fatalf("%v against %v is worth %v, the other way round %v; together they must be 2", k, f, math.Exp(ours), math.Exp(theirs))
		}
		for _, b := range [][2]Counts{{{n, k}, {}}, {{}, {n, f}}, {{n, 0}, {n, 0}}} {
			if got := compare(b[0], b[1]); got != 0 {
				t.Fatalf("with nothing to compare the evidence is %v", got)
			}
		}
	})
}

// The share that is allowed follows the traffic of the block, and the ratio that is borne.
func TestComparingAllowsTheShareOfTheTraffic(t *testing.T) {
	for _, ratio := range []float64{1, 1.5, 4} {
		l := limits()
		l.Ratio = ratio
		got := Channels{}.Observe(l, Block{Canary: Counts{30, 3}, Primary: Counts{270, 2}}).Compare
		if want := (Process{}).Observe(documented(), 0, 3, 5, ratio*30/(ratio*30+270)); got != want {
			t.Errorf("at a ratio of %v the evidence is %v, want %v", ratio, got.LogE(), want.LogE())
		}
	}
}

// The chances of ever crossing 200 : 1 in single requests, half staked and without restarts, by exact recursion over
// the number of errors; the reference values were found by two other programs.
func TestTheLineIsCrossedExactlyAsOftenAsItShould(t *testing.T) {
	ladder := worse()
	line := func(k, n int) bool {
		staked := logMeanBet(ladder[:], float64(k), float64(n), .005)
		return logAddExp(math.Log(.5), math.Log(.5)+staked) >= math.Log(200)
	}
	for _, c := range []struct {
		n    int
		p    float64
		want float64
	}{
		{1000, .005, .000819283945},
		{1000, .01, .074949182021},
		{1000, .02, .871255964087},
		{10_000, .005, .001179362753},
		{10_000, .01, .982256760992},
		{40_000, .005, .001330805122},
	} {
		alive, crossed, edge := []float64{1}, 0.0, 1 // alive[k]: k errors and never crossed; edge: least k that crosses
		for n := 1; n <= c.n; n++ {
			for edge > 0 && line(edge-1, n) {
				edge--
			}
			for !line(edge, n) {
				edge++
			}
			next := make([]float64, edge)
			for k, chance := range alive {
				for hit, part := range []float64{1 - c.p, c.p} {
					if k+hit < edge {
						next[k+hit] += chance * part
					} else {
						crossed += chance * part
					}
				}
			}
			alive = next
		}
		if math.Abs(crossed-c.want) > 1e-9 {
			t.Errorf("%d requests at %v cross with probability %.12f, want %.12f", c.n, c.p, crossed, c.want)
		}
	}
}
