package apiserver

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// discover answers what the API serves; false when the path asks for something else.
func (s *Server) discover(w http.ResponseWriter, r *http.Request) (bool, error) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	known := true
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var answer any
	switch {
	case path == "/version":
		answer = version.Info{Major: "1", Minor: "34", GitVersion: "v1.34.0", Platform: "embedded", GoVersion: "go", Compiler: "gc"}
	case path == "/api" || path == "/apis":
		if aggregated(r) {
			w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
			answer = s.aggregate(path == "/api")
		} else if path == "/api" {
			answer = metav1.APIVersions{
				TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"},
				ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{},
			}
		} else {
			answer = metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: s.groups()}
		}
	case len(parts) == 2 && parts[0] == "api":
		answer, known = s.resources(schema.GroupVersion{Version: parts[1]})
	case len(parts) == 2 && parts[0] == "apis":
		groups := s.groups()
		i := slices.IndexFunc(groups, func(g metav1.APIGroup) bool { return g.Name == parts[1] })
		if known = i >= 0; known {
			answer = groups[i]
		}
	case len(parts) == 3 && parts[0] == "apis":
		answer, known = s.resources(schema.GroupVersion{Group: parts[1], Version: parts[2]})
	case parts[0] == "openapi":
		answer, known = s.openAPI(parts[1:])
	default:
		return false, nil
	}
	if !known {
		return true, unknown(r)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return true, apierrors.NewMethodNotSupported(schema.GroupResource{}, r.Method)
	}
	reply(w, http.StatusOK, answer)
	return true, nil
}

// aggregated tells whether a client wants everything in two answers.
func aggregated(r *http.Request) bool {
	accept := strings.ReplaceAll(r.Header.Get("Accept"), " ", "")
	return strings.Contains(accept, "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
}

// all returns the kinds and the group versions that serve them, in a stable order.
func (s *Server) all() map[schema.GroupVersion][]*kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[schema.GroupVersion][]*kind{}
	for gvr, k := range s.kinds {
		found[gvr.GroupVersion()] = append(found[gvr.GroupVersion()], k)
	}
	for _, kinds := range found {
		slices.SortFunc(kinds, func(a, b *kind) int { return cmp.Compare(a.resource, b.resource) })
	}
	return found
}

// groups returns the API groups except the core one, in the order of their names, the preferred version of each first.
func (s *Server) groups() []metav1.APIGroup {
	versions := map[string][]string{}
	for gv := range s.all() {
		if gv.Group != "" {
			versions[gv.Group] = append(versions[gv.Group], gv.Version)
		}
	}
	groups := make([]metav1.APIGroup, 0, len(versions))
	for name, names := range versions {
		slices.SortFunc(names, newerFirst)
		group := metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: name}
		for _, v := range names {
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
		}
		group.PreferredVersion = group.Versions[0]
		groups = append(groups, group)
	}
	slices.SortFunc(groups, func(a, b metav1.APIGroup) int { return cmp.Compare(a.Name, b.Name) })
	return groups
}

// resources lists what one group version serves.
func (s *Server) resources(gv schema.GroupVersion) (any, bool) {
	kinds := s.all()[gv]
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, k := range kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.resource, SingularName: k.singular, Namespaced: k.namespaced, Kind: k.name,
			Verbs: verbs(), ShortNames: k.short, Categories: k.categories,
		})
		for _, sub := range k.subresources() {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: k.resource + "/" + sub.name, Namespaced: k.namespaced, Kind: sub.kind(k, gv).Kind,
				Group: sub.scale, Version: sub.version(), Verbs: sub.verbs,
			})
		}
	}
	return list, len(kinds) > 0
}

func verbs() metav1.Verbs {
	return metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// subresource is one more thing that can be done with an object.
type subresource struct {
	name  string
	verbs metav1.Verbs
	scale string // the group of Scale, for that subresource
}

func (s subresource) version() string {
	if s.scale == "" {
		return ""
	}
	return "v1"
}

func (s subresource) kind(k *kind, gv schema.GroupVersion) schema.GroupVersionKind {
	switch {
	case s.scale != "":
		return schema.GroupVersionKind{Group: s.scale, Version: "v1", Kind: "Scale"}
	case s.name == "proxy":
		return gv.WithKind(k.name + "ProxyOptions")
	case s.name == "portforward":
		return gv.WithKind("PodPortForwardOptions")
	}
	return gv.WithKind(k.name)
}

func (k *kind) subresources() []subresource {
	var found []subresource
	change := metav1.Verbs{"get", "patch", "update"}
	if k.status {
		found = append(found, subresource{name: "status", verbs: change})
	}
	if k.scale {
		found = append(found, subresource{name: "scale", verbs: change, scale: "autoscaling"})
	}
	through := metav1.Verbs{"create", "delete", "get", "patch", "update"}
	switch {
	case k.is("", "pods"):
		found = append(found, subresource{name: "log", verbs: metav1.Verbs{"get"}}, subresource{name: "proxy", verbs: through},
			subresource{name: "portforward", verbs: metav1.Verbs{"create", "get"}})
	case k.is("", "services"):
		found = append(found, subresource{name: "proxy", verbs: through})
	}
	return found
}

// aggregate is discovery in one answer, for the core group or for all others.
func (s *Server) aggregate(core bool) apidiscovery.APIGroupDiscoveryList {
	list := apidiscovery.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}}
	kinds := s.all()
	groups := s.groups()
	if core {
		groups = []metav1.APIGroup{{Versions: []metav1.GroupVersionForDiscovery{{Version: "v1"}}}}
	}
	for _, group := range groups {
		item := apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: group.Name}}
		for _, v := range group.Versions {
			gv := schema.GroupVersion{Group: group.Name, Version: v.Version}
			found := apidiscovery.APIVersionDiscovery{Version: v.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
			for _, k := range kinds[gv] {
				found.Resources = append(found.Resources, k.described(gv))
			}
			item.Versions = append(item.Versions, found)
		}
		list.Items = append(list.Items, item)
	}
	return list
}

// described is a kind in aggregated discovery.
func (k *kind) described(gv schema.GroupVersion) apidiscovery.APIResourceDiscovery {
	of := func(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
		return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
	}
	resource := apidiscovery.APIResourceDiscovery{
		Resource: k.resource, ResponseKind: of(gv.WithKind(k.name)), Scope: apidiscovery.ScopeCluster, SingularResource: k.singular,
		Verbs: verbs(), ShortNames: k.short, Categories: k.categories,
	}
	if k.namespaced {
		resource.Scope = apidiscovery.ScopeNamespace
	}
	for _, sub := range k.subresources() {
		resource.Subresources = append(resource.Subresources, apidiscovery.APISubresourceDiscovery{
			Subresource: sub.name, ResponseKind: of(sub.kind(k, gv)), Verbs: sub.verbs,
		})
	}
	return resource
}
