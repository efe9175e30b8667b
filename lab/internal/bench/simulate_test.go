package bench

import (
	"maps"
	"testing"
)

func TestFalseRollbacks(t *testing.T) {
	got, err := falseRollbacks([]byte(`{"results": [
		{"judge": "gatekeeper, policy default", "errorRate": 0.001, "runs": 200, "rolledBack": 1},
		{"judge": "gatekeeper, policy default", "errorRate": 0.005, "runs": 200, "rolledBack": 9},
		{"judge": "Flagger alone, 10s × 1", "errorRate": 0.001, "runs": 200, "rolledBack": 170}
	]}`))
	want := map[string]float64{"default": 0.5, "braked": 0.5, "Flagger alone, 10s × 1": 85}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := falseRollbacks([]byte("no JSON")); err == nil {
		t.Error("what is no JSON was read")
	}
}
