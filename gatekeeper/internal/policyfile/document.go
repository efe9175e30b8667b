package policyfile

import (
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/invopop/jsonschema"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// document is the YAML form of policy.Rules. Its tags are the JSON schema, which knows every range that one field has by
// itself; policy.Rules.Validate has the same ranges and those between fields.
type document struct {
	Name       string     `json:"name" jsonschema:"required,maxLength=63,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"By which Canaries choose the policy, in the hooks' metadata. The one named default is for those that choose none."`
	SLO        slo        `json:"slo" jsonschema_description:"What the service promises."`
	Metrics    metrics    `json:"metrics" jsonschema_description:"By which names the pods' metrics are read."`
	FailFast   failFast   `json:"failFast" jsonschema_description:"The hard limit in the first minutes."`
	Bake       bake       `json:"bake" jsonschema_description:"Least time at a weight."`
	Evidence   evidence   `json:"evidence" jsonschema_description:"Where counts come from and how long to wait for enough of them."`
	Confidence confidence `json:"confidence" jsonschema_description:"How often a good release may be rolled back."`
	Ramp       ramp       `json:"ramp" jsonschema_description:"How much risk may be taken while traffic grows."`
	Baseline   baseline   `json:"baseline" jsonschema_description:"The comparison with the primary."`
	Latency    *latency   `json:"latency,omitempty" jsonschema_description:"Limits of response times; none are judged without it."`
	Budget     *budget    `json:"budget,omitempty" jsonschema_description:"Limits by the service's error budget; none without it."`
	Gates      gates      `json:"gates" jsonschema_description:"What people, calendars and other services control."`
	Brake      brake      `json:"brake" jsonschema_description:"Whether the gatekeeper itself may set the canary's weight to 0: never, when the verdict is fail, or also when Flagger stops calling."`
	Notify     []notify   `json:"notify" jsonschema_description:"Which sinks are told; empty: all, of what each asks for itself."`
}

type notify struct {
	Sink string      `json:"sink" jsonschema:"required,maxLength=63,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"Name of a sink of the sinks file."`
	On   []happening `json:"on,omitempty" jsonschema:"uniqueItems=true" jsonschema_description:"What it is told of; empty: of what it asks for itself."`
}

type slo struct {
	Objective float64  `json:"objective" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=100" jsonschema_description:"Percent of responses that must be good."`
	Good      []status `json:"good" jsonschema:"minItems=1" jsonschema_description:"Status classes (2xx) and codes (404) that are good."`
}

type metrics struct {
	Requests string `json:"requests" jsonschema:"pattern=^[a-zA-Z_:][a-zA-Z0-9_:]*$" jsonschema_description:"Counter of responses."`
	Status   string `json:"status" jsonschema:"pattern=^[a-zA-Z_][a-zA-Z0-9_]*$" jsonschema_description:"Label of requests that holds the status code."`
	Duration string `json:"duration" jsonschema:"pattern=^[a-zA-Z_:][a-zA-Z0-9_:]*$" jsonschema_description:"Histogram of response times in seconds."`
	Match    labels `json:"match" jsonschema_description:"Labels that a series must have to count."`
}

type failFast struct {
	ErrorRate float64     `json:"errorRate" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=100" jsonschema_description:"Percent of bad responses over which the rollout fails when the first minutes are over."`
	Within    duration    `json:"within" jsonschema_description:"The first minutes, counted from the first traffic, 1s to 1d."`
	Mode      policy.Mode `json:"mode" jsonschema:"enum=literal,enum=guarded,enum=strict" jsonschema_description:"literal: as it stands from evidence.minRequests on, below only with evidence of 10 : 1; guarded: always with that evidence; strict: never."`
}

type bake struct {
	First duration `json:"first" jsonschema_description:"At the first weight, up to 1d."`
	Step  duration `json:"step" jsonschema_description:"At each later weight, up to 1d."`
}

type evidence struct {
	Source      []policy.Source    `json:"source" jsonschema:"enum=pods,enum=ingress,uniqueItems=true" jsonschema_description:"Who counts: the pods, the ingress controller; empty: all that the gatekeeper has."`
	MinRequests uint64             `json:"minRequests" jsonschema:"minimum=1,maximum=999999" jsonschema_description:"Canary requests from which failFast is taken literally."`
	OnTooLittle policy.OnTooLittle `json:"onTooLittle" jsonschema:"enum=hold,enum=fail" jsonschema_description:"What follows after maxHold: hold on and tell people, unless the objective is not kept, or fail in any case."`
	MaxHold     duration           `json:"maxHold" jsonschema_description:"How long a rollout may be held at one weight after its bake time, 1s to 7d."`
}

type confidence struct {
	FalseRollback float64  `json:"falseRollback" jsonschema:"exclusiveMinimum=0,maximum=10" jsonschema_description:"Percent of good rollouts that may be rolled back, however often they are looked at."`
	Block         duration `json:"block" jsonschema_description:"How often a bet is placed, 500ms to 1m: errors that come within one block count as one piece of bad luck."`
	Dispersion    float64  `json:"dispersion" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Size of the clusters in which errors come; widens the bounds that let traffic grow."`
}

type ramp struct {
	RiskBurn float64 `json:"riskBurn" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Traffic grows while weight × upper bound of the error rate is at most this many times the rate that the objective allows."`
	Miss     float64 `json:"miss" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=50" jsonschema_description:"Percent chance that the upper bound is too low."`
}

type baseline struct {
	Margin float64 `json:"margin" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Percentage points by which the canary must be worse than the primary to fail by the comparison."`
}

type latency struct {
	Quantile float64  `json:"quantile" jsonschema:"required,minimum=50,maximum=99.99" jsonschema_description:"Percent of responses that must keep the limits."`
	Max      duration `json:"max,omitempty" jsonschema:"anyof_required=max" jsonschema_description:"Longest response time, 1ms to 10m; 0s: no limit."`
	WorseBy  float64  `json:"worseBy,omitempty" jsonschema:"anyof_required=worseBy,minimum=0,maximum=1000" jsonschema_description:"Percent by which the canary may be slower than the primary; 0: not compared."`
}

type budget struct {
	Window       duration `json:"window" jsonschema:"required" jsonschema_description:"Time over which the budget is counted, 1h to 90d."`
	MinRemaining float64  `json:"minRemaining,omitempty" jsonschema:"anyof_required=minRemaining,minimum=0,maximum=100" jsonschema_description:"Percent of the budget that must be left for a rollout to start; 0: no limit."`
	PerRollout   float64  `json:"perRollout,omitempty" jsonschema:"anyof_required=perRollout,minimum=0,maximum=100" jsonschema_description:"Percent of the budget that one rollout may spend before it is held; 0: no limit."`
}

type gates struct {
	Approval    policy.Approval `json:"approval" jsonschema:"enum=none,enum=start,enum=promotion,enum=both" jsonschema_description:"What a person must approve."`
	ApprovalTTL duration        `json:"approvalTTL" jsonschema_description:"How long an approval holds, 1m to 30d; 0s: as long as the rollout."`
	Freeze      []freeze        `json:"freeze" jsonschema_description:"Times in which no rollout starts and none is promoted."`
	InFlight    policy.InFlight `json:"inFlight" jsonschema:"enum=unlimited,enum=namespace,enum=policy" jsonschema_description:"Within what only one rollout may be under way."`
	DependsOn   []string        `json:"dependsOn" jsonschema:"uniqueItems=true,pattern=^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$" jsonschema_description:"Canaries, name or namespace/name, that must not be under way or failed when a rollout starts."`
	Alerts      labels          `json:"alerts" jsonschema_description:"Labels; an alert that fires and has them all holds the rollout."`
}

type freeze struct {
	From   moment   `json:"from" jsonschema:"required" jsonschema_description:"Time of the week (Fri 16:00) or date (2026-12-24 00:00)."`
	To     moment   `json:"to" jsonschema:"required" jsonschema_description:"The same kind; not included."`
	Zone   string   `json:"zone" jsonschema:"required,minLength=1" jsonschema_description:"IANA time zone by whose clocks from and to are read."`
	Except []string `json:"except,omitempty" jsonschema:"pattern=\\S" jsonschema_description:"Kinds of change that go on, as the pod template's annotation rollout.monitoring/change names them."`
}

// happening is a word of a closed list.
type happening rollout.Happening

func (happening) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: convert(nil, rollout.Happenings(), func(h rollout.Happening) any { return string(h) })}
}

