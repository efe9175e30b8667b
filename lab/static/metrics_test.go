package static

import (
	"bytes"
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// exposed are the metrics that the rest of the system reads, with their labels. The names were asked for.
var exposed = map[string][]string{
	"http_requests_total":           {"method", "route", "status"},
	"http_requests_errors_total":    {"method", "route", "status"},
	"http_request_duration_seconds": {"method", "route", "status"},
	"http_requests_in_flight":       {},
	"deployment_version":            {"version", "revision", "commit"},
}

func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(get(t, url+"/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func labels(m *dto.Metric) []string {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	return names
}

func TestTheAppExposesWhatTheOthersRead(t *testing.T) {
	url := startApp(t)
	families := scrape(t, url)
	for name, want := range exposed {
		if families[name] == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		for _, m := range families[name].GetMetric() {
			if got := labels(m); !slices.Equal(sorted(got), sorted(want)) {
				t.Errorf("%s has the labels %v, want %v", name, got, want)
			}
		}
	}
	count := func(families map[string]*dto.MetricFamily, name, status string) (series int, sum float64) {
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "status" && l.GetValue() == status {
					series++
					sum += m.GetCounter().GetValue()
				}
			}
		}
		return series, sum
	}
	for _, status := range []string{"200", "500"} {
		if series, sum := count(families, "http_requests_total", status); series == 0 || sum != 0 {
			t.Errorf("before the first request there are %d series of status %s with %v requests; want some, at 0", series, status, sum)
		}
	}
	get(t, url+"/api/items")
	get(t, url+"/healthz")
	if _, sum := count(scrape(t, url), "http_requests_total", "200"); sum != 1 {
		t.Errorf("after one request, a probe and two scrapes %v requests are counted, want 1", sum)
	}
}
