package trace

import (
	"fmt"
	"math"

	"go.opentelemetry.io/otel/attribute"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// verdicts has a span for each time in which the outcome and its strongest reason were the same. What was in it beside these
// comes from judging the ticks again; where that gives another verdict, as by another version of the gatekeeper, it is left
// out.
func (m *maker) verdicts(tape policy.Tape) {
	if len(tape.Ticks) == 0 {
		if v := tape.Rollout.Verdict; v.Outcome != "" {
			m.verdict(0, v)
		}
		return
	}
	n := 0
	for i, v := range policy.Replay(tape.Rules, tape.Rollout, tape.Ticks) {
		recorded := tape.Ticks[i]
		if i > 0 && recorded.Outcome == tape.Ticks[i-1].Outcome && recorded.Reason == tape.Ticks[i-1].Reason || recorded.Outcome == "" {
			continue
		}
		if rollout.Judge(recorded.Tick, v).Digest != recorded.Digest {
			v = rollout.Verdict{Outcome: recorded.Outcome, Reasons: []rollout.Reason{{Kind: recorded.Reason}}}
		}
		v.At = recorded.Tick.At // a fail keeps the time at which it came
		m.verdict(n, v)
		n++
	}
}

// verdict adds a span that lasts until the next one's, and ends the one before.
func (m *maker) verdict(n int, v rollout.Verdict) {
	if n > 0 {
		m.spans[len(m.spans)-1].End = later(m.spans[len(m.spans)-1].Start, v.At)
	}
	s := Span{Name: "verdict " + string(v.Outcome), Start: v.At, Attributes: []attribute.KeyValue{
		attribute.String("rollout.verdict", string(v.Outcome)), attribute.String("rollout.verdict.kind", v.Kind()),
	}}
	var texts []string
	for _, reason := range v.Reasons {
		if reason.Text != "" {
			texts = append(texts, reason.Kind+": "+reason.Text)
		}
	}
	if len(texts) > 0 {
		s.Attributes = append(s.Attributes, attribute.StringSlice("rollout.verdict.reasons", texts))
	}
	s.Attributes = append(s.Attributes, evidence(v.Evidence)...)
	if v.Outcome == rollout.Fail {
		s.Error = v.Text()
		if s.Error == "" {
			s.Error = v.Kind()
		}
	}
	m.add(fmt.Sprintf("verdict %d", n), s)
}

// evidence is in numbers what a verdict rests on: logarithms as in the API, shares 0 to 1.
func evidence(a *rollout.Assessment) []attribute.KeyValue {
	if a == nil {
		return nil
	}
	var all []attribute.KeyValue
	for _, n := range []struct {
		name  string
		value float64
	}{
		{"log_slo", a.LogSLO},
		{"log_compare", a.LogCompare},
		{"log_primary", a.LogPrimary},
		{"log_latency", a.LogLatency},
		{"log_line", a.LogLine},
		{"rate", a.Rate},
		{"lower", a.Lower},
		{"upper", a.Upper},
		{"primary_rate", a.PrimaryRate},
		{"allowed_weight", a.AllowedWeight},
		{"requests_needed", a.RequestsNeeded},
	} {
		if !math.IsNaN(n.value) && !math.IsInf(n.value, 0) {
			all = append(all, attribute.Float64("rollout.evidence."+n.name, n.value))
		}
	}
	return all
}
