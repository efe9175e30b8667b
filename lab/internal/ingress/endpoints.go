package ingress

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// directory finds the endpoints of backends.
type directory struct {
	services map[string]*corev1.Service              // by namespace/name
	slices   map[string][]*discoveryv1.EndpointSlice // by namespace/name of the service
}

func newDirectory(services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) directory {
	d := directory{services: map[string]*corev1.Service{}, slices: map[string][]*discoveryv1.EndpointSlice{}}
	for _, s := range services {
		d.services[s.Namespace+"/"+s.Name] = s
	}
	for _, s := range endpointSlices {
		name := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		d.slices[name] = append(d.slices[name], s)
	}
	return d
}

// endpoints lists the addresses of b that are ready. A service or port that does not exist has none: the answer to its
// requests is the same 503.
func (d directory) endpoints(b backend) []string {
	name := b.Namespace + "/" + b.Service
	service := d.services[name]
	if service == nil {
		return nil
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Name == b.Port || strconv.Itoa(int(p.Port)) == b.Port
	})
	if i < 0 {
		return nil
	}
	var found []string
	for _, slice := range d.slices[name] {
		for _, port := range slice.Ports {
			if matches(port, service.Spec.Ports[i].Name) {
				found = appendReady(found, slice.Endpoints, *port.Port)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// matches: a service with one port may leave it without a name, and then every port of the slice is its own.
func matches(port discoveryv1.EndpointPort, name string) bool {
	if port.Port == nil || *port.Port < 1 || *port.Port > 65535 {
		return false
	}
	if port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
		return false
	}
	return name == "" || port.Name != nil && *port.Name == name
}

func appendReady(found []string, endpoints []discoveryv1.Endpoint, port int32) []string {
	for _, e := range endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, text := range e.Addresses {
			// Parsed and written again, so that nothing but an address reaches the configuration.
			if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
				found = append(found, net.JoinHostPort(address.String(), strconv.Itoa(int(port))))
			}
		}
	}
	return found
}
