package embedded

import (
	"net"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// directory knows which addresses are behind a service now.
type directory struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// find implements network.Endpoints.
func (d directory) find(namespace, service string, port int) (addresses []string, known bool) {
	svc, err := d.services.Services(namespace).Get(service)
	if err != nil {
		return nil, false
	}
	slices, err := d.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
	if err != nil {
		return nil, true
	}
	for _, p := range svc.Spec.Ports {
		if int(p.Port) != port {
			continue
		}
		for _, slice := range slices {
			addresses = append(addresses, ofPort(slice, p.Name)...)
		}
	}
	return addresses, true
}

// ofPort are the ready addresses of one port of a slice.
func ofPort(slice *discoveryv1.EndpointSlice, name string) (addresses []string) {
	for _, port := range slice.Ports {
		if port.Port == nil || port.Name == nil && name != "" || port.Name != nil && *port.Name != name {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}
			for _, address := range endpoint.Addresses {
				addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return addresses
}
