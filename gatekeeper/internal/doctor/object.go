package doctor

import (
	"strings"
	"time"
)

// Object is a Kubernetes object as decoded JSON. Reading from what is not there gives the zero value.
type Object map[string]any

func (o Object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func (o Object) number(path ...string) float64 { return number(o.at(path...)) }

func (o Object) yes(path ...string) bool {
	b, _ := o.at(path...).(bool)
	return b
}

func (o Object) has(path ...string) bool { return o.at(path...) != nil }

func (o Object) object(path ...string) Object {
	m, _ := o.at(path...).(map[string]any)
	return m
}

// list are the elements that are objects themselves.
func (o Object) list(path ...string) (all []Object) {
	elements, _ := o.at(path...).([]any)
	for _, e := range elements {
		if m, ok := e.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// numbers are the elements that are numbers.
func (o Object) numbers(path ...string) (all []float64) {
	elements, _ := o.at(path...).([]any)
	for _, e := range elements {
		all = append(all, number(e))
	}
	return all
}

func (o Object) duration(otherwise time.Duration, path ...string) time.Duration {
	d, err := time.ParseDuration(o.Text(path...))
	if err != nil {
		return otherwise
	}
	return d
}

func (o Object) time(path ...string) time.Time {
	t, _ := time.Parse(time.RFC3339, o.Text(path...)) // zero when it is none
	return t
}

// Text is the string at a path, "" where there is none.
func (o Object) Text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o Object) name() string      { return o.Text("metadata", "name") }
func (o Object) namespace() string { return o.Text("metadata", "namespace") }

// number reads what the two decoders of Kubernetes objects make of a JSON number.
func number(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case float64:
		return n
	default:
		return 0
	}
}

// Name is the Canary's.
func (p Patient) Name() string { return p.Canary.name() }

// Namespace is the Canary's.
func (p Patient) Namespace() string { return p.Canary.namespace() }

// Policy is the name of the policy that judges: that of the first hook that names one.
func (p Patient) Policy() string {
	if names := p.policyNames(); len(names) > 0 {
		return names[0]
	}
	return "default"
}

// The names that Flagger derives from a Canary.

func (p Patient) target() string { return p.Canary.Text("spec", "targetRef", "name") }

func (p Patient) apex() string {
	if name := p.Canary.Text("spec", "service", "name"); name != "" {
		return name
	}
	return p.target()
}

func (p Patient) phase() string    { return p.Canary.Text("status", "phase") }
func (p Patient) provider() string { return p.Canary.Text("spec", "provider") }
func (p Patient) ingress() string  { return p.Canary.Text("spec", "ingressRef", "name") }

// nginx reports whether an ingress splits the traffic. Without a provider it is Flagger's own, and only nginx needs an
// ingressRef.
func (p Patient) nginx() bool {
	return p.provider() == "nginx" || p.provider() == "" && p.ingress() != ""
}

func (p Patient) gateway() bool { return strings.HasPrefix(p.provider(), "gatewayapi") }

// missing reports whether an object is not there for sure.
func (p Patient) missing(kind string, o Object) bool { return o == nil && p.Unread[kind] == "" }

// interval is how often Flagger looks, as it reads the field.
func (p Patient) interval() time.Duration {
	return max(p.Canary.duration(time.Minute, "spec", "analysis", "interval"), leastInterval)
}

// threshold is at how many failed checks Flagger rolls back.
func (p Patient) threshold() int {
	return max(1, int(p.Canary.number("spec", "analysis", "threshold")))
}

// leastInterval is Flagger's smallest.
const leastInterval = 10 * time.Second
