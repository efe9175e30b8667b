package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Ports of pods on the host: below those an operating system hands out by itself.
const (
	firstPort = 20000
	portCount = 10000
)

// scrapePort names the container port Prometheus reads from; it must name the host's instead.
const scrapePort = "prometheus.io/port"

// portBook knows the host ports in use by pods.
type portBook struct {
	mu   sync.Mutex
	next int
	used map[int32]bool
}

func newPortBook() *portBook {
	// A second lab on this machine begins elsewhere.
	return &portBook{next: rand.IntN(portCount), used: map[int32]bool{}}
}

// take returns a port nobody listens on, on loopback or on all addresses.
func (b *portBook) take(ctx context.Context) (int32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range portCount {
		port := int32(firstPort + b.next)
		b.next = (b.next + 1) % portCount
		if !b.used[port] && bindable(ctx, loopback, port) && bindable(ctx, "", port) {
			b.used[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port in %d-%d: none left", firstPort, firstPort+portCount-1)
}

func (b *portBook) free(ports map[int32]int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, port := range ports {
		delete(b.used, port)
	}
}

func bindable(ctx context.Context, host string, port int32) bool {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// containerPorts are all ports the pod's containers declare, each once: they share one network.
func containerPorts(pod *corev1.Pod) []int32 {
	var ports []int32
	seen := map[int32]bool{}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if !seen[p.ContainerPort] {
				seen[p.ContainerPort] = true
				ports = append(ports, p.ContainerPort)
			}
		}
	}
	return ports
}

// fixedPorts are the host ports a pod asks for itself, by container port.
func fixedPorts(pod *corev1.Pod) map[int32]int32 {
	fixed := map[int32]int32{}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				fixed[p.ContainerPort] = p.HostPort
			}
		}
	}
	return fixed
}

// writePorts writes the host ports into the pod.
func writePorts(pod *corev1.Pod, ports map[int32]int32) {
	for i := range pod.Spec.Containers {
		for j := range pod.Spec.Containers[i].Ports {
			p := &pod.Spec.Containers[i].Ports[j]
			p.HostPort = ports[p.ContainerPort]
		}
	}
	if number, err := strconv.ParseInt(pod.Annotations[scrapePort], 10, 32); err == nil {
		if host, known := ports[int32(number)]; known {
			pod.Annotations[scrapePort] = strconv.Itoa(int(host))
		}
	}
}
