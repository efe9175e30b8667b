// Package trace makes one trace of a rollout: spans for its steps, gates, verdicts and decisions, from its record alone. Pure.
package trace

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Span is one part of a rollout. Its ids are made from the rollout's, so that the same record always gives the same span, and
// one that is sent twice is there once.
type Span struct {
	ID         trace.SpanID
	Parent     trace.SpanID // zero: there is none
	Name       string
	Start, End time.Time // End is not before Start
	Attributes []attribute.KeyValue
	Events     []Event
	Error      string // why it failed; "": it did not
}

// Event is one moment in a span.
type Event struct {
	Name       string
	At         time.Time
	Attributes []attribute.KeyValue
}

// Trace is all spans of one rollout, the one of the whole first.
type Trace struct {
	ID    trace.TraceID
	Spans []Span
}

// Context is where the trace of the rollout with this id belongs: in that of the pipeline that sent it, by the traceparent that
// it passed (w3.org/TR/trace-context), else in one of its own. Sampled is false where the pipeline says that its trace is not recorded.
// Then the rollout's is not either: its spans would lead to nothing.
func Context(rollout, traceparent string) (id trace.TraceID, parent trace.SpanID, sampled bool) {
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	from := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	if from.IsValid() {
		return from.TraceID(), from.SpanID(), from.IsSampled()
	}
	sum := digest(rollout, "trace")
	copy(id[:], sum[:])
	return id, parent, true
}

func digest(id, part string) [sha256.Size]byte { return sha256.Sum256([]byte(id + "\n" + part)) }

// maxSpans bounds a trace: collectors refuse what is too big. A verdict that changes all day makes more; how it began and
// ended tells most.
const maxSpans = 1000

// Of is the trace of a rollout that has ended. Without ticks, as when they were pruned, it has no verdict but the last.
func Of(tape policy.Tape) Trace {
	r := tape.Rollout
	id, parent, _ := Context(r.ID, r.Revision.Traceparent)
	end := later(r.StartedAt, r.EndedAt)
	whole := Span{ID: spanID(r.ID, "rollout"), Parent: parent, Name: "rollout", Start: r.StartedAt, End: end, Attributes: about(r), Error: failure(r)}
	for _, f := range r.Failing {
		whole.Events = append(whole.Events, Event{Name: "failing request", At: f.At, Attributes: request(f)})
	}
	m := maker{rollout: r, parent: whole.ID, end: end}
	m.steps()
	m.gates()
	m.decisions()
	m.verdicts(tape)
	if more := len(m.spans) - maxSpans; more > 0 {
		m.spans = slices.Concat(m.spans[:maxSpans/2], m.spans[len(m.spans)-maxSpans/2:])
		whole.Attributes = append(whole.Attributes, attribute.Int("rollout.spans_left_out", more))
	}
	return Trace{ID: id, Spans: append([]Span{whole}, m.spans...)}
}

func spanID(id, part string) (span trace.SpanID) {
	sum := digest(id, part)
	copy(span[:], sum[:])
	return span
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// about are the attributes of the whole. Names with "rollout." are our own, the others are OpenTelemetry's
// (opentelemetry.io/docs/specs/semconv).
func about(r rollout.Rollout) []attribute.KeyValue {
	all := []attribute.KeyValue{
		semconv.K8SNamespaceName(r.Canary.Namespace),
		semconv.DeploymentName(r.Canary.String()),
		semconv.DeploymentID(r.ID),
		attribute.String("rollout.canary", r.Canary.Name),
		attribute.String("rollout.revision", r.Revision.Hash),
		attribute.String("rollout.stable.revision", r.Stable.Hash),
		attribute.String("rollout.stable.tag", r.Stable.Tag()),
		attribute.String("rollout.policy", r.Policy),
		attribute.String("rollout.result", string(r.Result)),
		attribute.String("rollout.reason", r.Summary()),
	}
	switch r.Result {
	case rollout.Promoted:
		all = append(all, semconv.DeploymentStatusSucceeded)
	case rollout.RolledBack, rollout.Aborted, rollout.Stuck:
		all = append(all, semconv.DeploymentStatusFailed)
	case rollout.Superseded: // neither
	}
	name, _, _ := strings.Cut(r.Revision.Image, "@")
	if tag := r.Revision.Tag(); tag != "" {
		name = strings.TrimSuffix(name, ":"+tag)
		all = append(all, semconv.ContainerImageTags(tag))
	}
	all = append(all, semconv.ContainerImageName(name))
	if r.Revision.DeployID != "" {
		all = append(all, attribute.String("rollout.deploy_id", r.Revision.DeployID))
	}
	if r.Revision.Commit != "" {
		all = append(all, semconv.VCSRefHeadRevision(r.Revision.Commit))
	}
	return all
}

// failure is why the whole failed, "" when it did not.
func failure(r rollout.Rollout) string {
	switch r.Result {
	case rollout.RolledBack, rollout.Aborted, rollout.Stuck:
		return r.Summary()
	default:
		return ""
	}
}

func request(f rollout.Failing) []attribute.KeyValue {
	known := []attribute.KeyValue{
		attribute.String("rollout.failing.trace_id", f.Trace),
		semconv.HTTPRoute(f.Route),
		attribute.String("http.response.status_code", f.Status),
	}
	if f.Seconds > 0 {
		known = append(known, attribute.Float64("rollout.failing.seconds", f.Seconds))
	}
	return known
}

// maker collects the spans below the whole.
type maker struct {
	rollout rollout.Rollout
	parent  trace.SpanID
	end     time.Time
	spans   []Span
}

// add adds a span, which ends with the whole where it has no end of its own. Part names it among all of the rollout.
func (m *maker) add(part string, s Span) {
	s.ID, s.Parent = spanID(m.rollout.ID, part), m.parent
	if s.End.IsZero() {
		s.End = m.end
	}
	s.End = later(s.Start, s.End)
	m.spans = append(m.spans, s)
}

func (m *maker) steps() {
	for i, s := range m.rollout.Steps {
		m.add(fmt.Sprintf("step %d", i), Span{
			Name: fmt.Sprintf("step %d %%", s.Weight), Start: s.From, End: s.To,
			Attributes: append(counts("canary", s.Canary), append(counts("primary", s.Primary), attribute.Int("rollout.weight", s.Weight))...),
		})
	}
}

func counts(version string, c rollout.Counts) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("rollout."+version+".requests", int64(min(c.Total(), math.MaxInt64))),
		attribute.Int64("rollout."+version+".errors", int64(min(c.Bad, math.MaxInt64))),
	}
}

func (m *maker) gates() {
	for i, h := range m.rollout.Held {
		attributes := []attribute.KeyValue{attribute.String("rollout.gate", h.Gate), attribute.String("rollout.stage", h.Stage), attribute.String("rollout.gate.why", h.Why)}
		if h.Opened != "" {
			attributes = append(attributes, attribute.String("rollout.gate.opened", h.Opened))
		}
		m.add(fmt.Sprintf("gate %d", i), Span{Name: "gate " + h.Gate, Start: h.From, End: h.To, Attributes: attributes})
	}
}

// decisions are moments.
func (m *maker) decisions() {
	for i, d := range m.rollout.Decisions {
		m.add(fmt.Sprintf("decision %d", i), Span{Name: "decision " + string(d.Kind), Start: d.At, End: d.At, Attributes: []attribute.KeyValue{
			attribute.String("rollout.decision", string(d.Kind)),
			attribute.String("rollout.decision.by", d.By),
			attribute.String("rollout.decision.via", d.Via),
			attribute.String("rollout.decision.text", d.Text()),
		}})
	}
}
