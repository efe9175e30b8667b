package api

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/fire"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// Request asks for one attack. Its name is its key: letters, digits, '.', '-'
// and '_'. The fields of the shape are those of shape.Spec, times as text ("15m").
type Request struct {
	Name        string        `json:"name"`
	Targets     []fire.Target `json:"targets"`
	Shape       string        `json:"shape,omitempty"`
	Rate        float64       `json:"rate,omitempty"`
	To          float64       `json:"to,omitempty"`
	Steps       string        `json:"steps,omitempty"`
	Amplitude   float64       `json:"amplitude,omitempty"`
	Period      string        `json:"period,omitempty"`
	Samples     uint64        `json:"samples,omitempty"`
	Duration    string        `json:"duration,omitempty"`
	SeenQuery   string        `json:"seenQuery,omitempty"` // PromQL, for top-up; goes to the operator's Prometheus
	HTTP        string        `json:"http,omitempty"`      // auto, 1.1 or 2
	Connections int           `json:"connections,omitempty"`
	KeepAlive   *bool         `json:"keepAlive,omitempty"` // nil is true
}

// maxQuery is how long a seenQuery may be, in bytes.
const maxQuery = 4096

// kind is the shape's name, also when it is not written.
func (r Request) kind() string {
	if r.Shape == "" {
		return "constant"
	}
	return r.Shape
}

func (r Request) spec() (shape.Spec, error) {
	s := shape.Spec{
		Kind: r.Shape, Rate: r.Rate, To: r.To, Steps: r.Steps, Amplitude: r.Amplitude, Samples: r.Samples,
	}
	for _, span := range []struct {
		name, text string
		into       *time.Duration
	}{{"duration", r.Duration, &s.Duration}, {"period", r.Period, &s.Period}} {
		if span.text == "" {
			continue // whether it is needed is the shape's to say
		}
		d, err := time.ParseDuration(span.text)
		if err != nil {
			return s, refuse(invalid, "%s %.40q: write it like 15m or 90s", span.name, span.text)
		}
		*span.into = d
	}
	return s, nil
}

// differs names the fields of two requests that are not the same.
func differs(old, now Request) []string {
	fields := func(r Request) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		text, _ := json.Marshal(r) // of strings and numbers that came from JSON
		_ = json.Unmarshal(text, &m)
		return m
	}
	was, is := fields(old), fields(now)
	var names []string
	for _, name := range requestFields() {
		if string(was[name]) != string(is[name]) {
			names = append(names, name)
		}
	}
	return names
}

// requestFields are the names of Request's fields, but the name, in their order.
func requestFields() []string {
	return []string{
		"targets", "shape", "rate", "to", "steps", "amplitude", "period", "samples", "duration",
		"seenQuery", "http", "connections", "keepAlive",
	}
}

// wanted is a checked request: what it takes from the operator's limits.
type wanted struct {
	plan     fire.Plan
	rate     float64 // the highest, per second
	inFlight int
}

// plan checks everything about req that does not depend on other attacks.
func (a *Attacks) plan(req Request, parent trace.SpanContext) (wanted, error) {
	if !validName(req.Name, true) {
		return wanted{}, refuse(invalid, "name %.300q: 1 to 253 letters, digits, '.', '-' and '_'", req.Name)
	}
	spec, err := req.spec()
	if err != nil {
		return wanted{}, err
	}
	planned, err := shape.New(spec)
	if err != nil {
		return wanted{}, refuse(invalid, "%v", err)
	}
	w := wanted{rate: planned.Highest(), inFlight: a.inFlight(planned.Highest())}
	options := fire.Options{
		Timeout: a.cfg.Timeout, InFlight: w.inFlight, Connections: req.Connections, HTTP: req.HTTP, Proxy: a.cfg.Proxy,
		NoKeepAlive: req.KeepAlive != nil && !*req.KeepAlive,
		Tracing:     a.cfg.Tracing, Parent: parent,
	}
	if options.Seen, err = a.seen(req.SeenQuery); err != nil {
		return wanted{}, err
	}
	if w.plan, err = fire.NewPlan(req.Name, req.Targets, planned, options); err != nil {
		return wanted{}, refuse(invalid, "%v", err)
	}
	for _, target := range req.Targets {
		if err := a.allowed.check(target.URL); err != nil {
			return wanted{}, err
		}
	}
	switch {
	case planned.Duration() > a.cfg.MaxDuration:
		return wanted{}, refuse(forbidden, "duration %s: at most %s is allowed", planned.Duration(), a.cfg.MaxDuration)
	case req.Connections > a.cfg.MaxInFlight:
		return wanted{}, refuse(forbidden, "connections %d: at most %d are allowed", req.Connections, a.cfg.MaxInFlight)
	}
	return w, nil
}

