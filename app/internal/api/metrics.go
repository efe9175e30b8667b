package api

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
)

// metrics are the numbers that the rollout is judged by: names and labels are an
// interface, see the contract test before changing one.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	errors   *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	faults   *prometheus.CounterVec
	counters sync.Map // of outcome to *counters: finding them by label values costs three hashes and three locks a request
}

// outcome is what requests are counted by.
type outcome struct {
	method, route string
	status        int
}

type counters struct {
	requests prometheus.Counter
	errors   prometheus.Counter // nil for a good answer
	duration prometheus.ExemplarObserver
}

func newMetrics(cfg Config, plan *faults) *metrics {
	labels := []string{"method", "route", "status"}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Answers sent on business routes.",
		}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_errors_total", Help: "Answers sent on business routes that are not 2xx.",
		}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time to answer on business routes, injected latency included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			// Native beside classic: scrapers that ask by protobuf get both.
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
			// Exemplars are those of the classic buckets, which scrapers take for both: a
			// second set would be sorted anew with every sampled request.
			NativeHistogramMaxExemplars: -1,
		}, labels),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "http_requests_in_flight", Help: "Requests on business routes being answered now.",
		}),
	}
	deployment := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "deployment_version", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "revision": cfg.Revision, "commit": cfg.Commit},
	})
	deployment.Set(1)
	m.registry.MustRegister(m.requests, m.errors, m.duration, m.inFlight, deployment,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "chaos_faults_total", Help: "Faults injected since the start, by kind.",
	}, []string{"kind"})
	if cfg.ChaosToken != "" {
		m.exposePlan(plan)
	}
	return m
}

// exposePlan shows the plan in force, so that a graph of a rehearsal says what was
// rehearsed.
func (m *metrics) exposePlan(f *faults) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("chaos_plan_active", "1 while a chaos plan is in force.", nil, func() float64 {
		if _, _, left := f.current(); left > 0 {
			return 1
		}
		return 0
	})
	gauge("chaos_plan_end_timestamp_seconds", "When the chaos plan in force ends, 0 without one.", nil, func() float64 {
		if _, until, left := f.current(); left > 0 {
			return float64(until.UnixMilli()) / 1000
		}
		return 0
	})
	for _, kind := range chaos.Kinds() {
		m.faults.WithLabelValues(string(kind))
		gauge("chaos_fault", "What the chaos plan in force asks for: a rate, seconds, bytes, cores, or 1.",
			prometheus.Labels{"kind": string(kind)}, func() float64 { return f.active().Asked(kind) })
	}
	m.registry.MustRegister(m.faults)
}

func (a *API) countFault(kind chaos.Kind) { a.metrics.faults.WithLabelValues(string(kind)).Inc() }

func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
		EnableOpenMetrics: true, // for who asks: the only text format with exemplars
	})
}

// expect makes the series of an answer exist at zero: a counter born at 1 is
// invisible to rate().
func (m *metrics) expect(method, route string, status int) { m.of(outcome{method, route, status}) }

// of returns the counters of one kind of answer.
func (m *metrics) of(key outcome) *counters {
	if known, ok := m.counters.Load(key); ok {
		return known.(*counters)
	}
	code := strconv.Itoa(key.status)
	made := &counters{
		requests: m.requests.WithLabelValues(key.method, key.route, code),
		duration: m.duration.WithLabelValues(key.method, key.route, code).(prometheus.ExemplarObserver),
	}
	if !good(key.status) {
		made.errors = m.errors.WithLabelValues(key.method, key.route, code)
	}
	m.counters.Store(key, made) // who comes second stores the same: the vectors own them
	return made
}

// count adds one answer. A sampled trace is named in the histogram, so that a slow
// bucket leads to a trace that is really there.
func (m *metrics) count(key outcome, took time.Duration, span trace.SpanContext) {
	c := m.of(key)
	c.requests.Inc()
	if c.errors != nil {
		c.errors.Inc()
	}
	if span.IsSampled() {
		c.duration.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": span.TraceID().String()})
		return
	}
	c.duration.(prometheus.Observer).Observe(took.Seconds())
}

// good is the service level indicator: an answer is good when it is 2xx.
func good(status int) bool { return status >= 200 && status <= 299 }

// observe counts a request by the status that was really sent. Probes, scrapes
// and the chaos switch are no users: they are recognised by path, so that even a
// wrong method on them is not counted.
func (a *API) observe(c *gin.Context) {
	switch c.Request.URL.Path {
	case "/healthz", "/readyz", "/metrics", "/chaos":
		return
	}
	start := a.cfg.Now()
	a.metrics.inFlight.Inc()
	defer a.metrics.inFlight.Dec()
	c.Next()
	method, route := labels(c)
	took := a.cfg.Now().Sub(start)
	key := outcome{method, route, c.Writer.Status()}
	ctx := c.Request.Context()
	a.metrics.count(key, took, trace.SpanContextFromContext(ctx))
	if a.cfg.Log.Enabled(ctx, slog.LevelDebug) {
		a.cfg.Log.DebugContext(ctx, "request", "method", method, "route", route, "status", key.status, "took", took.String())
	}
}

// unmatched is the route of what no route answers.
const unmatched = "unmatched"

// labels keeps both labels within closed sets: what clients invent is "unmatched"
// and "other".
func labels(c *gin.Context) (method, route string) {
	method, route = c.Request.Method, c.FullPath()
	if route == "" {
		route = unmatched
	}
	known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	if !slices.Contains(known, method) {
		method = "other"
	}
	return method, route
}
