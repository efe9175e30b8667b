package static

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// What a month of traffic is made of. Scrapes come every 5 s, as in monitoring/prometheus.yaml.
const (
	scrapeEvery = 5
	days        = 35
	begins      = 1767225600 // 1 January 2026, any day would do
)

// increments are what the counters of good and bad requests grew by, scrape by scrape.
type increments struct{ good, bad []float64 }

// traffic has a rhythm of days, nights in which nobody asks, a few errors always, and incidents: from half a minute to nine
// hours, from 2 % to all of the requests.
func traffic() increments {
	dice := rand.New(rand.NewPCG(7, 35))
	scrapes := days * 24 * 3600 / scrapeEvery
	share := make([]float64, scrapes)
	for i := range share {
		share[i] = 0.002
	}
	for range 40 {
		from, long := dice.IntN(scrapes), 6+int(math.Pow(dice.Float64(), 3)*6480)
		bad := 0.02 + 0.98*math.Pow(dice.Float64(), 2)
		for i := from; i < min(from+long, scrapes); i++ {
			share[i] = bad
		}
	}
	all := increments{make([]float64, scrapes), make([]float64, scrapes)}
	for i := range scrapes {
		hour := math.Mod(float64(i)*scrapeEvery/3600, 24)
		mean := 40 * (1 - math.Cos(2*math.Pi*(hour-2)/24)) // most at 14:00
		if hour < 4 {
			continue
		}
		for range int(mean * (0.5 + dice.Float64())) {
			if dice.Float64() < share[i] {
				all.bad[i]++
			} else {
				all.good[i]++
			}
		}
	}
	return all
}

// write gives the counters as Prometheus would have scraped them. They are not new when the month begins, and the controller
// that counts is restarted in four of the nights.
func (i increments) write(t *testing.T, file string) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(out)
	good, bad := 1000.0, 10.0
	for n := range i.good {
		if n%(9*24*3600/scrapeEvery) == (5*24+2)*3600/scrapeEvery {
			good, bad = 0, 0
		}
		good += i.good[n]
		bad += i.bad[n]
		at := begins + n*scrapeEvery
		for status, count := range map[string]float64{"200": good, "500": bad} {
			fmt.Fprintf(w, "nginx_ingress_controller_requests{namespace=\"demo\",ingress=\"podinfo\",canary=\"\",status=%q} %d %d\n", status, int(count), at)
		}
	}
	fmt.Fprintln(w, "# EOF")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// between is plain arithmetic: all and bad requests of the scrapes after from and until to, in seconds of the month.
func (s sums) between(from, to float64) (all, bad float64) {
	index := func(second float64) int {
		return min(max(int(math.Floor(second/scrapeEvery))+1, 1), len(s.good)-1)
	}
	a, b := index(from), index(to)
	return s.good[b] - s.good[a] + s.bad[b] - s.bad[a], s.bad[b] - s.bad[a]
}

// sums are increments added up, so that a window is one subtraction.
type sums struct{ good, bad []float64 }

func (i increments) sums() sums {
	add := func(all []float64) []float64 {
		up := make([]float64, len(all)+1)
		for n, one := range all {
			up[n+1] = up[n] + one
		}
		return up
	}
	return sums{add(i.good), add(i.bad)}
}

// The windows' ratios and the month's are computed by a real Prometheus from the rules as they are, at over 1,000 moments of
// 35 days, and agree with sums over the counts to 0.01 percentage points.
func TestAMonthAgreesWithPlainArithmetic(t *testing.T) {
	month := traffic()
	p := newPast(t)
	month.write(t, filepath.Join(p.dir, "traffic"))
	promtool(t, "tsdb", "create-blocks-from", "--max-block-duration=486h", "openmetrics", filepath.Join(p.dir, "traffic"), p.data)
	// A rule sees what those before it gave only when that is stored, so they go by kind, one after the other.
	p.backfill(t, "30s", "54h", func(record string) bool { return strings.HasSuffix(record, ":rate") })
	const moments = "47m" // a multiple of 30 s, so that slices end at them as in a cluster; not one of an hour
	p.backfill(t, moments, "486h", func(record string) bool {
		return strings.HasPrefix(record, "slo:sli_total:rate") && !strings.HasSuffix(record, ":rate")
	})
	p.backfill(t, moments, "486h", func(record string) bool { return strings.HasPrefix(record, "slo:sli_error:") })

	counts := month.sums()
	base, _ := p.serve(t)
	for _, window := range []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"} {
		p.compare(t, base, counts, window)
	}
	p.compareWithMeans(t, base, counts)
}

func (p past) compare(t *testing.T, base string, counts sums, window string) {
	t.Helper()
	long := seconds(t, window)
	recorded := p.samples(t, base, "slo:sli_error:ratio_rate"+window)
	var worst float64
	for at := range p.samples(t, base, "slo:sli_total:rate"+window) {
		all, bad := counts.between(p.covered(at, long))
		got, there := recorded[at]
		if there != (all > 0) {
			t.Errorf("%s at %.0f s: a ratio is recorded: %v, of %.0f requests", window, at, there, all)
		}
		if there {
			worst = max(worst, math.Abs(got-bad/all))
		}
	}
	if len(recorded) < 500 || worst > 0.0001 {
		t.Errorf("%s: %d ratios, at most %.4f percentage points off, want over 500 and at most 0.01", window, len(recorded), 100*worst)
	}
	t.Logf("%-3s: %d ratios, at most %.5f percentage points off", window, len(recorded), 100*worst)
}

