package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is how everything is stored. One that is in the store is never changed, only replaced.
type object = unstructured.Unstructured

// kind is a resource that the API knows.
type kind struct {
	schema.GroupVersionResource
	Kind       string
	singular   string
	short      []string
	categories []string
	namespaced bool
	status     bool // it has the subresource
	scale      bool
	custom     bool // it came with a definition: no Go type is known
	columns    []column
}

// column is one of a table, beside the name and the age.
type column struct {
	name, kind string
	value      func(*object) any
}

func (k kind) gvk() schema.GroupVersionKind { return k.GroupVersion().WithKind(k.Kind) }

// is makes a built-in kind from "group/version plural Kind short…", the group empty for the core, and its traits.
func is(text string, traits string, columns ...column) kind {
	words := strings.Fields(text)
	group, version, _ := strings.Cut(words[0], "/")
	has := func(trait string) bool { return strings.Contains(" "+traits+" ", " "+trait+" ") }
	k := kind{
		GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: words[1]},
		Kind:                 words[2], singular: strings.ToLower(words[2]), short: words[3:],
		namespaced: !has("cluster"), status: has("status"), scale: has("scale"), columns: columns,
	}
	if has("all") {
		k.categories = []string{"all"}
	}
	return k
}

// builtIn are the kinds that are there from the start.
func builtIn() []kind {
	return []kind{
		is("/v1 namespaces Namespace ns", "cluster status", textColumn("Status", "status", "phase")),
		is("/v1 pods Pod po", "status all", podColumns()...),
		is("/v1 services Service svc", "status all", textColumn("Type", "spec", "type"), textColumn("Cluster-IP", "spec", "clusterIP"), portsColumn()),
		is("/v1 endpoints Endpoints ep", ""),
		is("/v1 configmaps ConfigMap cm", ""),
		is("/v1 secrets Secret", "", textColumn("Type", "type")),
		is("/v1 serviceaccounts ServiceAccount sa", ""),
		is("/v1 events Event ev", "", textColumn("Type", "type"), textColumn("Reason", "reason"), textColumn("Message", "message")),
		is("/v1 nodes Node no", "cluster status"),
		is("/v1 persistentvolumeclaims PersistentVolumeClaim pvc", "status", textColumn("Status", "status", "phase")),
		is("apps/v1 deployments Deployment deploy", "status scale all", deploymentColumns()...),
		is("apps/v1 replicasets ReplicaSet rs", "status scale all", numberColumn("Desired", "spec", "replicas"), numberColumn("Current", "status", "replicas"), numberColumn("Ready", "status", "readyReplicas")),
		is("apps/v1 daemonsets DaemonSet ds", "status all"),
		is("apps/v1 statefulsets StatefulSet sts", "status scale all"),
		is("batch/v1 jobs Job", "status all"),
		is("networking.k8s.io/v1 ingresses Ingress ing", "status", textColumn("Class", "spec", "ingressClassName"), hostsColumn()),
		is("networking.k8s.io/v1 ingressclasses IngressClass", "cluster"),
		is("networking.k8s.io/v1 networkpolicies NetworkPolicy netpol", ""),
		is("discovery.k8s.io/v1 endpointslices EndpointSlice", ""),
		is("autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler hpa", "status all"),
		is("policy/v1 poddisruptionbudgets PodDisruptionBudget pdb", "status"),
		is("rbac.authorization.k8s.io/v1 roles Role", ""),
		is("rbac.authorization.k8s.io/v1 rolebindings RoleBinding", ""),
		is("rbac.authorization.k8s.io/v1 clusterroles ClusterRole", "cluster"),
		is("rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding", "cluster"),
		is("coordination.k8s.io/v1 leases Lease", ""),
		is("events.k8s.io/v1 events Event ev", ""),
		is("apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition crd crds", "cluster status"),
	}
}
