package apiserver

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// columns are what kubectl get shows of a built-in kind between name and age, and behind the age with -o wide.
func (k *kind) columns(f *form) (shown, wide []column) {
	switch k.resource {
	case "pods":
		return podColumns()
	case "deployments":
		return []column{
			text("Ready", 0, func(o *unstructured.Unstructured) any {
				return at(o, "0", "status", "readyReplicas") + "/" + at(o, "0", "spec", "replicas")
			}),
			fieldColumn("Up-to-date", "status.updatedReplicas", "0"),
			fieldColumn("Available", "status.availableReplicas", "0"),
		}, []column{text("Images", 1, images)}
	case "replicasets":
		return []column{
			fieldColumn("Desired", "spec.replicas", "0"), fieldColumn("Current", "status.replicas", "0"), fieldColumn("Ready", "status.readyReplicas", "0"),
		}, []column{text("Images", 1, images)}
	case "services":
		return []column{
			fieldColumn("Type", "spec.type", "<none>"), fieldColumn("Cluster-IP", "spec.clusterIP", "<none>"),
			text("External-IP", 0, func(*unstructured.Unstructured) any { return "<none>" }),
			text("Port(s)", 0, servicePorts),
		}, []column{text("Selector", 1, func(o *unstructured.Unstructured) any { return at(o, "<none>", "spec", "selector") })}
	case "ingresses":
		return []column{
			fieldColumn("Class", "spec.ingressClassName", "<none>"), text("Hosts", 0, hosts), text("Address", 0, addresses),
			text("Ports", 0, func(*unstructured.Unstructured) any { return "80" }),
		}, nil
	case "events":
		return []column{
			text("Last Seen", 0, func(o *unstructured.Unstructured) any {
				then, err := time.Parse(time.RFC3339, at(o, "", "lastTimestamp"))
				if err != nil {
					then = o.GetCreationTimestamp().Time
				}
				return f.since(then)
			}),
			fieldColumn("Type", "type", ""), fieldColumn("Reason", "reason", ""),
			text("Object", 0, func(o *unstructured.Unstructured) any {
				return strings.ToLower(at(o, "", "involvedObject", "kind")) + "/" + at(o, "", "involvedObject", "name")
			}),
			fieldColumn("Message", "message", ""),
		}, nil
	case "namespaces":
		return []column{fieldColumn("Status", "status.phase", "")}, nil
	case "configmaps":
		return []column{text("Data", 0, entries)}, nil
	case "secrets":
		return []column{fieldColumn("Type", "type", ""), text("Data", 0, entries)}, nil
	case "horizontalpodautoscalers":
		return []column{
			text("Reference", 0, func(o *unstructured.Unstructured) any {
				return at(o, "", "spec", "scaleTargetRef", "kind") + "/" + at(o, "", "spec", "scaleTargetRef", "name")
			}),
			fieldColumn("MinPods", "spec.minReplicas", "1"), fieldColumn("MaxPods", "spec.maxReplicas", "0"), fieldColumn("Replicas", "status.currentReplicas", "0"),
		}, nil
	case "leases":
		return []column{fieldColumn("Holder", "spec.holderIdentity", "")}, nil
	}
	return nil, nil
}

func podColumns() (shown, wide []column) {
	// A pod that can not be read is shown without its facts: a table is no place to fail.
	of := func(cell func(*corev1.Pod) any) func(*unstructured.Unstructured) any {
		return func(o *unstructured.Unstructured) any {
			pod, err := typed[corev1.Pod](o)
			if err != nil {
				return "<unknown>"
			}
			return cell(pod)
		}
	}
	shown = []column{
		text("Ready", 0, of(func(pod *corev1.Pod) any {
			ready := 0
			for _, status := range pod.Status.ContainerStatuses {
				if status.Ready {
					ready++
				}
			}
			return fmt.Sprintf("%d/%d", ready, len(pod.Spec.Containers))
		})),
		text("Status", 0, of(podState)),
		text("Restarts", 0, of(func(pod *corev1.Pod) any {
			var restarts int32
			for _, status := range pod.Status.ContainerStatuses {
				restarts += status.RestartCount
			}
			return fmt.Sprint(restarts)
		})),
	}
	address := func(name, path string) column {
		c := fieldColumn(name, path, "<none>")
		c.Priority = 1
		return c
	}
	return shown, []column{address("IP", "status.podIP"), address("Node", "spec.nodeName")}
}

// podState is the one word for how a pod is.
func podState(pod *corev1.Pod) any {
	state := string(pod.Status.Phase)
	if pod.Status.Reason != "" {
		state = pod.Status.Reason
	}
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.State.Waiting != nil && status.State.Waiting.Reason != "":
			state = status.State.Waiting.Reason
		case status.State.Terminated != nil && status.State.Terminated.Reason != "":
			state = status.State.Terminated.Reason
		}
	}
	if pod.DeletionTimestamp != nil {
		state = "Terminating"
	}
	return state
}

func images(o *unstructured.Unstructured) any {
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	var names []string
	for _, container := range containers {
		if c, ok := container.(map[string]any); ok {
			names = append(names, fmt.Sprint(c["image"]))
		}
	}
	return strings.Join(names, ",")
}

func servicePorts(o *unstructured.Unstructured) any {
	service, err := typed[corev1.Service](o)
	if err != nil || len(service.Spec.Ports) == 0 {
		return "<none>"
	}
	var ports []string
	for _, port := range service.Spec.Ports {
		if port.NodePort > 0 {
			ports = append(ports, fmt.Sprintf("%d:%d/%s", port.Port, port.NodePort, port.Protocol))
		} else {
			ports = append(ports, fmt.Sprintf("%d/%s", port.Port, port.Protocol))
		}
	}
	return strings.Join(ports, ",")
}

func hosts(o *unstructured.Unstructured) any {
	ingress, err := typed[networkingv1.Ingress](o)
	if err != nil {
		return "<unknown>"
	}
	var names []string
	for _, rule := range ingress.Spec.Rules {
		if rule.Host != "" {
			names = append(names, rule.Host)
		}
	}
	if len(names) == 0 {
		return "*"
	}
	return strings.Join(names, ",")
}

func addresses(o *unstructured.Unstructured) any {
	ingress, err := typed[networkingv1.Ingress](o)
	if err != nil {
		return "<unknown>"
	}
	var found []string
	for _, at := range ingress.Status.LoadBalancer.Ingress {
		found = append(found, at.IP+at.Hostname)
	}
	return strings.Join(found, ",")
}

func entries(o *unstructured.Unstructured) any {
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	binary, _, _ := unstructured.NestedMap(o.Object, "binaryData")
	return fmt.Sprint(len(data) + len(binary))
}
