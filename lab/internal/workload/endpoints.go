package workload

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// endpoints are a Service's addresses in the old form. All pods share one address and differ by their ports on the host,
// so each pod is a subset of its own.
func endpoints(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	var subsets []corev1.EndpointSubset
	for _, pod := range reachable(service, pods) {
		if pod.DeletionTimestamp != nil && !service.Spec.PublishNotReadyAddresses {
			continue
		}
		address := []corev1.EndpointAddress{{IP: pod.Status.PodIP, NodeName: nodeName(pod), TargetRef: target(pod)}}
		subset := corev1.EndpointSubset{Ports: hostPorts(service, pod)}
		if serves(service, pod) {
			subset.Addresses = address
		} else {
			subset.NotReadyAddresses = address
		}
		subsets = append(subsets, subset)
	}
	return subsets
}

// endpointSlices are the same in the new form, one slice a pod because ports belong to slices. Terminating pods stay
// with their condition.
func endpointSlices(service *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	var slices []*discoveryv1.EndpointSlice
	for _, pod := range reachable(service, pods) {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Name: service.Name + "-" + shortHash([]byte(pod.UID)), Namespace: service.Namespace,
				Labels: map[string]string{
					discoveryv1.LabelServiceName: service.Name,
					discoveryv1.LabelManagedBy:   sliceManager,
				},
				OwnerReferences: []metav1.OwnerReference{ownerReference(service)},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{pod.Status.PodIP}, NodeName: nodeName(pod), TargetRef: target(pod),
				Conditions: discoveryv1.EndpointConditions{
					Ready: new(serves(service, pod)), Serving: new(ready(pod)), Terminating: new(pod.DeletionTimestamp != nil),
				},
			}},
		}
		for _, port := range hostPorts(service, pod) {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(port.Name), Port: new(port.Port), Protocol: new(port.Protocol), AppProtocol: port.AppProtocol})
		}
		slices = append(slices, s)
	}
	return slices
}

// sliceManager marks the EndpointSlices that are ours to delete.
const sliceManager = "endpointslice-controller.k8s.io"

func serves(service *corev1.Service, pod *corev1.Pod) bool {
	return service.Spec.PublishNotReadyAddresses || pod.DeletionTimestamp == nil && ready(pod)
}

// reachable are the Service's pods that have an address, by name.
func reachable(service *corev1.Service, pods []*corev1.Pod) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range pods {
		if selects(service, pod.Labels) && pod.Status.PodIP != "" && !ended(pod) {
			out = append(out, pod)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// hostPorts are a Service's ports at one pod. A target port that no container declares has no port on the host; nothing
// can be reached there.
func hostPorts(service *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for _, p := range service.Spec.Ports {
		if host := hostPort(pod, p); host != 0 {
			ports = append(ports, corev1.EndpointPort{Name: p.Name, Port: host, Protocol: protocol(p.Protocol), AppProtocol: p.AppProtocol})
		}
	}
	return ports
}

func hostPort(pod *corev1.Pod, port corev1.ServicePort) int32 {
	number := port.TargetPort.IntVal
	if number == 0 {
		number = port.Port
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if protocol(p.Protocol) != protocol(port.Protocol) {
				continue
			}
			if port.TargetPort.Type == intstr.String && p.Name == port.TargetPort.StrVal || port.TargetPort.Type == intstr.Int && p.ContainerPort == number {
				return p.HostPort
			}
		}
	}
	return 0
}

func protocol(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }

func nodeName(pod *corev1.Pod) *string {
	if pod.Spec.NodeName == "" {
		return nil
	}
	return &pod.Spec.NodeName
}

func target(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

func ownerReference(service *corev1.Service) metav1.OwnerReference {
	return *metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind(string(serviceKind)))
}
