package drill

import (
	"regexp"
	"slices"
	"testing"
)

func TestOneTrace(t *testing.T) {
	parent := pipelineOf("lab-1")
	if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(parent.traceparent()) {
		t.Errorf("traceparent is %q", parent.traceparent())
	}
	if other := pipelineOf("lab-2"); other.trace == parent.trace || other.id == parent.id {
		t.Error("two releases have the same trace")
	}
	child := func(name string) span { return span{Parent: "r", Service: "gatekeeper", Name: name} }
	whole := []span{
		{ID: "r", Parent: parent.id, Service: "gatekeeper", Name: "rollout"},
		child("step 10 %"), child("step 25 %"), child("step 50 %"), child("step 100 %"), child("verdict hold"), child("verdict pass"),
	}
	failed := slices.Clone(whole)
	failed[0].Error = true
	good, bad := Scenario{result: promoted}, Scenario{result: rolledBack}
	for name, c := range map[string]struct {
		s     Scenario
		spans []span
		miss  string
	}{
		"all of a promotion":          {good, whole, ""},
		"all of a rollback":           {bad, append(slices.Clone(failed), child("verdict fail")), ""},
		"nothing":                     {good, nil, "no span of a rollout"},
		"another parent":              {good, append([]span{{ID: "r", Parent: "x", Name: "rollout"}}, whole[1:]...), "no span of a rollout"},
		"a step is not there":         {good, whole[:4], `no span "step 100 %"`},
		"a rollback without its fail": {bad, failed, `no span "verdict fail"`},
		"a promotion with an error":   {good, failed, "error: true"},
	} {
		t.Run(name, func(t *testing.T) { wantMiss(t, oneTrace(c.spans, parent, c.s), c.miss) })
	}
}
