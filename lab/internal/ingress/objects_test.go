package ingress

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	prefixed = networkingv1.PathTypePrefix
	exact    = networkingv1.PathTypeExact
	anyhow   = networkingv1.PathTypeImplementationSpecific
)

// route is a path of an Ingress and the service behind it, at port 80.
type route struct {
	host, path string
	kind       networkingv1.PathType
	service    string
}

func ingressOf(name string, annotations map[string]string, routes ...route) *networkingv1.Ingress {
	class := "nginx"
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, Annotations: annotations},
		Spec:       networkingv1.IngressSpec{IngressClassName: &class},
	}
	for _, r := range routes {
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: r.host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: r.path, PathType: &r.kind, Backend: *to(r.service),
			}}},
		}})
	}
	return ing
}

func to(service string) *networkingv1.IngressBackend {
	return &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
	}}
}

// canaryOf is what Flagger makes of podinfo's Ingress; more are annotations in pairs.
func canaryOf(name string, more ...string) *networkingv1.Ingress {
	annotations := map[string]string{prefix + "canary": "true"}
	for i := 0; i < len(more); i += 2 {
		annotations[prefix+more[i]] = more[i+1]
	}
	return ingressOf(name, annotations, route{"podinfo.local", "/", prefixed, "podinfo-canary"})
}

func podinfo() *networkingv1.Ingress {
	return ingressOf("podinfo", nil, route{"podinfo.local", "/", prefixed, "podinfo"})
}

func serviceOf(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

// sliceOf holds one port, so every address must have the same; sliceOf without addresses has no endpoints.
func sliceOf(name, service string, ready bool, addresses ...string) *discoveryv1.EndpointSlice {
	port, protocol := "http", corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "test", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
	}}
	for _, text := range addresses {
		address := netip.MustParseAddrPort(text)
		number := int32(address.Port())
		slice.Ports = []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: &protocol}}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return slice
}