// inFlight is how many requests can be under way at the highest rate when each
// takes the whole timeout: with as many the load stays open.
func (a *Attacks) inFlight(rate float64) int {
	return int(min(math.Ceil(rate*a.cfg.Timeout.Seconds()), float64(a.cfg.MaxInFlight)))
}

func (a *Attacks) seen(query string) (fire.Seen, error) {
	switch {
	case query == "":
		return nil, nil
	case len(query) > maxQuery:
		return nil, refuse(invalid, "seenQuery: is over %d bytes", maxQuery)
	case a.cfg.Seen == nil:
		return nil, refuse(forbidden, "seenQuery: there is no Prometheus to ask, the operator must set LOADGEN_PROMETHEUS_URL")
	}
	return func(ctx context.Context, elapsed time.Duration) (uint64, error) {
		return a.cfg.Seen(ctx, query, elapsed)
	}, nil
}

// request reads a hook's metadata. A key that nobody reads is refused: a misspelt
// host would send the load to another service.
func (p payload) request(name string) (Request, error) {
	req, target := Request{Name: name}, fire.Target{}
	host, targets, connections, keepAlive, samples := "", "", "", "", ""
	texts := map[string]*string{
		"url": &target.URL, "method": &target.Method, "host": &host, "targets": &targets,
		"shape": &req.Shape, "steps": &req.Steps, "period": &req.Period, "duration": &req.Duration,
		"seenQuery": &req.SeenQuery, "http": &req.HTTP,
		"connections": &connections, "keepAlive": &keepAlive, "samples": &samples,
	}
	numbers := map[string]*float64{"rate": &req.Rate, "to": &req.To, "amplitude": &req.Amplitude}
	for key, value := range p.Metadata {
		switch {
		case key == "name": // attackName has read it
		case texts[key] != nil:
			*texts[key] = value
		case numbers[key] != nil:
			number, err := strconv.ParseFloat(value, 64)
			if err != nil || math.IsNaN(number) {
				return Request{}, refuse(invalid, "metadata.%s %.40q: write requests per second, like 50", key, value)
			}
			*numbers[key] = number
		default:
			return Request{}, refuse(invalid, "metadata.%.40s: is not known, use name, url, method, host or %v", key, requestFields())
		}
	}
	if err := req.whole(connections, keepAlive, samples); err != nil {
		return Request{}, err
	}
	if targets != "" {
		if target.URL != "" || target.Method != "" || host != "" {
			return Request{}, refuse(invalid, "metadata.targets: names url, method and host itself, leave those keys out")
		}
		var err error
		if req.Targets, err = fire.ReadTargets(strings.NewReader(targets)); err != nil {
			return Request{}, refuse(invalid, "metadata.targets: %v", err)
		}
		return req, nil
	}
	if host != "" {
		target.Header = http.Header{"Host": {host}}
	}
	req.Targets = []fire.Target{target}
	return req, nil
}

// whole reads what is not text and not a rate; empty is not given.
func (r *Request) whole(connections, keepAlive, samples string) error {
	if connections != "" {
		n, err := strconv.Atoi(connections)
		if err != nil {
			return refuse(invalid, "metadata.connections %.40q: write a whole number", connections)
		}
		r.Connections = n
	}
	if keepAlive != "" {
		keep, err := strconv.ParseBool(keepAlive)
		if err != nil {
			return refuse(invalid, "metadata.keepAlive %.40q: write true or false", keepAlive)
		}
		r.KeepAlive = &keep
	}
	if samples != "" {
		n, err := strconv.ParseUint(samples, 10, 64)
		if err != nil {
			return refuse(invalid, "metadata.samples %.40q: write a whole number", samples)
		}
		r.Samples = n
	}
	return nil
}
