package keeper

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Metrics are the gatekeeper's own figures about rollouts.
type Metrics struct {
	results  *prometheus.CounterVec
	underWay prometheus.Gauge
	last     prometheus.Gauge
	duration prometheus.Histogram
}

// NewMetrics registers them. Every result exists at 0 from the start, so that increase() sees the first.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		results:  f.NewCounterVec(prometheus.CounterOpts{Name: "gatekeeper_rollouts_total", Help: "Rollouts that ended, by result."}, []string{"result"}),
		underWay: f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_rollouts_under_way", Help: "Rollouts that have no result yet."}),
		last:     f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_last_evaluation_timestamp_seconds", Help: "Unix time of the last complete evaluation."}),
		duration: f.NewHistogram(prometheus.HistogramOpts{Name: "gatekeeper_evaluation_duration_seconds", Help: "Time that one evaluation of all rollouts takes."}),
	}
	for _, result := range []rollout.Result{rollout.Promoted, rollout.RolledBack, rollout.Superseded, rollout.Aborted, rollout.Stuck} {
		m.results.WithLabelValues(string(result))
	}
	return m
}

func (m *Metrics) ended(result rollout.Result) { m.results.WithLabelValues(string(result)).Inc() }

func (m *Metrics) observe(at time.Time, took time.Duration, underWay int) {
	m.last.Set(float64(at.UnixMilli()) / 1000)
	m.duration.Observe(took.Seconds())
	m.underWay.Set(float64(underWay))
}
