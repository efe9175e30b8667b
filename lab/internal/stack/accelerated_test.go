package stack

import (
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

func TestAcceleratedRulesTakeThePlaceOfTheRealOnes(t *testing.T) {
	s := newWorld(t).stack(Config{})
	real, err := s.monitoring().text()
	if err != nil {
		t.Fatal(err)
	}
	accelerated, err := s.accelerated()
	if err != nil {
		t.Fatal(err)
	}
	for text, only := range map[string]bool{
		// The long window of the quick page: an hour, and a thirtieth of it. It stands in the counters' selector.
		"status!~\"2..\"}[1h]": false, "status!~\"2..\"}[2m]": true,
	} {
		if strings.Contains(string(real), text) == only || strings.Contains(string(accelerated), text) != only {
			t.Errorf("%q must be in the accelerated manifests: %t, and not in the others", text, only)
		}
	}
	objects, _, err := s.monitoring().objects()
	if err != nil {
		t.Fatal(err)
	}
	place := func(object string) int {
		return slices.IndexFunc(objects, func(o *kube.Object) bool { return kube.Name(o) == object })
	}
	if config, pod := place("ConfigMap monitoring/prometheus"), place("Deployment monitoring/prometheus"); config < 0 || pod < config {
		t.Errorf("the Deployment is number %d and what its pod reads number %d: that must come first", pod, config)
	}
	pod := func(manifests []byte) string {
		_, rest, _ := strings.Cut(string(manifests), "lab/configuration: ")
		sum, _, _ := strings.Cut(rest, "\n")
		return sum
	}
	if a, b := pod(real), pod(accelerated); a == "" || b == "" || a == b {
		t.Errorf("Prometheus' pods have the digests %q and %q: other rules must start another pod, or they are not read", a, b)
	}
}
