package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// result is what became of an attempt.
type result string

const (
	delivered result = "delivered"
	retried   result = "retried"
	refused   result = "refused"
)

// Metrics are the courier's figures, by sink.
type Metrics struct {
	attempts *prometheus.CounterVec
	waiting  *prometheus.GaugeVec
	sinks    []string // configured
}

// NewMetrics registers them, at 0 for each sink.
func NewMetrics(reg prometheus.Registerer, c sinks.Config) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{Name: "gatekeeper_notifications_total", Help: "Attempts to notify, by sink and what became of them."}, []string{"sink", "result"}),
		waiting:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "gatekeeper_notifications_waiting", Help: "Notifications that are not delivered yet, by sink."}, []string{"sink"}),
	}
	for _, s := range c.Sinks {
		for _, r := range []result{delivered, retried, refused} {
			m.attempts.WithLabelValues(s.Name, string(r))
		}
		m.sinks = append(m.sinks, s.Name)
	}
	m.wait(nil)
	return m
}

func (m *Metrics) count(sink string, r result) { m.attempts.WithLabelValues(sink, string(r)).Inc() }

// wait takes in how many wait. A sink that is not in it has none.
func (m *Metrics) wait(by map[string]int) {
	m.waiting.Reset()
	for _, sink := range m.sinks {
		m.waiting.WithLabelValues(sink)
	}
	for sink, n := range by {
		m.waiting.WithLabelValues(sink).Set(float64(n))
	}
}
