// Package slo holds the words of slo.yaml and the arithmetic of error budgets and burn rates.
package slo

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Source says whose counters an SLI is made of.
type Source string

const (
	// Ingress counts what users got: also the 502 and 503 of pods that never answered.
	Ingress Source = "ingress"
	// Pods counts what the pods answered.
	Pods Source = "pods"
	// Queries are the service's own.
	Queries Source = "queries"
)

// Spec is slo.yaml.
type Spec struct {
	Scrape   time.Duration // how often Prometheus reads the counters, as in its own configuration
	Services []Service
}

// Service is one service and what it promises.
type Service struct {
	Namespace string
	Canary    string // of Flagger, and of its Deployment and Ingress
	Name      string // of the objective
	Objective float64
	Period    time.Duration // whole days
	Source    Source
	Good      []string // status codes (304) or classes (2xx), not for Queries
	Errors    string   // PromQL with {{window}}, only for Queries
	Total     string   // likewise
	// MinRequests is how many requests an alert's long window must have for it to fire; 0 stands for 1/Budget, with
	// which one bad request alone is never too much.
	MinRequests float64
	Labels      map[string]string // added to this service's alerts
}

// Budget is the share of requests, 0 to 1, that may be bad. Rounded, so that 99.9 % gives 0.001 and not what floating
// point makes of it.
func (s Service) Budget() float64 { return round(1 - s.Objective/100) }

// Least is the number of requests in a window below which nothing is alerted.
func (s Service) Least() float64 {
	if s.MinRequests > 0 {
		return s.MinRequests
	}
	return math.Ceil(round(1 / s.Budget()))
}

// Service is Sloth's name of the service.
func (s Service) Service() string { return s.Namespace + "-" + s.Canary }

// ID is Sloth's name of the objective, one for the whole of Prometheus.
func (s Service) ID() string { return s.Service() + "-" + s.Name }

// Tier is one pair of windows that is alerted on.
type Tier struct {
	Name        string
	Page        bool          // somebody is to be woken
	Share       float64       // of the budget, spent in Long when the tier fires
	Long, Short time.Duration // Short makes it stop soon after the errors do
}

// Tiers are those of the Site Reliability Workbook, chapter 5, with the fourth that is customary; the strongest first.
func Tiers() []Tier {
	tiers := []Tier{
		{Name: "page-quick", Page: true, Share: 0.02, Long: time.Hour},
		{Name: "page-slow", Page: true, Share: 0.05, Long: 6 * time.Hour},
		{Name: "ticket-quick", Share: 0.10, Long: 24 * time.Hour},
		{Name: "ticket-slow", Share: 0.10, Long: 72 * time.Hour},
	}
	for i := range tiers {
		tiers[i].Short = tiers[i].Long / 12
	}
	return tiers
}

// Factor is the burn rate that spends Share of a period's budget in Long: how many times faster than evenly.
func (t Tier) Factor(period time.Duration) float64 {
	return round(t.Share * float64(period) / float64(t.Long))
}

// Windows are all windows that an SLI is recorded for, the period last.
func Windows(period time.Duration) []time.Duration {
	var all []time.Duration
	for _, t := range Tiers() {
		all = append(all, t.Short, t.Long)
	}
	slices.Sort(all)
	return append(slices.Compact(all), period)
}

func round(x float64) float64 { return math.Round(x*1e9) / 1e9 }

// FieldError says which field of slo.yaml is wrong.
type FieldError struct {
	Field string // services[1].objective
	Why   string
}

func (e FieldError) Error() string { return e.Field + ": " + e.Why }

// Evaluation is how often objectives are evaluated, or at each scrape where those are rarer: half a minute is a ninth of what
// the quickest page needs when all fails.
const Evaluation = 30 * time.Second

