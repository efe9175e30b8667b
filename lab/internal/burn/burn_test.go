package burn

import (
	"testing"
	"time"
)

// The quick page of 99.5 % in 30 days: 14.4 × 0.5 % in 1 h and 5 min.
func quick() Tier {
	return Tier{Long: time.Hour, Short: 5 * time.Minute, Threshold: 14.4 * 0.005, Least: 200}
}

// traffic is a sample a second at 50 requests a second, of which a share fails from a second on until another.
func traffic(seconds, from, to int, share float64) []Sample {
	list := []Sample{{At: time.Unix(0, 0)}}
	for s := 1; s <= seconds; s++ {
		next := list[s-1]
		next.At, next.Total = time.Unix(int64(s), 0), next.Total+50
		if s > from && s <= to {
			next.Bad += 50 * share
		}
		list = append(list, next)
	}
	return list
}

func TestCrossing(t *testing.T) {
	begin := time.Unix(0, 0)
	for name, c := range map[string]struct {
		tier    Tier
		samples []Sample
		from    time.Time
		want    int // second, 0 is never
	}{
		"10 % after a full hour take 0.072/0.1 of an hour":      {quick(), traffic(9000, 3600, 9000, 0.1), begin, 3600 + 2592 + 1},
		"after ten minutes they take 600 s × 0.072/(0.1−0.072)": {quick(), traffic(9000, 600, 9000, 0.1), begin, 600 + 1542 + 1},
		"who watches later saw less good traffic":               {quick(), traffic(9000, 600, 9000, 0.1), time.Unix(300, 0), 600 + 771 + 1},
		"7 % never fire it":                                     {quick(), traffic(9000, 600, 9000, 0.07), begin, 0},
		"what is over before that does not":                     {quick(), traffic(9000, 3600, 3600+2500, 0.1), begin, 0},
		"a burst that is over does not, though the hour is bad": {quick(), traffic(9000, 3600, 3600+250, 1), begin, 0},
		"with all failing it takes 0.072 of an hour":            {quick(), traffic(9000, 3600, 9000, 1), begin, 3600 + 259 + 1},
		"too few requests never do":                             {Tier{time.Hour, time.Minute, 0.01, 1e9}, traffic(900, 0, 900, 1), begin, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := c.tier.Crossing(c.samples, c.from)
			if ok != (c.want > 0) || ok && got.Unix() != int64(c.want) {
				t.Errorf("got second %d, %t, want %d", got.Unix(), ok, c.want)
			}
		})
	}
}

func TestCountsAreReadBetweenSamples(t *testing.T) {
	samples := []Sample{{time.Unix(0, 0), 0, 0}, {time.Unix(10, 0), 100, 10}, {time.Unix(20, 0), 300, 20}}
	for second, want := range map[int64][2]float64{0: {0, 0}, 5: {50, 5}, 10: {100, 10}, 15: {200, 15}, 20: {300, 20}, 30: {300, 20}, -5: {0, 0}} {
		if got := at(samples, time.Unix(second, 0)); got.Total != want[0] || got.Bad != want[1] {
			t.Errorf("at second %d: got %v, want %v", second, got, want)
		}
	}
}

func TestAfter(t *testing.T) {
	for name, c := range map[string]struct {
		history time.Duration
		share   float64
		want    time.Duration
	}{
		"a full window":                    {2 * time.Hour, 0.1, 2592 * time.Second},
		"one that is full when it fires":   {1008 * time.Second, 0.1, 2592 * time.Second},
		"a young one":                      {600 * time.Second, 0.1, 1542857142857 * time.Nanosecond},
		"everything fails":                 {2 * time.Hour, 1, 259200 * time.Millisecond},
		"what is allowed never fires it":   {time.Hour, 0.072, 0},
		"without history it fires at once": {0, 0.1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quick().After(c.history, c.share); got.Round(time.Millisecond) != c.want.Round(time.Millisecond) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The quick page's short window of 5 min has 7.2 % left of 10 % after 28 % of it.
func TestClears(t *testing.T) {
	if got := quick().Clears(0.1); got.Round(time.Second) != 84*time.Second {
		t.Errorf("10 %% clear after %s", got)
	}
	if got := quick().Clears(0.07); got != 0 {
		t.Errorf("7 %%, which never fire it, clear after %s", got)
	}
}
