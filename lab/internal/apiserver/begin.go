package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// begin sets what a new object has that only the server can give it: its first status, and a Service its address.
func (s *Server) begin(k *kind, object *unstructured.Unstructured) {
	if k.status && !k.is("", "nodes") {
		delete(object.Object, "status")
	}
	switch {
	case k.is("", "namespaces"):
		object.Object["status"] = map[string]any{"phase": string(corev1.NamespaceActive)}
	case k.is("", "pods"):
		object.Object["status"] = map[string]any{"phase": string(corev1.PodPending), "qosClass": string(corev1.PodQOSBestEffort)}
	case k.is("", "persistentvolumeclaims"):
		object.Object["status"] = map[string]any{"phase": string(corev1.ClaimPending)}
	case k == s.definitions():
		s.establish(object)
	case k.is("", "services"):
		object.Object["status"] = map[string]any{"loadBalancer": map[string]any{}}
		s.giveAddress(object)
	}
}

// giveAddress gives a Service a cluster IP. Nothing routes it: it is there because clients tell headless Services by it.
func (s *Server) giveAddress(object *unstructured.Unstructured) {
	spec, ok := object.Object["spec"].(map[string]any)
	if !ok || spec["type"] == string(corev1.ServiceTypeExternalName) {
		return
	}
	ip, _ := spec["clusterIP"].(string)
	if ip == "" {
		s.nets++
		ip = fmt.Sprintf("10.96.%d.%d", s.nets/250%250+1, s.nets%250+1)
		spec["clusterIP"] = ip
	}
	spec["clusterIPs"] = []any{ip}
	if _, found := spec["ipFamilies"]; !found && ip != corev1.ClusterIPNone {
		spec["ipFamilies"], spec["ipFamilyPolicy"] = []any{"IPv4"}, "SingleStack"
	}
}
