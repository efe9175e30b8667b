package keeper

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// goneTime is how long a Canary's counts stay after it was deleted: until the last of them, such as that its rollout was
// aborted, is surely scraped.
const goneTime = 5 * time.Minute

// Metrics are the gatekeeper's own figures about rollouts. The Keeper alone writes them, under its mutex.
type Metrics struct {
	results  *prometheus.CounterVec
	took     *prometheus.HistogramVec
	ends     *prometheus.GaugeVec
	drills   *prometheus.GaugeVec
	underWay prometheus.Gauge
	last     prometheus.Gauge
	lag      prometheus.Gauge
	duration prometheus.Histogram

	canaries map[rollout.Key]time.Time // that have counts, and when the cluster last had them
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f, ended := promauto.With(reg), []string{"namespace", "canary", "result"}
	return &Metrics{
		results: f.NewCounterVec(prometheus.CounterOpts{Name: "gatekeeper_rollouts_total", Help: "Rollouts that ended since the process started, by result; drills too, and those that nobody saw."}, ended),
		took: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatekeeper_rollout_duration_seconds", Help: "From a rollout's first canary traffic, or its start if it had none, to its end.",
			Buckets: []float64{5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1800, 3600},
		}, ended),
		ends:     f.NewGaugeVec(prometheus.GaugeOpts{Name: "gatekeeper_rollout_ended_timestamp_seconds", Help: "Unix time at which the last rollout with this result ended, or was found to have ended; drills too. Restarts do not forget it."}, ended),
		drills:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "gatekeeper_drill_last_timestamp_seconds", Help: "Unix time at which the last rehearsal with this result ended."}, ended),
		underWay: f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_rollouts_under_way", Help: "Rollouts that have no result yet."}),
		last:     f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_last_evaluation_timestamp_seconds", Help: "Unix time of the last complete evaluation."}),
		lag:      f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_evaluation_lag_seconds", Help: "How much later than its rhythm the last evaluation ended; 0: in time."}),
		duration: f.NewHistogram(prometheus.HistogramOpts{Name: "gatekeeper_evaluation_duration_seconds", Help: "Time that one evaluation of all rollouts takes."}),
		canaries: map[rollout.Key]time.Time{},
	}
}

// look takes in which Canaries there are at now, and drops the figures of those that are long gone.
func (m *Metrics) look(canaries map[rollout.Key]rollout.Canary, now time.Time) {
	for key := range canaries {
		m.know(key, now)
	}
	for key, at := range m.canaries {
		if now.Sub(at) <= goneTime {
			continue
		}
		delete(m.canaries, key)
		of := prometheus.Labels{"namespace": key.Namespace, "canary": key.Name}
		m.results.DeletePartialMatch(of)
		m.took.DeletePartialMatch(of)
		m.ends.DeletePartialMatch(of)
		m.drills.DeletePartialMatch(of)
	}
}

// know lets a Canary have each result at 0 from its first sight on, so that increase() sees the first.
func (m *Metrics) know(key rollout.Key, now time.Time) {
	if _, known := m.canaries[key]; !known {
		for _, result := range rollout.Results() {
			m.results.WithLabelValues(key.Namespace, key.Name, string(result))
		}
	}
	m.canaries[key] = now
}

// begun lets a Canary have durations at 0 before its rollout ends. Those that never roll out have none: with 18 series for
// each result they would be most of what is scraped.
func (m *Metrics) begun(key rollout.Key) {
	for _, result := range rollout.Results() {
		m.took.WithLabelValues(key.Namespace, key.Name, string(result))
	}
}

func (m *Metrics) ended(r rollout.Rollout, now time.Time) {
	m.know(r.Canary, now)
	ns, name, result := r.Canary.Namespace, r.Canary.Name, string(r.Result)
	m.results.WithLabelValues(ns, name, result).Inc()
	if r.Unseen {
		return // nobody knows when it began
	}
	since := r.FirstTrafficAt
	if since.IsZero() {
		since = r.StartedAt
	}
	m.took.WithLabelValues(ns, name, result).Observe(r.EndedAt.Sub(since).Seconds())
}

// recall takes up a Canary that the ledger knows at now. One that was deleted meanwhile goes as if it had been a moment ago.
func (m *Metrics) recall(key rollout.Key, r rest, now time.Time) {
	m.know(key, now)
	m.remember(key, r)
}

// remember shows when a Canary's rollouts ended.
func (m *Metrics) remember(key rollout.Key, r rest) {
	for vec, ends := range map[*prometheus.GaugeVec]map[rollout.Result]time.Time{m.ends: r.Ends, m.drills: r.Drills} {
		for result, at := range ends {
			vec.WithLabelValues(key.Namespace, key.Name, string(result)).Set(seconds(at))
		}
	}
}

// observe takes in an evaluation that ended at the time at; one that is not complete leaves the last complete one in its place.
func (m *Metrics) observe(at time.Time, complete bool, took, lag time.Duration, underWay int) {
	m.lag.Set(max(lag, 0).Seconds())
	if complete {
		m.last.Set(seconds(at))
	}
	m.duration.Observe(took.Seconds())
	m.underWay.Set(float64(underWay))
}

// seconds is Unix time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
