package apiserver

import (
	"net/http"
	"runtime"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// document is what the API says of itself at a path, false when the path is none of these.
func (s *Server) document(r *http.Request) (any, bool) {
	if r.Method != http.MethodGet {
		return nil, false
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/version":
		return version.Info{Major: "1", Minor: "34", GitVersion: "v1.34.0", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}, true
	case len(parts) == 1 && parts[0] == "api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}, true
	case len(parts) == 1 && parts[0] == "apis":
		return s.groups(), true
	case len(parts) == 2 && parts[0] == "api" && parts[1] == "v1":
		return s.resources(schema.GroupVersion{Version: "v1"}), true
	case len(parts) == 2 && parts[0] == "apis":
		for _, g := range s.groups().Groups {
			if g.Name == parts[1] {
				g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				return g, true
			}
		}
	case len(parts) == 3 && parts[0] == "apis":
		if list := s.resources(schema.GroupVersion{Group: parts[1], Version: parts[2]}); len(list.APIResources) > 0 {
			return list, true
		}
	case parts[0] == "openapi" && len(parts) > 1 && parts[1] == "v3":
		return s.openapi(strings.Join(parts[2:], "/"))
	}
	return nil, false
}

func (s *Server) groups() metav1.APIGroupList {
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	seen := map[schema.GroupVersion]bool{}
	for _, k := range s.store.known() {
		gv := k.GroupVersion()
		if gv.Group == "" || seen[gv] {
			continue
		}
		seen[gv] = true
		v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if n := len(list.Groups); n > 0 && list.Groups[n-1].Name == gv.Group {
			list.Groups[n-1].Versions = append(list.Groups[n-1].Versions, v)
			continue
		}
		list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	return list
}

func (s *Server) resources(gv schema.GroupVersion) metav1.APIResourceList {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: []metav1.APIResource{}}
	for _, k := range s.store.known() {
		if k.GroupVersion() != gv {
			continue
		}
		add := func(subresource, kind string, verbs ...string) *metav1.APIResource {
			r := metav1.APIResource{Name: k.Resource + subresource, Namespaced: k.namespaced, Kind: kind, Verbs: verbs}
			list.APIResources = append(list.APIResources, r)
			return &list.APIResources[len(list.APIResources)-1]
		}
		r := add("", k.Kind, "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
		r.SingularName, r.ShortNames, r.Categories = k.singular, k.short, k.categories
		if k.status {
			add("/status", k.Kind, "get", "patch", "update")
		}
		if k.scale {
			r := add("/scale", "Scale", "get", "patch", "update")
			r.Group, r.Version = "autoscaling", "v1"
		}
		if gv.Group == "" && k.Resource == "pods" {
			add("/log", k.Kind, "get")
			add("/portforward", "PodPortForwardOptions", "create", "get")
		}
		if gv.Group == "" && (k.Resource == "pods" || k.Resource == "services") {
			add("/proxy", k.Kind, "create", "delete", "get", "patch", "update")
		}
	}
	return list
}

// openapi is as much of the API's description as lets kubectl leave validation to the server: for each kind, that a
// patch takes fieldValidation. There are no schemas.
func (s *Server) openapi(path string) (any, bool) {
	paths := map[string]any{}
	for _, k := range s.store.known() {
		prefix := "apis/" + k.GroupVersion().String()
		if k.Group == "" {
			prefix = "api/v1"
		}
		if path == "" {
			paths[prefix] = map[string]any{"serverRelativeURL": "/openapi/v3/" + prefix}
			continue
		}
		if path != prefix {
			continue
		}
		full := "/" + prefix + "/" + k.Resource + "/{name}"
		if k.namespaced {
			full = "/" + prefix + "/namespaces/{namespace}/" + k.Resource + "/{name}"
		}
		paths[full] = map[string]any{"patch": map[string]any{
			"parameters":                      []any{map[string]any{"name": "fieldValidation", "in": "query", "schema": map[string]any{"type": "string"}}},
			"x-kubernetes-action":             "patch",
			"x-kubernetes-group-version-kind": map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind},
			"responses":                       map[string]any{},
		}}
	}
	if path == "" {
		return map[string]any{"paths": paths}, true
	}
	return map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "Kubernetes", "version": "v1.34.0"}, "paths": paths}, len(paths) > 0
}
