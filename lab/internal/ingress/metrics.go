package ingress

import (
	"hash/fnv"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "nginx_ingress_controller"

// metrics have the names, labels and buckets of ingress-nginx: what reads those reads these. The sources there are
// internal/ingress/metric/collectors/{socket,controller,process}.go and, for the buckets, pkg/flags/flags.go.
type metrics struct {
	registry *prometheus.Registry

	requests                                  *prometheus.CounterVec
	connect, header, response, request        *prometheus.HistogramVec // seconds
	requestSize, responseSize, bytesSent      *prometheus.HistogramVec // bytes
	latency                                   *prometheus.SummaryVec
	hash, reloadedWell, reloadedAt, processes prometheus.Gauge
	reloads, errors                           prometheus.Counter
}

func newMetrics(class, controllerNamespace, pod, version string) *metrics {
	registry := prometheus.NewRegistry()
	constant := prometheus.Labels{"controller_class": class, "controller_namespace": controllerNamespace, "controller_pod": pod}
	in := prometheus.WrapRegistererWith(constant, registry)
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, requestLabels())
		in.MustRegister(h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
		in.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
		in.MustRegister(c)
		return c
	}
	lengths := prometheus.LinearBuckets(10, 10, 10)
	m := &metrics{
		registry: registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "requests", Help: "The total number of client requests",
		}, requestLabels()),
		connect:      histogram("connect_duration_seconds", "The time spent on establishing a connection with the upstream server", prometheus.DefBuckets),
		header:       histogram("header_duration_seconds", "The time spent on receiving first header from the upstream server", prometheus.DefBuckets),
		response:     histogram("response_duration_seconds", "The time spent on receiving the response from the upstream server", prometheus.DefBuckets),
		request:      histogram("request_duration_seconds", "The request processing time in seconds", prometheus.DefBuckets),
		requestSize:  histogram("request_size", "The request length in bytes", lengths),
		responseSize: histogram("response_size", "The response length in bytes", lengths),
		bytesSent:    histogram("bytes_sent", "The number of bytes sent to a client", prometheus.ExponentialBuckets(10, 10, 7)),
		latency: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Namespace: namespace, Name: "ingress_upstream_latency_seconds", Help: "Upstream service latency per Ingress",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}, []string{"ingress", "namespace", "service", "canary"}),
		hash:         gauge("config_hash", "Hash of the running configuration"),
		reloadedWell: gauge("config_last_reload_successful", "Whether the last configuration reload attempt was successful"),
		reloadedAt:   gauge("config_last_reload_successful_timestamp_seconds", "Timestamp of the last successful configuration reload"),
		processes:    gauge("nginx_process_num_procs", "Number of NGINX processes, the master among them"),
		reloads:      counter("success", "Cumulative number of reloads"),
		errors:       counter("errors", "Cumulative number of reloads that went wrong"),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "A constant 1 with the version of NGINX as release",
		ConstLabels: prometheus.Labels{"release": version, "build": "lab", "repository": ""},
	})
	info.Set(1)
	in.MustRegister(m.requests, m.latency, info)
	return m
}

// observe counts one request, with those times that it has.
func (m *metrics) observe(s sample) {
	with := func(h *prometheus.HistogramVec, value float64) {
		if value >= 0 {
			h.WithLabelValues(s.labels...).Observe(value)
		}
	}
	m.requests.WithLabelValues(s.labels...).Inc()
	with(m.connect, s.connectTime)
	with(m.header, s.headerTime)
	with(m.response, s.responseTime)
	with(m.request, s.requestTime)
	with(m.requestSize, s.requestLength)
	with(m.responseSize, s.bytesSent)
	with(m.bytesSent, s.bytesSent)
	if s.connectTime >= 0 {
		namespace, ingress, service, canary := s.labels[3], s.labels[4], s.labels[5], s.labels[6]
		m.latency.WithLabelValues(ingress, namespace, service, canary).Observe(s.connectTime)
	}
}

func (m *metrics) reloaded(text string) {
	sum := fnv.New32a() // 32 bits, which a float keeps exactly
	_, _ = sum.Write([]byte(text))
	m.hash.Set(float64(sum.Sum32()))
	m.reloadedWell.Set(1)
	m.reloadedAt.SetToCurrentTime()
	m.reloads.Inc()
}

func (m *metrics) refused() {
	m.reloadedWell.Set(0)
	m.errors.Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
