package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kubeversion "k8s.io/apimachinery/pkg/version"
)

// newerFirst orders versions as Kubernetes does: v2 before v1 before v1beta1.
func newerFirst(a, b string) int { return kubeversion.CompareKubeAwareVersionStrings(b, a) }

// openAPI serves as little of the API's description as lets kubectl leave validation to the server: an index, and for
// each group version the PATCH operations with the parameter fieldValidation. There are no schemas, so kubectl explain
// knows no fields, and kubectl apply takes its merge keys from the Go types that it brings along.
func (s *Server) openAPI(parts []string) (any, bool) {
	if len(parts) == 0 || parts[0] != "v3" {
		return nil, false
	}
	all := s.all()
	if len(parts) == 1 {
		paths := map[string]any{}
		for gv := range all {
			path := prefix(gv)
			paths[path] = map[string]any{"serverRelativeURL": "/openapi/v3/" + path}
		}
		return map[string]any{"paths": paths}, true
	}
	for gv, kinds := range all {
		if prefix(gv) == strings.Join(parts[1:], "/") {
			return map[string]any{
				"openapi": "3.0.0", "info": map[string]any{"title": "Kubernetes", "version": "v1.34.0"}, "paths": operations(gv, kinds),
			}, true
		}
	}
	return nil, false
}

// prefix is where a group version is served, without the leading slash.
func prefix(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

func operations(gv schema.GroupVersion, kinds []*kind) map[string]any {
	paths := map[string]any{}
	for _, k := range kinds {
		path := "/" + prefix(gv) + "/" + k.resource + "/{name}"
		if k.namespaced {
			path = "/" + prefix(gv) + "/namespaces/{namespace}/" + k.resource + "/{name}"
		}
		paths[path] = map[string]any{"patch": map[string]any{
			"x-kubernetes-group-version-kind": map[string]any{"group": gv.Group, "version": gv.Version, "kind": k.name},
			"parameters":                      []any{map[string]any{"name": "fieldValidation", "in": "query", "schema": map[string]any{"type": "string"}}},
			"responses":                       map[string]any{"200": map[string]any{"description": "OK"}},
		}}
	}
	return paths
}
