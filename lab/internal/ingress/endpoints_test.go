package ingress

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestEndpoints(t *testing.T) {
	ready := sliceOf("a", "podinfo", true, "127.0.0.1:2")
	again := sliceOf("b", "podinfo", true, "127.0.0.1:2", "127.0.0.2:2")
	unready := sliceOf("c", "podinfo", false, "127.0.0.1:3")
	six := sliceOf("d", "podinfo", true, "[::1]:4")
	unknown := sliceOf("e", "podinfo", true, "127.0.0.1:5")
	unknown.Endpoints[0].Conditions.Ready = nil
	udp := sliceOf("f", "podinfo", true, "127.0.0.1:6")
	protocol := corev1.ProtocolUDP
	udp.Ports[0].Protocol = &protocol
	metrics := sliceOf("g", "podinfo", true, "127.0.0.1:7")
	name := "metrics"
	metrics.Ports[0].Name = &name
	evil := sliceOf("h", "podinfo", true, "127.0.0.1:8")
	evil.Endpoints[0].Addresses = []string{"127.0.0.1; return 200"}
	others := sliceOf("i", "other", true, "127.0.0.1:9")

	directory := newDirectory([]*corev1.Service{serviceOf("podinfo")},
		[]*discoveryv1.EndpointSlice{again, ready, unready, six, unknown, udp, metrics, evil, others})
	for name, c := range map[string]struct {
		port string
		want []string
	}{
		"by number":                {"80", []string{"127.0.0.1:2", "127.0.0.1:5", "127.0.0.2:2", "[::1]:4"}},
		"by name":                  {"http", []string{"127.0.0.1:2", "127.0.0.1:5", "127.0.0.2:2", "[::1]:4"}},
		"no such port has nothing": {"81", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := directory.endpoints(backend{"test", "podinfo", c.port}); !slices.Equal(got, c.want) {
				t.Errorf("endpoints %v, want %v", got, c.want)
			}
		})
	}
}
