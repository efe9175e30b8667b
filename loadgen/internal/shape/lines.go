package shape

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// maxSteps bounds what one list of steps costs.
const maxSteps = 1000

// line is a rate that changes evenly, in requests per second.
type line struct {
	from, to float64
	span     time.Duration
}

// sent is the integral of the rate over the first t seconds: from·t + slope·t²/2.
func (l line) sent(t float64) float64 {
	return l.from*t + (l.to-l.from)/l.span.Seconds()*t*t/2
}

// at solves sent(t) = n, in seconds. Written as 2n / (from + √(from² + 2·slope·n)),
// which needs no difference of two near numbers and holds for slope 0 too.
func (l line) at(n float64) float64 {
	root := math.Sqrt(max(l.from*l.from+2*(l.to-l.from)/l.span.Seconds()*n, 0))
	if l.from+root == 0 {
		return 0
	}
	return min(2*n/(l.from+root), l.span.Seconds())
}

// lines are the shapes constant, ramp and steps: lines one after the other.
type lines struct {
	parts    []line
	ends     []float64       // integral of the rate up to the end of each part
	starts   []time.Duration // when each part starts
	duration time.Duration
	highest  float64
}

func newLines(parts ...line) (lines, error) {
	l := lines{parts: parts}
	total := 0.0
	for _, p := range parts {
		if p.span > math.MaxInt64-grace-l.duration {
			return lines{}, errors.New("duration: is too long for a clock")
		}
		l.starts = append(l.starts, l.duration)
		l.duration += p.span
		total += p.sent(p.span.Seconds())
		l.ends = append(l.ends, total)
		l.highest = max(l.highest, p.from, p.to)
	}
	if l.highest == 0 {
		return lines{}, errors.New("rate: must be over 0 requests per second at some time")
	}
	return l, nil
}

func (l lines) Hits() uint64            { return whole(l.ends[len(l.ends)-1]) }
func (l lines) Highest() float64        { return l.highest }
func (l lines) Duration() time.Duration { return l.duration }

func (l lines) At(n uint64) time.Duration {
	// The first part that ends after n; so a part without requests is passed over.
	i := sort.Search(len(l.ends), func(i int) bool { return float64(n) < l.ends[i] })
	if i == len(l.ends) {
		return l.duration - 1 // only by rounding; n is under Hits
	}
	return min(l.starts[i]+seconds(l.parts[i].at(float64(n)-l.before(i))), l.duration-1)
}

func (l lines) Due(elapsed time.Duration) uint64 {
	switch {
	case elapsed < 0:
		return 0
	case elapsed >= l.duration:
		return l.Hits()
	}
	i := l.part(elapsed)
	return dueBy(l.before(i)+l.parts[i].sent((elapsed-l.starts[i]).Seconds()), l.Hits())
}

func (l lines) Rate(elapsed time.Duration) float64 {
	if elapsed < 0 || elapsed >= l.duration {
		return 0
	}
	i := l.part(elapsed)
	p := l.parts[i]
	return p.from + (p.to-p.from)*float64(elapsed-l.starts[i])/float64(p.span)
}

// part is the one that a time inside of the attack falls into.
func (l lines) part(elapsed time.Duration) int {
	return sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > elapsed }) - 1
}

// before is the integral of the rate up to the start of part i.
func (l lines) before(i int) float64 {
	if i == 0 {
		return 0
	}
	return l.ends[i-1]
}

// parseSteps reads "10x30s,50x1m".
func parseSteps(text string) ([]line, error) {
	if strings.Count(text, ",") >= maxSteps {
		return nil, fmt.Errorf("at most %d are allowed", maxSteps)
	}
	var steps []line
	for part := range strings.SplitSeq(text, ",") {
		rateText, spanText, _ := strings.Cut(strings.TrimSpace(part), "x")
		rate, rateErr := strconv.ParseFloat(rateText, 64)
		span, spanErr := time.ParseDuration(spanText)
		if rateErr != nil || spanErr != nil || span <= 0 {
			return nil, fmt.Errorf("%.40q: write rate x duration, like 10x30s,50x1m", part)
		}
		if err := checkRate(rate); err != nil {
			return nil, fmt.Errorf("rate %w", err)
		}
		steps = append(steps, line{rate, rate, span})
	}
	return steps, nil
}
