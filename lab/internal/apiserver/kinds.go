package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one resource that the API serves. It does not change once it is registered.
type kind struct {
	served     []schema.GroupVersion // the first is the version objects are stored in, and the preferred one
	resource   string
	singular   string
	name       string // such as Pod
	list       string // such as PodList
	namespaced bool
	status     bool // has the status subresource
	scale      bool // has the scale subresource
	short      []string
	categories []string
	custom     *custom // nil for a built-in kind
}

// groupResource names the resource in errors.
func (k *kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.served[0].Group, Resource: k.resource}
}

// stored is the group, version and kind objects have in the store.
func (k *kind) stored() schema.GroupVersionKind { return k.served[0].WithKind(k.name) }

// is tells whether this is the built-in resource of a group.
func (k *kind) is(group, resource string) bool {
	return k.custom == nil && k.served[0].Group == group && k.resource == resource
}

// builtin makes a kind from its name, its resource and the group versions that serve it, separated by spaces; each
// trait is "namespaced", "status", "scale", "all" (the category) or a short name.
func builtin(name, resource, served string, traits ...string) *kind {
	k := &kind{name: name, list: name + "List", resource: resource, singular: strings.ToLower(name)}
	for _, text := range strings.Fields(served) {
		gv := schema.GroupVersion{Version: text}
		if group, version, found := strings.Cut(text, "/"); found {
			gv = schema.GroupVersion{Group: group, Version: version}
		}
		k.served = append(k.served, gv)
	}
	for _, trait := range traits {
		switch trait {
		case "namespaced":
			k.namespaced = true
		case "status":
			k.status = true
		case "scale":
			k.scale = true
		case "all":
			k.categories = append(k.categories, trait)
		default:
			k.short = append(k.short, trait)
		}
	}
	return k
}

// builtins are the resources an API has before the first CustomResourceDefinition.
func builtins() []*kind {
	return []*kind{
		builtin("Namespace", "namespaces", "v1", "status", "ns"),
		builtin("Node", "nodes", "v1", "status", "no"),
		builtin("Pod", "pods", "v1", "namespaced", "status", "all", "po"),
		builtin("Service", "services", "v1", "namespaced", "status", "all", "svc"),
		builtin("Endpoints", "endpoints", "v1", "namespaced", "ep"),
		builtin("ConfigMap", "configmaps", "v1", "namespaced", "cm"),
		builtin("Secret", "secrets", "v1", "namespaced"),
		builtin("ServiceAccount", "serviceaccounts", "v1", "namespaced", "sa"),
		builtin("PersistentVolumeClaim", "persistentvolumeclaims", "v1", "namespaced", "status", "pvc"),
		builtin("Event", "events", "v1 events.k8s.io/v1", "namespaced", "ev"),
		builtin("Deployment", "deployments", "apps/v1", "namespaced", "status", "scale", "all", "deploy"),
		builtin("ReplicaSet", "replicasets", "apps/v1", "namespaced", "status", "scale", "all", "rs"),
		builtin("DaemonSet", "daemonsets", "apps/v1", "namespaced", "status", "all", "ds"),
		builtin("StatefulSet", "statefulsets", "apps/v1", "namespaced", "status", "scale", "all", "sts"),
		builtin("Job", "jobs", "batch/v1", "namespaced", "status", "all"),
		builtin("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling/v2 autoscaling/v1", "namespaced", "status", "all", "hpa"),
		builtin("PodDisruptionBudget", "poddisruptionbudgets", "policy/v1", "namespaced", "status", "pdb"),
		builtin("Ingress", "ingresses", "networking.k8s.io/v1", "namespaced", "status", "ing"),
		builtin("IngressClass", "ingressclasses", "networking.k8s.io/v1"),
		builtin("NetworkPolicy", "networkpolicies", "networking.k8s.io/v1", "namespaced", "netpol"),
		builtin("EndpointSlice", "endpointslices", "discovery.k8s.io/v1", "namespaced"),
		builtin("Lease", "leases", "coordination.k8s.io/v1", "namespaced"),
		builtin("Role", "roles", "rbac.authorization.k8s.io/v1", "namespaced"),
		builtin("RoleBinding", "rolebindings", "rbac.authorization.k8s.io/v1", "namespaced"),
		builtin("ClusterRole", "clusterroles", "rbac.authorization.k8s.io/v1"),
		builtin("ClusterRoleBinding", "clusterrolebindings", "rbac.authorization.k8s.io/v1"),
		builtin("CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io/v1", "status", "crd", "crds"),
	}
}
