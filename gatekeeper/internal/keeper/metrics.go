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
	lag      prometheus.Gauge
	duration prometheus.Histogram
}

// NewMetrics registers them. Every result exists at 0 from the start, so that increase() sees the first.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		results:  f.NewCounterVec(prometheus.CounterOpts{Name: "gatekeeper_rollouts_total", Help: "Rollouts that ended, by result."}, []string{"result"}),
		underWay: f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_rollouts_under_way", Help: "Rollouts that have no result yet."}),
		last:     f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_last_evaluation_timestamp_seconds", Help: "Unix time of the last complete evaluation."}),
		lag:      f.NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_evaluation_lag_seconds", Help: "How much later than its rhythm the last evaluation ended; 0: in time."}),
		duration: f.NewHistogram(prometheus.HistogramOpts{Name: "gatekeeper_evaluation_duration_seconds", Help: "Time that one evaluation of all rollouts takes."}),
	}
	for _, result := range []rollout.Result{rollout.Promoted, rollout.RolledBack, rollout.Superseded, rollout.Aborted, rollout.Stuck} {
		m.results.WithLabelValues(string(result))
	}
	return m
}

func (m *Metrics) ended(result rollout.Result) { m.results.WithLabelValues(string(result)).Inc() }

func (m *Metrics) observe(at time.Time, took, lag time.Duration, underWay int) {
	m.lag.Set(max(lag, 0).Seconds())
	m.last.Set(float64(at.UnixMilli()) / 1000)
	m.duration.Observe(took.Seconds())
	m.underWay.Set(float64(underWay))
}

// Collect and Describe let Prometheus see each open rollout's evidence (verdict.md §5.2), as it hangs on the board. There are
// as many series as Canaries are under analysis.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	for _, r := range k.board.Load().others {
		a := r.Verdict.Evidence
		if a == nil {
			continue
		}
		of := func(d *prometheus.Desc, value float64, label ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{r.Canary.Namespace, r.Canary.Name}, label...)...)
		}
		d := descriptions()
		for channel, log := range map[string]float64{
			"slo": a.LogSLO, "hard": a.LogHard, "compare": a.LogCompare, "primary": a.LogPrimary, "latency": a.LogLatency,
			"ingress-slo": a.LogIngressSLO, "ingress-compare": a.LogIngressCompare,
		} {
			of(d.evidence, log, channel)
		}
		for bound, rate := range map[string]float64{"seen": a.Rate, "lower": a.Lower, "upper": a.Upper} {
			of(d.rate, rate, bound)
		}
		of(d.allowed, a.AllowedWeight)
		of(d.needed, a.RequestsNeeded)
	}
}

// Describe is part of prometheus.Collector.
func (k *Keeper) Describe(out chan<- *prometheus.Desc) {
	d := descriptions()
	for _, desc := range []*prometheus.Desc{d.evidence, d.rate, d.allowed, d.needed} {
		out <- desc
	}
}

type descs struct{ evidence, rate, allowed, needed *prometheus.Desc }

func descriptions() descs {
	of := func(name, help string, label ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"namespace", "canary"}, label...), nil)
	}
	return descs{
		evidence: of("gatekeeper_evidence_log", "Evidence against the canary, or the primary, as a natural logarithm: ln 200 is 200 : 1.", "channel"),
		rate:     of("gatekeeper_canary_error_rate", "Share of the canary's responses that are bad, 0 to 1, and its bounds.", "bound"),
		allowed:  of("gatekeeper_allowed_weight", "Share of the traffic, 0 to 1, that the evidence supports."),
		needed:   of("gatekeeper_requests_needed", "Canary requests without an error that the next weight still needs."),
	}
}
