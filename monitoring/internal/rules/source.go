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

// counters are a service's own, of all its versions together.
type counters struct{ requests, all, bad string }

func countersOf(s slo.Service) counters {
	if s.Source == slo.Pods {
		return counters{requests: "http_requests_total", all: pods(s, fmt.Sprintf(`~"%s|%[1]s-primary"`, s.Canary)), bad: bad(s.Good)}
	}
	return counters{requests: "nginx_ingress_controller_requests", all: fmt.Sprintf(`namespace=%q,ingress=%q`, s.Namespace, s.Canary), bad: bad(s.Good)}
}

// version selects the pods of one version. Flagger calls the primary's <name>-primary, in the very label that prometheus.yaml
// makes into app.
func version(s slo.Service, name string) string {
	app := s.Canary
	if name == primaryVersion {
		app += "-primary"
	}
	return pods(s, fmt.Sprintf("%q", app))
}

func pods(s slo.Service, app string) string {
	return fmt.Sprintf(`namespace=%q,app=%s`, s.Namespace, app)
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
	c := countersOf(s)
	return fmt.Sprintf("sum(rate(%s{%s,%s}[%s]))", c.requests, c.all, c.bad, Text(window))
}

func totalIn(s slo.Service, window time.Duration) string {
	if s.Source == slo.Queries {
		return own(s.Total, window)
	}
	c := countersOf(s)
	return fmt.Sprintf("sum(rate(%s{%s}[%s]))", c.requests, c.all, Text(window))
}

// own makes one series without labels of whatever a service's own query gives.
func own(query string, window time.Duration) string {
	return "sum(" + strings.ReplaceAll(strings.TrimSpace(query), slo.Window, Text(window)) + ")"
}
