package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// Versions of a Canary, as the label version names them.
const (
	canaryVersion  = "canary"
	primaryVersion = "primary"
)

// series select a service's counters.
type series struct {
	requests, buckets string // metrics
	of                map[string]string
	bad               string
	all               string
}

// seriesOf are the counters of a source that tells versions apart.
func seriesOf(s slo.Service) series {
	if s.Source == slo.Pods {
		// Flagger calls the primary's pods <name>-primary, in the very label that prometheus.yaml makes into app.
		one := func(app string) string { return fmt.Sprintf(`namespace=%q,app=%s`, s.Namespace, app) }
		return series{
			requests: "http_requests_total", buckets: "http_request_duration_seconds_bucket",
			all: fmt.Sprintf(`namespace=%q,app=~"%s|%[2]s-primary"`, s.Namespace, s.Canary), bad: bad(s.Good),
			of: map[string]string{canaryVersion: one(`"` + s.Canary + `"`), primaryVersion: one(`"` + s.Canary + `-primary"`)},
		}
	}
	all := fmt.Sprintf(`namespace=%q,ingress=%q`, s.Namespace, s.Canary)
	return series{
		requests: "nginx_ingress_controller_requests", buckets: "nginx_ingress_controller_request_duration_seconds_bucket",
		all: all, bad: bad(s.Good), of: map[string]string{canaryVersion: all + `,canary!=""`, primaryVersion: all + `,canary=""`},
	}
}

// bad matches the statuses that are not good.
func bad(good []string) string {
	var patterns []string
	for _, status := range good {
		patterns = append(patterns, strings.ReplaceAll(status, "xx", ".."))
	}
	return fmt.Sprintf(`status!~"%s"`, strings.Join(patterns, "|"))
}

// errorsIn and totalIn are a service's bad and all requests a second, in a window.
func errorsIn(s slo.Service, window time.Duration) string {
	if s.Source == slo.Queries {
		return own(s.Errors, window)
	}
	c := seriesOf(s)
	return fmt.Sprintf("sum(rate(%s{%s,%s}[%s]))", c.requests, c.all, c.bad, Text(window))
}

func totalIn(s slo.Service, window time.Duration) string {
	if s.Source == slo.Queries {
		return own(s.Total, window)
	}
	c := seriesOf(s)
	return fmt.Sprintf("sum(rate(%s{%s}[%s]))", c.requests, c.all, Text(window))
}

// own makes one series without labels of whatever a service's own query gives.
func own(query string, window time.Duration) string {
	return "sum(" + strings.ReplaceAll(strings.TrimSpace(query), slo.Window, Text(window)) + ")"
}