// covered is what a window that ends at a moment has of the traffic, in seconds of the month. One that is made of counters
// goes from its first scrape to its last. One that is made of slices goes back from its last scrape by its whole length;
// before version 3 of Prometheus there is one slice more, as the moment at which a window begins was part of it.
func (p past) covered(at, long float64) (from, to float64) {
	last := math.Floor(at/scrapeEvery) * scrapeEvery
	if long <= 6*3600 {
		first := (math.Floor((at-long)/scrapeEvery) + 1) * scrapeEvery
		return first, last
	}
	if p.closed {
		long += 30
	}
	return last - long, last
}

// Sloth's way, a mean of the ratios of five minutes, is nothing after one quiet night, and wrong without it.
func (p past) compareWithMeans(t *testing.T, base string, counts sums) {
	t.Helper()
	const requests = `nginx_ingress_controller_requests{namespace="demo",ingress="podinfo"`
	ratio := `sum(rate(` + requests + `,status!~"2.."}[5m])) / (sum(rate(` + requests + `}[5m]))%s)`
	mean := func(guard string) float64 {
		got := p.ask(t, base, fmt.Sprintf(`avg_over_time((`+ratio+`)[30d:5m])`, guard))
		if len(got) != 1 {
			t.Fatalf("the mean has %d series", len(got))
		}
		value, err := strconv.ParseFloat(got[0].Value[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	end := float64(days*24*3600 - scrapeEvery)
	all, bad := counts.between(end-30*24*3600, end)
	if naive := mean(""); !math.IsNaN(naive) {
		t.Errorf("the mean of ratios, 0/0 included, is %v", naive)
	}
	quiet := mean(" > 0")
	if off := math.Abs(quiet - bad/all); off < 0.0005 {
		t.Errorf("the mean of ratios is only %.4f percentage points off: this traffic shows nothing", 100*off)
	}
	t.Logf("30d: %.4f %% of the requests were bad; the mean of ratios without 0/0 is %.4f %%, with it NaN", 100*bad/all, 100*quiet)
}

// past is a Prometheus that gets its data from files.
type past struct {
	dir, data  string
	prometheus string
	closed     bool // it is older than version 3
}

func newPast(t *testing.T) past {
	t.Helper()
	p := past{dir: t.TempDir(), prometheus: programs(t).Prometheus}
	p.data = filepath.Join(p.dir, "data")
	write(t, filepath.Join(p.dir, "prometheus.yaml"), "{}")
	version, err := exec.CommandContext(t.Context(), p.prometheus, "--version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	p.closed = bytes.Contains(version, []byte("version 2."))
	return p
}

// backfill evaluates some of the first group's rules over the whole month, every interval, and stores what they give in
// blocks that are so long; a query for one may have 11,000 points.
func (p past) backfill(t *testing.T, interval, block string, wanted func(record string) bool) {
	t.Helper()
	var all ruleFile
	if err := yaml.Unmarshal([]byte(read(t, demoRules(t))), &all); err != nil {
		t.Fatal(err)
	}
	group := map[string]any{"name": all.Groups[0].Name, "interval": interval}
	var some []any
	for _, rule := range all.Groups[0].Rules {
		if wanted(rule.Record) {
			some = append(some, map[string]any{"record": rule.Record, "expr": rule.Expr, "labels": rule.Labels})
		}
	}
	group["rules"] = some
	text, err := yaml.Marshal(map[string]any{"groups": []any{group}})
	if err != nil || len(some) == 0 {
		t.Fatalf("%d rules, %v", len(some), err)
	}
	// The same name every time: when a group is evaluated depends on it.
	file := filepath.Join(p.dir, "rules.yaml")
	write(t, file, string(text))
	base, end := p.serve(t)
	defer end()
	promtool(t, "tsdb", "create-blocks-from", "--max-block-duration="+block, "rules", "--url", base, "--output-dir", p.data,
		"--start", strconv.Itoa(begins), "--end", strconv.Itoa(begins+days*24*3600-scrapeEvery), file)
}

// serve starts Prometheus on the blocks that there are, until end or the end of the test.
func (p past) serve(t *testing.T) (base string, end func()) {
	t.Helper()
	address := freeAddress(t)
	end = start(t, p.prometheus, "--config.file", filepath.Join(p.dir, "prometheus.yaml"), "--storage.tsdb.path", p.data,
		"--storage.tsdb.retention.time", "100y", "--web.listen-address", address)
	wait(t, "Prometheus", func() bool { return answers(t, "http://"+address+"/-/ready") })
	return "http://" + address, end
}

type answer struct {
	Value  []any
	Values [][]any
}

// ask evaluates a query at the end of the month.
func (p past) ask(t *testing.T, base, query string) []answer {
	t.Helper()
	var got struct{ Data struct{ Result []answer } }
	at := strconv.Itoa(begins + days*24*3600 - scrapeEvery)
	if err := json.Unmarshal(get(t, base+"/api/v1/query?"+url.Values{"query": {query}, "time": {at}}.Encode()), &got); err != nil {
		t.Fatal(err)
	}
	return got.Data.Result
}

// samples are those of a series, by seconds of the month.
func (p past) samples(t *testing.T, base, series string) map[float64]float64 {
	t.Helper()
	got := p.ask(t, base, series+"["+strconv.Itoa(days)+"d]")
	if len(got) != 1 {
		t.Fatalf("%s has %d series", series, len(got))
	}
	all := map[float64]float64{}
	for _, one := range got[0].Values {
		value, err := strconv.ParseFloat(one[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		all[one[0].(float64)-begins] = value
	}
	return all
}

func seconds(t *testing.T, window string) float64 {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimRight(window, "mhd"))
	if err != nil {
		t.Fatal(err)
	}
	return float64(n) * map[byte]float64{'m': 60, 'h': 3600, 'd': 86400}[window[len(window)-1]]
}
