package count

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// prometheus answers as the real one does with the raw samples of one range query; the test sets the last one of each series.
type prometheus struct {
	mu     sync.Mutex
	series map[string]float64 // by labels, as JSON
	at     time.Time
	down   atomic.Bool
	asked  atomic.Int64
}

func (p *prometheus) set(at time.Time, series map[string]float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.series = at, series
}

func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked.Add(1)
	if p.down.Load() || r.FormValue("query") != `nginx_ingress_controller_requests{ingress="shop"}[90s]` {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var rows []string
	for labels, value := range p.series {
		seconds := float64(p.at.UnixMilli()) / 1000
		rows = append(rows, fmt.Sprintf(`{"metric":{%s},"values":[[%f,"0"],[%f,"%v"]]}`, labels, seconds-5, seconds, value))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, strings.Join(rows, ","))
}

func TestTheIngressIsASecondOpinion(t *testing.T) {
	p := &prometheus{}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	ingress, err := NewIngress(server.URL, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	meter, book := New(time.Second, ingress), rollout.Book{}
	began := time.Unix(1_790_000_000, 0)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	r := rollout.Rollout{ID: "a", Canary: rollout.Key{Namespace: "demo"}, Ingress: "shop", StartedAt: began}
	asked := sli
	asked.Ingress = true
	read := func(s int) *rollout.Opinion {
		return meter.Read(t.Context(), at(s), r, rollout.Canary{Service: "shop"}, book, asked).Ingress
	}
	const (
		primary    = `"namespace":"demo","canary":"","status":"200","service":"shop"`
		canary     = `"namespace":"demo","canary":"demo-shop-canary-80","status":"200"`
		canaryBad  = `"namespace":"demo","canary":"demo-shop-canary-80","status":"502"`
		other      = `"namespace":"demo","canary":"","status":"500","service":"admin"`
		elsewhere  = `"namespace":"other","canary":"","status":"500"`
		byOperator = `"namespace":"ingress-nginx","exported_namespace":"demo","canary":"","status":"200"`
	)

	// Before any traffic: what there is from releases before is where counting starts.
	p.set(at(0), map[string]float64{primary: 1000, canary: 70, canaryBad: 9, elsewhere: 5})
	if o := read(1); o.Canary.Total() != 0 || o.Primary.Total() != 0 || o.Age != time.Second || o.Trouble != "" {
		t.Fatalf("before traffic: %+v", o)
	}
	p.set(at(5), map[string]float64{primary: 1100, canary: 71, canaryBad: 9, elsewhere: 5})
	r.FirstTrafficAt = at(6) // the sample is older
	if o := read(6); o.Canary.Total() != 0 || o.Primary.Total() != 0 {
		t.Fatalf("a sample from before the first traffic was counted: %+v", o)
	}
	// A 502 of a kind that was never seen before is a new series, and all of it counts.
	p.set(at(10), map[string]float64{primary: 1190, canary: 79, canaryBad: 11, elsewhere: 500, other: 77, byOperator: 10, `"namespace":"demo","canary":"c","status":"504"`: 3})
	o := read(12)
	if o.Canary != (rollout.Counts{Good: 8, Bad: 5}) || o.Primary != (rollout.Counts{Good: 100}) || o.Age != 2*time.Second {
		t.Fatalf("got %+v", o)
	}
	// The same sample again adds nothing; it is not even asked for within two seconds.
	before := p.asked.Load()
	if o = read(13); o.Canary.Total() != 13 || o.Age != 3*time.Second || p.asked.Load() != before {
		t.Fatalf("got %+v, asked %d times more", o, p.asked.Load()-before)
	}
	// A restarted controller counts from zero.
	p.set(at(15), map[string]float64{primary: 4, canary: 2, canaryBad: 0})
	if o = read(16); o.Canary != (rollout.Counts{Good: 10, Bad: 5}) || o.Primary != (rollout.Counts{Good: 104}) {
		t.Fatalf("after a restart of the controller: %+v", o)
	}
	// A controller that is seen for the first time brings years of counts along, which are nobody's here.
	p.set(at(18), map[string]float64{primary: 4, canary: 2, canaryBad: 0, `"namespace":"demo","canary":"c","status":"500","controller_pod":"other"`: 900})
	if o = read(18); o.Canary != (rollout.Counts{Good: 10, Bad: 5}) {
		t.Fatalf("a controller seen for the first time: %+v", o)
	}
	// Down: the counts stay, grow old, and say why. Prometheus is left alone for a while.
	p.down.Store(true)
	before = p.asked.Load()
	for s := 20; s < 25; s++ {
		o = read(s)
	}
	if o.Canary.Total() != 15 || o.Age != 6*time.Second || !strings.Contains(o.Trouble, "ask Prometheus") || p.asked.Load() != before+1 {
		t.Errorf("got %+v after %d questions", o, p.asked.Load()-before)
	}
}

func TestWithoutAFirstLookBeforeTrafficCountingStartsLate(t *testing.T) {
	p := &prometheus{}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	ingress, err := NewIngress(server.URL, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Unix(1_790_000_000, 0)
	r := rollout.Rollout{ID: "a", Canary: rollout.Key{Namespace: "demo"}, Ingress: "shop", StartedAt: began, FirstTrafficAt: began}
	p.set(began.Add(30*time.Second), map[string]float64{`"namespace":"demo","canary":"c","status":"500"`: 400})
	if o := ingress.read(t.Context(), began.Add(30*time.Second), r, "shop", rollout.Book{}, is2xx); o.Canary.Total() != 0 {
		t.Errorf("counted %+v, which may be of a release before", o.Canary)
	}
}

func TestResponseTimes(t *testing.T) {
	page := `# TYPE http_requests_total counter
http_requests_total{status="200",zone="a"} 10
http_requests_total{status="200",zone="b"} 90
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{zone="a",le="0.1"} 8
http_request_duration_seconds_bucket{zone="a",le="0.5"} 9
http_request_duration_seconds_bucket{zone="a",le="+Inf"} 10
http_request_duration_seconds_count{zone="a"} 10
http_request_duration_seconds_sum{zone="a"} 1
http_request_duration_seconds_bucket{zone="b",le="0.1"} 70
http_request_duration_seconds_bucket{zone="b",le="0.5"} 80
http_request_duration_seconds_bucket{zone="b",le="+Inf"} 90
http_request_duration_seconds_count{zone="b"} 90
http_request_duration_seconds_sum{zone="b"} 1
`
	asked := sli
	asked.Duration = "http_request_duration_seconds"
	for _, c := range []struct {
		match map[string]string
		good  uint64
		times string
	}{
		{nil, 100, "{[0.1 0.5] [78 89 100]}"},
		{map[string]string{"zone": "a"}, 10, "{[0.1 0.5] [8 9 10]}"},
		{map[string]string{"zone": "c"}, 0, "{[] []}"},
	} {
		asked.Match = c.match
		got, err := Parse(strings.NewReader(page), asked)
		if err != nil || got.Counts.Good != c.good || fmt.Sprint(got.Times) != c.times {
			t.Errorf("%v: got %+v %v, want %d and %s", c.match, got, err, c.good, c.times)
		}
	}
}

// What is no number of responses is a broken page, not a count (verdict.md §4.2, property 10).
func TestImpossibleCountersAreErrors(t *testing.T) {
	for _, value := range []string{"NaN", "-1", "+Inf", "-Inf", "1e300"} {
		page := fmt.Sprintf("http_requests_total{status=\"200\"} %s\n", value)
		if got, err := Parse(strings.NewReader(page), sli); err == nil {
			t.Errorf("%s was counted as %+v", value, got.Counts)
		}
	}
}

// Any page is read or refused.
func FuzzParse(f *testing.F) {
	f.Add("http_requests_total{status=\"200\"} 5\n")
	f.Add("# TYPE http_requests_total histogram\nhttp_requests_total_bucket{le=\"1\"} 3\n")
	f.Add("http_requests_total{status=\"500\"} NaN\n")
	f.Fuzz(func(t *testing.T, page string) {
		asked := sli
		asked.Duration = "http_requests_total"
		if got, err := Parse(strings.NewReader(page), asked); err == nil && len(got.Times.Counts) != 0 && len(got.Times.Counts) != len(got.Times.Bounds)+1 {
			t.Errorf("got %+v", got)
		}
	})
}
