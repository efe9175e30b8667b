package api

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the numbers that the rollout is judged by: names and labels are an
// interface, see the contract test before changing one.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	errors   *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(cfg Config) *metrics {
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
	return m
}

func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)})
}

// expect makes the series of an answer exist at zero: a counter born at 1 is
// invisible to rate().
func (m *metrics) expect(method, route string, status int) {
	code := strconv.Itoa(status)
	m.requests.WithLabelValues(method, route, code)
	m.duration.WithLabelValues(method, route, code)
	if !good(status) {
		m.errors.WithLabelValues(method, route, code)
	}
}

func (m *metrics) count(method, route string, status int, took time.Duration) {
	code := strconv.Itoa(status)
	m.requests.WithLabelValues(method, route, code).Inc()
	m.duration.WithLabelValues(method, route, code).Observe(took.Seconds())
	if !good(status) {
		m.errors.WithLabelValues(method, route, code).Inc()
	}
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
	a.metrics.count(method, route, c.Writer.Status(), took)
	a.cfg.Log.Debug("request", "method", method, "route", route, "status", c.Writer.Status(), "took", took.String())
}

// labels keeps both labels within closed sets: what clients invent is "unmatched"
// and "other".
func labels(c *gin.Context) (method, route string) {
	method, route = c.Request.Method, c.FullPath()
	if route == "" {
		route = "unmatched"
	}
	known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	if !slices.Contains(known, method) {
		method = "other"
	}
	return method, route
}