// Validate names all fields that are out of range.
func (s Spec) Validate() error {
	var wrong []error
	if s.Scrape < time.Second || s.Scrape > time.Minute {
		wrong = append(wrong, FieldError{"scrape", "must be from 1s to 1m, as in prometheus.yaml"})
	} else if s.Scrape < Evaluation && Evaluation%s.Scrape != 0 {
		wrong = append(wrong, FieldError{"scrape", "must divide " + Evaluation.String() + " or be more: between two evaluations there would now be one scrape more, now one less"})
	}
	if len(s.Services) == 0 {
		wrong = append(wrong, FieldError{"services", "needs at least one"})
	}
	ids, versions, names := map[string]bool{}, map[string]bool{}, map[string]string{}
	for i, one := range s.Services {
		field := func(name, why string, args ...any) {
			wrong = append(wrong, FieldError{fmt.Sprintf("services[%d].%s", i, name), fmt.Sprintf(why, args...)})
		}
		one.validate(field)
		if ids[one.ID()] {
			field("canary", "the objective %s stands there twice; give one another slo: name", one.ID())
		}
		ids[one.ID()] = true
		whole := one.Namespace + "/" + one.Canary
		if other, taken := names[one.Service()]; taken && other != whole {
			field("canary", "%s and %s would both be called %s: rename one", other, whole, one.Service())
		}
		names[one.Service()] = whole
		if one.Source != Queries {
			if versions[whole] {
				field("source", "only one objective of a Canary can have one; write errors and total for the other")
			}
			versions[whole] = true
		}
	}
	return errors.Join(wrong...)
}

func (s Service) validate(wrong func(field, why string, args ...any)) {
	for _, name := range [][2]string{{"namespace", s.Namespace}, {"canary", s.Canary}, {"slo", s.Name}} {
		if !isName(name[1]) {
			wrong(name[0], "%q is not a name of lower-case letters, digits and hyphens", name[1])
		}
	}
	if s.Period <= Tiers()[3].Long || s.Period%(24*time.Hour) != 0 {
		wrong("period", "must be whole days, at least 4d: an alert's window has 3d")
	}
	if s.Objective <= 0 || s.Objective >= 100 {
		wrong("objective", "must be a percentage between 0 and 100")
	} else if quick := Tiers()[0].Factor(s.Period); quick*s.Budget() >= 1 {
		// A burn that high would need more bad requests than there are requests.
		wrong("objective", "%v is too low: the quick page could never fire; use more than %.2f", s.Objective, 100*(1-1/quick))
	}
	if s.MinRequests < 0 {
		wrong("minRequests", "must not be negative")
	}
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		if slices.Contains(reserved(), label) || strings.HasPrefix(label, "sloth_") {
			wrong("labels", "%s is a label that the rules set themselves", label)
		}
	}
	s.validateSource(wrong)
}

func (s Service) validateSource(wrong func(field, why string, args ...any)) {
	switch s.Source {
	case Pods, Ingress:
		if s.Errors != "" || s.Total != "" {
			wrong("source", "leave it out where errors and total say what is counted")
		}
		if len(s.Good) == 0 {
			wrong("good", "needs at least one status, such as 2xx")
		}
		for _, status := range s.Good {
			if !isStatus(status) {
				wrong("good", "%q is neither a status code nor a class such as 2xx", status)
			}
		}
	case Queries:
		for _, query := range [][2]string{{"errors", s.Errors}, {"total", s.Total}} {
			if !strings.Contains(query[1], Window) {
				wrong(query[0], "needs a query with %s in it, such as rate(x_total[%s])", Window, Window)
			}
		}
	default:
		wrong("source", "%q is neither ingress nor pods", s.Source)
	}
}

// Window stands in a service's own queries where the window goes.
const Window = "{{window}}"

func reserved() []string {
	return []string{"alertname", "namespace", "canary", "severity", "tier", "long", "short"}
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-")
}

func isStatus(s string) bool {
	if len(s) != 3 || s[0] < '1' || s[0] > '5' {
		return false
	}
	return s[1:] == "xx" || strings.Trim(s[1:], "0123456789") == ""
}

// Percent is a share, 0 to 1, as a percentage.
func Percent(share float64) float64 { return round(100 * share) }
