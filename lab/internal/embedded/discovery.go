package embedded

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
)

// discoveryPath is where Prometheus asks for pods, beside the Kubernetes API.
const discoveryPath = "/lab/discovery/pods"

// targets is one group of Prometheus' HTTP service discovery.
type targets struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery answers Prometheus with all pods that have an address.
func discovery(pods listers.PodLister) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		all, err := pods.List(labels.Everything())
		if err != nil {
			http.Error(w, "list pods: "+err.Error(), http.StatusInternalServerError)
			return
		}
		groups := []targets{}
		for _, pod := range all {
			groups = append(groups, podTargets(pod)...)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(groups) // a reader that has gone asks again
	}
}

// podTargets gives each port of a pod the labels that Prometheus' own discovery of role pod gives (Prometheus,
// discovery/kubernetes/pod.go).
func podTargets(pod *corev1.Pod) []targets {
	if pod.Status.PodIP == "" {
		return nil
	}
	const meta = "__meta_kubernetes_"
	shared := map[string]string{
		meta + "namespace":     pod.Namespace,
		meta + "pod_name":      pod.Name,
		meta + "pod_ip":        pod.Status.PodIP,
		meta + "pod_phase":     string(pod.Status.Phase),
		meta + "pod_ready":     ready(pod),
		meta + "pod_node_name": pod.Spec.NodeName,
		meta + "pod_host_ip":   pod.Status.HostIP,
		meta + "pod_uid":       string(pod.UID),
	}
	for key, value := range pod.Labels {
		shared[meta+"pod_label_"+labelName(key)] = value
		shared[meta+"pod_labelpresent_"+labelName(key)] = "true"
	}
	for key, value := range pod.Annotations {
		shared[meta+"pod_annotation_"+labelName(key)] = value
		shared[meta+"pod_annotationpresent_"+labelName(key)] = "true"
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		shared[meta+"pod_controller_kind"], shared[meta+"pod_controller_name"] = owner.Kind, owner.Name
	}
	var groups []targets
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			own := map[string]string{
				meta + "pod_container_name":          container.Name,
				meta + "pod_container_image":         container.Image,
				meta + "pod_container_port_name":     port.Name,
				meta + "pod_container_port_number":   strconv.Itoa(int(port.HostPort)),
				meta + "pod_container_port_protocol": string(port.Protocol),
				meta + "pod_container_init":          "false",
			}
			for key, value := range shared {
				own[key] = value
			}
			groups = append(groups, targets{[]string{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port.HostPort)))}, own})
		}
	}
	return groups
}

func ready(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return "true"
		}
	}
	return "false"
}

// labelName makes a label's name of any key, as Prometheus does.
func labelName(key string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '_'
	}, key)
}
