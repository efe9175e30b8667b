package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// process is a registry with what every replica shows of itself, whether it leads or not.
func process() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	about := prometheus.Labels{"version": version, "commit": commit}
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_build_info", Help: "1, with what was built.", ConstLabels: about}).Set(1)
	return reg
}