func happenings(all []happening) []rollout.Happening {
	return convert(nil, all, func(h happening) rollout.Happening { return rollout.Happening(h) })
}

// moment is text that the schema knows the form of.
type moment string

func (moment) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^((Mon|Tue|Wed|Thu|Fri|Sat|Sun)|[0-9]{4}-[0-9]{2}-[0-9]{2}) [0-9]{2}:[0-9]{2}$`}
}

// labels are names and values as Prometheus has them.
type labels map[string]string

func (labels) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", AdditionalProperties: jsonschema.FalseSchema,
		PatternProperties: map[string]*jsonschema.Schema{"^[a-zA-Z_][a-zA-Z0-9_]*$": {Type: "string", MinLength: new(uint64(1))}},
	}
}

// duration is a time.Duration as Prometheus writes it, in whole numbers with weeks and days.
type duration time.Duration

// UnmarshalYAML reads the node itself, so that the error has its place.
func (d *duration) UnmarshalYAML(node ast.Node) error {
	text, isText := node.(*ast.StringNode)
	if isText {
		if parsed, err := model.ParseDuration(text.Value); err == nil {
			*d = duration(parsed)
			return nil
		}
	}
	return misread(node, "is not a duration such as 90s, 5m, 1h30m or 30d")
}

// MarshalText writes it in the same form.
func (d duration) MarshalText() ([]byte, error) { return []byte(model.Duration(d).String()), nil }

// JSONSchema has the form; the ranges are in the descriptions, a schema can not compare durations.
func (duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", MinLength: new(uint64(1)),
		Pattern: "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
	}
}

// status is a class or code; a code may be written as the number that it is.
type status string

// UnmarshalYAML takes 404 for "404".
func (s *status) UnmarshalYAML(node ast.Node) error {
	switch node := node.(type) {
	case *ast.StringNode:
		*s = status(node.Value)
	case *ast.IntegerNode:
		*s = status(node.GetToken().Value)
	default:
		return misread(node, "is neither a class (2xx) nor a status code (204)")
	}
	return nil
}

func (status) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", Pattern: "^[1-5](xx|[0-9]{2})$"}, {Type: "integer", Minimum: "100", Maximum: "599"},
	}}
}

// brake is a word that YAML 1.1, and so Helm, takes for a boolean when it is off or on.
type brake policy.Brake

// UnmarshalYAML reads the word or what Helm makes of it.
func (b *brake) UnmarshalYAML(node ast.Node) error {
	switch node := node.(type) {
	case *ast.StringNode:
		*b = brake(node.Value)
	case *ast.BoolNode:
		*b = brake(policy.BrakeOff)
		if node.Value {
			*b = brake(policy.BrakeOn)
		}
	default:
		return misread(node, "is none of off, on, always")
	}
	return nil
}

func (brake) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Enum: []any{"off", "on", "always", false, true}}
}

// misread has the place of what was written.
func misread(node ast.Node, text string) error {
	return &yaml.SyntaxError{Message: strings.TrimSpace(node.String()) + " " + text, Token: node.GetToken()}
}

// fromRules has no nil list and no nil map, which JSON would write as null.
func fromRules(r policy.Rules) document {
	d := document{
		Name:       r.Name,
		SLO:        slo{Objective: r.SLO.Objective, Good: convert([]status{}, r.SLO.Good, func(s string) status { return status(s) })},
		Metrics:    metrics{r.Metrics.Requests, r.Metrics.Status, r.Metrics.Duration, filled(r.Metrics.Match)},
		FailFast:   failFast{r.FailFast.ErrorRate, duration(r.FailFast.Within), r.FailFast.Mode},
		Bake:       bake{duration(r.Bake.First), duration(r.Bake.Step)},
		Evidence:   evidence{append([]policy.Source{}, r.Evidence.Source...), r.Evidence.MinRequests, r.Evidence.OnTooLittle, duration(r.Evidence.MaxHold)},
		Confidence: confidence{r.Confidence.FalseRollback, duration(r.Confidence.Block), r.Confidence.Dispersion},
		Ramp:       ramp(r.Ramp),
		Baseline:   baseline(r.Baseline),
		Gates: gates{
			Approval: r.Gates.Approval, ApprovalTTL: duration(r.Gates.ApprovalTTL), InFlight: r.Gates.InFlight,
			DependsOn: append([]string{}, r.Gates.DependsOn...), Alerts: filled(r.Gates.Alerts),
			Freeze: convert([]freeze{}, r.Gates.Freeze, func(f policy.Freeze) freeze { return freeze{moment(f.From), moment(f.To), f.Zone, f.Except} }),
		},
		Brake: brake(r.Brake),
		Notify: convert([]notify{}, r.Notify, func(n policy.Notify) notify {
			return notify{n.Sink, convert(nil, n.On, func(h rollout.Happening) happening { return happening(h) })}
		}),
	}
	if l := r.Latency; l != nil {
		d.Latency = &latency{l.Quantile, duration(l.Max), l.WorseBy}
	}
	if b := r.Budget; b != nil {
		d.Budget = &budget{duration(b.Window), b.MinRemaining, b.PerRollout}
	}
	return d
}

// rules has nil for what is empty: an empty list and none are the same policy.
func (d document) rules() policy.Rules {
	r := policy.Rules{
		Name:       d.Name,
		SLO:        policy.SLO{Objective: d.SLO.Objective, Good: convert(nil, d.SLO.Good, func(s status) string { return string(s) })},
		Metrics:    policy.Metrics{Requests: d.Metrics.Requests, Status: d.Metrics.Status, Duration: d.Metrics.Duration, Match: orNil(d.Metrics.Match)},
		FailFast:   policy.FailFast{ErrorRate: d.FailFast.ErrorRate, Within: time.Duration(d.FailFast.Within), Mode: d.FailFast.Mode},
		Bake:       policy.Bake{First: time.Duration(d.Bake.First), Step: time.Duration(d.Bake.Step)},
		Evidence:   policy.Evidence{Source: append([]policy.Source(nil), d.Evidence.Source...), MinRequests: d.Evidence.MinRequests, OnTooLittle: d.Evidence.OnTooLittle, MaxHold: time.Duration(d.Evidence.MaxHold)},
		Confidence: policy.Confidence{FalseRollback: d.Confidence.FalseRollback, Block: time.Duration(d.Confidence.Block), Dispersion: d.Confidence.Dispersion},
		Ramp:       policy.Ramp(d.Ramp),
		Baseline:   policy.Baseline(d.Baseline),
		Gates: policy.GateRules{
			Approval: d.Gates.Approval, ApprovalTTL: time.Duration(d.Gates.ApprovalTTL), InFlight: d.Gates.InFlight,
			DependsOn: append([]string(nil), d.Gates.DependsOn...), Alerts: orNil(d.Gates.Alerts),
			Freeze: convert(nil, d.Gates.Freeze, func(f freeze) policy.Freeze {
				return policy.Freeze{From: string(f.From), To: string(f.To), Zone: f.Zone, Except: f.Except}
			}),
		},
		Brake:  policy.Brake(d.Brake),
		Notify: convert(nil, d.Notify, func(n notify) policy.Notify { return policy.Notify{Sink: n.Sink, On: happenings(n.On)} }),
	}
	if l := d.Latency; l != nil {
		r.Latency = &policy.Latency{Quantile: l.Quantile, Max: time.Duration(l.Max), WorseBy: l.WorseBy}
	}
	if b := d.Budget; b != nil {
		r.Budget = &policy.Budget{Window: time.Duration(b.Window), MinRemaining: b.MinRemaining, PerRollout: b.PerRollout}
	}
	return r
}

// convert appends all of one kind to a list of the other.
func convert[A, B any](list []B, all []A, one func(A) B) []B {
	for _, a := range all {
		list = append(list, one(a))
	}
	return list
}

func filled(m map[string]string) labels {
	if m == nil {
		return labels{}
	}
	return m
}

func orNil(m labels) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}
