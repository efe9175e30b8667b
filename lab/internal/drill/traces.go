package drill

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sentAfter is how much later than its end a rollout's trace may arrive.
const sentAfter = 30 * time.Second

// span is one that the receiver got, as far as the proof reads it.
type span struct {
	Trace   string `json:"traceId"`
	ID      string `json:"spanId"`
	Parent  string `json:"parentSpanId"`
	Service string `json:"service"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Error   bool   `json:"error"`
}

// pipelineSpan is the span of the pipeline that makes a release, from which the release's trace goes on.
type pipelineSpan struct{ trace, id string }

func pipelineOf(deployID string) pipelineSpan {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(deployID)))
	return pipelineSpan{trace: sum[:32], id: sum[32:48]}
}

// traceparent is the span as pipelines hand it on: w3.org/TR/trace-context, recorded.
func (p pipelineSpan) traceparent() string { return "00-" + p.trace + "-" + p.id + "-01" }

// Traced is what the receiver got of one release's traces.
type Traced struct {
	Spans   int `json:"spans"`   // of the rollout, in the pipeline's trace
	Failing int `json:"failing"` // requests of the canary that failed and that the gatekeeper links
}

// spans are those of a trace that have arrived.
func (d *Drill) spans(ctx context.Context, trace string) (list []span, err error) {
	err = d.call(ctx, http.MethodGet, "receiver", "http", "/spans?"+url.Values{"trace": {trace}}.Encode(), nil, &list, http.StatusOK)
	return list, err
}

// traced compares the traces that arrived with the release: the rollout goes on from the pipeline's span, and each failing
// request that the gatekeeper links is one that the app says it answered badly.
func (d *Drill) traced(ctx context.Context, s Scenario, r rollout, result *Result) (misses []string, err error) {
	parent := pipelineOf(d.deployID(s))
	var all []span
	end := time.Now().Add(sentAfter)
	err = d.until(ctx, func(ctx context.Context) (bool, error) {
		var err error
		all, err = d.spans(ctx, parent.trace)
		misses = oneTrace(all, parent, s)
		return len(misses) == 0 || time.Now().After(end), err
	})
	if err != nil {
		return nil, err
	}
	result.Traced = &Traced{Spans: len(all), Failing: len(r.Failing)}
	if s.result == rolledBack && len(r.Failing) == 0 {
		misses = append(misses, "the gatekeeper links no failing request")
	}
	for _, f := range r.Failing {
		of, err := d.spans(ctx, f.Trace)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(of, func(s span) bool { return s.Service == d.Name && s.Kind == "SPAN_KIND_SERVER" && s.Error }) {
			misses = append(misses, fmt.Sprintf("the gatekeeper links trace %s, but no span of %s with an error came in it", f.Trace, d.Name))
		}
	}
	return misses, nil
}

// oneTrace is what is missing of a rollout's trace, which goes on from the pipeline's span.
func oneTrace(all []span, parent pipelineSpan, s Scenario) (misses []string) {
	whole := slices.IndexFunc(all, func(s span) bool { return s.Name == "rollout" && s.Parent == parent.id })
	if whole < 0 {
		return []string{fmt.Sprintf("no span of a rollout with the pipeline's as its parent came in trace %s", parent.trace)}
	}
	root := all[whole]
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(s span) bool {
			return s.Parent == root.ID && s.Service == "gatekeeper" && strings.HasPrefix(s.Name, name)
		})
	}
	wants := []string{"step 10 %", "verdict hold", "verdict pass"}
	if s.result == promoted {
		wants = append(wants, "step 25 %", "step 50 %", "step 100 %")
	} else {
		wants = append(wants, "verdict fail")
	}
	for _, name := range wants {
		if !has(name) {
			misses = append(misses, fmt.Sprintf("the rollout's trace %s has no span %q", parent.trace, name))
		}
	}
	if root.Error != (s.result == rolledBack) {
		misses = append(misses, fmt.Sprintf("the status of the rollout's span is error: %t, and it was %s", root.Error, s.result))
	}
	return misses
}
