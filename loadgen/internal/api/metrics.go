package api

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
)

// metrics are what Prometheus scrapes. The attack label is bounded by the number
// of attacks that are kept: forget drops a name with its last state.
type metrics struct {
	requests   *prometheus.CounterVec
	unfinished *prometheus.CounterVec
	duration   *prometheus.HistogramVec
}

// newMetrics registers with r; running and rate are asked at every scrape.
func newMetrics(r prometheus.Registerer, running, rate func() float64) *metrics {
	with := promauto.With(r)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loadgen_attacks_running",
		Help: "Attacks that are sending requests now.",
	}, running)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loadgen_rate_target",
		Help: "Requests per second that all running attacks together should send now.",
	}, rate)
	return &metrics{
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Name: "loadgen_requests_total",
			Help: `Requests answered or given up, by attack and HTTP status; code "0" is no complete answer.`,
		}, []string{"attack", "code"}),
		unfinished: with.NewCounterVec(prometheus.CounterOpts{
			Name: "loadgen_unfinished_total",
			Help: "Requests cut off because their attack was stopped; in no other series.",
		}, []string{"attack"}),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loadgen_request_duration_seconds",
			Help:    "Time from when a request was due until its answer was read or given up.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"attack"}),
	}
}

// observer makes the series of an attack exist at zero, since a counter born at 1
// is invisible to rate, and returns what counts its results. That is for one
// goroutine at a time: it looks a series up once, not for every request.
func (m *metrics) observer(attack string) func(fire.Result) {
	unfinished, duration := m.unfinished.WithLabelValues(attack), m.duration.WithLabelValues(attack)
	codes := map[int]prometheus.Counter{}
	count := func(code int) prometheus.Counter {
		if codes[code] == nil {
			codes[code] = m.requests.WithLabelValues(attack, strconv.Itoa(code))
		}
		return codes[code]
	}
	count(http.StatusOK)
	count(0)
	return func(r fire.Result) {
		if r.Unfinished {
			unfinished.Inc()
			return
		}
		count(r.Code).Inc()
		if exemplars, can := duration.(prometheus.ExemplarObserver); can && r.Trace != "" {
			exemplars.ObserveWithExemplar(r.Latency.Seconds(), prometheus.Labels{"trace_id": r.Trace})
			return
		}
		duration.Observe(r.Latency.Seconds())
	}
}

func (m *metrics) forget(attack string) {
	m.requests.DeletePartialMatch(prometheus.Labels{"attack": attack})
	m.unfinished.DeleteLabelValues(attack)
	m.duration.DeleteLabelValues(attack)
}
