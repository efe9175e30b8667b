package api

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape reads /metrics as Prometheus does when it asks for text.
func (s *service) scrape() map[string]*dto.MetricFamily {
	s.t.Helper()
	got := s.do("GET", "/metrics", "", "Accept", "text/plain;version=0.0.4")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(got.body))
	if err != nil || got.status != 200 {
		s.t.Fatalf("scrape: status %d: %v", got.status, err)
	}
	return families
}

// series flattens a counter or histogram family to "METHOD route status" → count.
func series(family *dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for _, m := range family.GetMetric() {
		l := labelsOf(m)
		key := fmt.Sprintf("%s %s %s", l["method"], l["route"], l["status"])
		out[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return out
}

func labelsOf(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, pair := range m.GetLabel() {
		out[pair.GetName()] = pair.GetValue()
	}
	return out
}

// moved returns only the series above zero.
func moved(all map[string]float64) map[string]float64 {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(_ string, v float64) bool { return v == 0 })
	return out
}

func TestMetricsKeepTheContractFromTheFirstScrape(t *testing.T) {
	families := start(t, secret).scrape()

	three := []string{"method", "route", "status"}
	for name, want := range map[string]struct {
		kind   dto.MetricType
		labels []string
	}{
		"http_requests_total":              {dto.MetricType_COUNTER, three},
		"http_requests_errors_total":       {dto.MetricType_COUNTER, three},
		"http_request_duration_seconds":    {dto.MetricType_HISTOGRAM, three},
		"http_requests_in_flight":          {dto.MetricType_GAUGE, nil},
		"deployment_version":               {dto.MetricType_GAUGE, []string{"commit", "revision", "version"}},
		"chaos_plan_active":                {dto.MetricType_GAUGE, nil},
		"chaos_plan_end_timestamp_seconds": {dto.MetricType_GAUGE, nil},
		"chaos_fault":                      {dto.MetricType_GAUGE, []string{"kind"}},
		"chaos_faults_total":               {dto.MetricType_COUNTER, []string{"kind"}},
		"process_start_time_seconds":       {dto.MetricType_GAUGE, nil},
		"go_goroutines":                    {dto.MetricType_GAUGE, nil},
	} {
		family := families[name]
		if family == nil || family.GetType() != want.kind || len(family.GetMetric()) == 0 {
			t.Errorf("%s is %v, want %v", name, family.GetType(), want.kind)
			continue
		}
		for _, m := range family.GetMetric() {
			if got := slices.Sorted(maps.Keys(labelsOf(m))); !slices.Equal(got, want.labels) {
				t.Errorf("%s has labels %v, want %v", name, got, want.labels)
			}
		}
	}
	for name := range families {
		known := []string{
			"http_requests_total", "http_requests_errors_total", "http_request_duration_seconds", "http_requests_in_flight", "deployment_version",
			"chaos_plan_active", "chaos_plan_end_timestamp_seconds", "chaos_fault", "chaos_faults_total",
		}
		ours := !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_")
		if ours && !slices.Contains(known, name) {
			t.Errorf("%s is not in the contract", name)
		}
	}

	version := families["deployment_version"].GetMetric()[0]
	if got := labelsOf(version); version.GetGauge().GetValue() != 1 || got["version"] != "1.2.3" || got["revision"] != "abc123" || got["commit"] != "f00" {
		t.Errorf("deployment_version is %v", version)
	}

	// Every status a route can give by itself, and nothing else, exists at zero.
	answers, failures := map[string]float64{}, map[string]float64{}
	for route, own := range map[string][]string{
		"GET /": {"200"}, "GET /api/items": {"200", "400"}, "POST /api/items": {"201", "400", "413", "415"},
		"GET /api/items/:id": {"200", "404"}, "PUT /api/items/:id": {"200", "400", "404", "413", "415"}, "DELETE /api/items/:id": {"204", "404"},
	} {
		for _, status := range append([]string{"499", "500", "503"}, own...) {
			answers[route+" "+status] = 0
			if status[0] != '2' {
				failures[route+" "+status] = 0
			}
		}
	}
	answers["GET unmatched 404"], failures["GET unmatched 404"] = 0, 0
	if got := series(families["http_requests_total"]); !maps.Equal(got, answers) {
		t.Errorf("http_requests_total starts with %v, want %v", got, answers)
	}
	if got := series(families["http_request_duration_seconds"]); !maps.Equal(got, answers) {
		t.Errorf("http_request_duration_seconds starts with %v, want %v", got, answers)
	}
	if got := series(families["http_requests_errors_total"]); !maps.Equal(got, failures) {
		t.Errorf("http_requests_errors_total starts with %v, want %v", got, failures)
	}
}

func TestCountsAreTheStatusesThatWereSent(t *testing.T) {
	s := start(t, secret)
	sent := map[string]float64{}
	send := func(method, path, body, key string) {
		t.Helper()
		got := s.do(method, path, body)
		sent[fmt.Sprintf("%s %d", key, got.status)]++
	}
	send("GET", "/", "", "GET /")
	send("POST", "/api/items", `{"name":"a"}`, "POST /api/items")
	send("POST", "/api/items", `{"name":""}`, "POST /api/items")
	send("GET", "/api/items/1", "", "GET /api/items/:id")
	send("GET", "/api/items/2", "", "GET /api/items/:id")
	send("DELETE", "/api/items/1", "", "DELETE /api/items/:id")
	send("GET", "/nope/1", "", "GET unmatched")
	send("GET", "/nope/2", "", "GET unmatched")
	send("PATCH", "/api/items", "", "PATCH unmatched")
	send("INVENTED", "/nope", "", "other unmatched")
	if got := s.admin("PUT", `{"errorRate":1,"status":418,"ttl":"1m"}`); got.status != 200 {
		t.Fatalf("set plan: %d %s", got.status, got.body)
	}
	if _, ok := series(s.scrape()["http_requests_errors_total"])["GET / 418"]; !ok {
		t.Error("the status of a plan has no series at zero when the plan is set")
	}
	send("GET", "/api/items", "", "GET /api/items")
	send("GET", "/api/items", "", "GET /api/items")

	want := map[string]float64{
		"GET / 200": 1, "POST /api/items 201": 1, "POST /api/items 400": 1, "GET /api/items/:id 200": 1, "GET /api/items/:id 404": 1,
		"DELETE /api/items/:id 204": 1, "GET unmatched 404": 2, "PATCH unmatched 405": 1, "other unmatched 404": 1, "GET /api/items 418": 2,
	}
	if !maps.Equal(sent, want) {
		t.Errorf("clients got %v, want %v", sent, want)
	}
	families := s.scrape()
	if got := moved(series(families["http_requests_total"])); !maps.Equal(got, want) {
		t.Errorf("http_requests_total counted %v, want %v", got, want)
	}
	if got := moved(series(families["http_request_duration_seconds"])); !maps.Equal(got, want) {
		t.Errorf("http_request_duration_seconds counted %v, want %v", got, want)
	}
	maps.DeleteFunc(want, func(key string, _ float64) bool { return strings.Contains(key, " 20") })
	if got := moved(series(families["http_requests_errors_total"])); !maps.Equal(got, want) {
		t.Errorf("http_requests_errors_total counted %v, want %v", got, want)
	}
}

func TestProbesScrapesAndTheSwitchAreNotCounted(t *testing.T) {
	s := start(t, secret)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/chaos"} {
		s.do("GET", path, "")
		s.do("POST", path, "") // a wrong method is not counted either
	}
	s.admin("GET", "")
	s.Drain()
	s.do("GET", "/readyz", "")
	families := s.scrape()
	for _, name := range []string{"http_requests_total", "http_requests_errors_total", "http_request_duration_seconds"} {
		if got := moved(series(families[name])); len(got) != 0 {
			t.Errorf("%s counted %v", name, got)
		}
	}
}

func TestAPanicIsAnAnswer500AndCounted(t *testing.T) {
	s := start(t, "")
	s.handler.(*gin.Engine).GET("/panics", func(*gin.Context) { panic(errors.New("private detail")) })
	got := s.do("GET", "/panics", "")
	isProblem(t, got, 500, "")
	if strings.Contains(got.body, "private") {
		t.Errorf("the client learns %s", got.body)
	}
	families := s.scrape()
	if got := series(families["http_requests_errors_total"])["GET /panics 500"]; got != 1 {
		t.Errorf("counted %v", got)
	}
	if got := families["http_requests_in_flight"].GetMetric()[0].GetGauge().GetValue(); got != 0 {
		t.Errorf("%v requests are still in flight", got)
	}
}

func TestDurationHasClassicAndNativeBuckets(t *testing.T) {
	s := start(t, "")
	s.do("GET", "/", "")
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	decoder := expfmt.NewDecoder(res.Body, expfmt.ResponseFormat(res.Header))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() != "http_request_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if len(h.GetBucket()) == 0 || h.Schema == nil {
			t.Errorf("classic buckets %d, native schema %v: want both", len(h.GetBucket()), h.Schema)
		}
		return
	}
	t.Error("http_request_duration_seconds is not there")
}
