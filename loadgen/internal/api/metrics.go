package api

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
)

// metrics are what Prometheus scrapes. The attack label is bounded by the number
// of attacks that are kept: forget drops a name with its last state.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics registers with r; running is asked at every scrape.
func newMetrics(r prometheus.Registerer, running func() float64) *metrics {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loadgen_attacks_running",
		Help: "Attacks that are sending requests now.",
	}, running)
	return &metrics{
		requests: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
			Name: "loadgen_requests_total",
			Help: `Requests sent, by attack and HTTP status; code "0" is no complete answer.`,
		}, []string{"attack", "code"}),
		duration: promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loadgen_request_duration_seconds",
			Help:    "Time from when a request was due until its answer was read or given up.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"attack"}),
	}
}

// expect makes the series of an attack exist at zero: a counter born at 1 is
// invisible to rate.
func (m *metrics) expect(attack string) {
	m.requests.WithLabelValues(attack, "200")
	m.requests.WithLabelValues(attack, "0")
	m.duration.WithLabelValues(attack)
}

func (m *metrics) observe(attack string, r fire.Result) {
	m.requests.WithLabelValues(attack, strconv.Itoa(r.Code)).Inc()
	m.duration.WithLabelValues(attack).Observe(r.Latency.Seconds())
}

func (m *metrics) forget(attack string) {
	m.requests.DeletePartialMatch(prometheus.Labels{"attack": attack})
	m.duration.DeleteLabelValues(attack)
}
