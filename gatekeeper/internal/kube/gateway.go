package kube

import (
	"cmp"
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

func routeResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
}

// gateway reports whether an HTTPRoute splits the traffic of the Canary o. The provider without a version is Istio to
// Flagger (flagger-facts §5).
func gateway(o map[string]any) bool {
	return strings.HasPrefix(text(o, "spec", "provider"), "gatewayapi:")
}

// apex is the name of the Service that users ask for, and of Flagger's HTTPRoute.
func apex(o map[string]any) string {
	return cmp.Or(text(o, "spec", "service", "name"), text(o, "spec", "targetRef", "name"))
}

// watchRoutes watches HTTPRoutes from the first Canary on that has one. Before that a cluster need not have their kind.
func (c *Cluster) watchRoutes(canaries cache.SharedIndexInformer) error {
	routes := c.gateway.ForResource(routeResource())
	c.routes, c.routesSynced = routes.Lister(), routes.Informer().HasSynced
	err := routes.Informer().SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		c.routesUnread.Store(true)
		cache.DefaultWatchErrorHandler(ctx, r, err)
	})
	if err != nil {
		return err
	}
	look := func(obj any) {
		if o, ok := obj.(*unstructured.Unstructured); ok && gateway(o.Object) {
			c.routesNeeded.Store(true)
			c.gateway.Start(c.ended)
		}
	}
	seen, err := canaries.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }})
	if err != nil {
		return err
	}
	c.synced = append(c.synced, seen.HasSynced)
	return nil
}

// routed reports whether the HTTPRoutes are there as far as they are needed and can be had: Canaries of other providers
// do not wait for a kind that is not defined or may not be read.
func (c *Cluster) routed() bool {
	return !c.routesNeeded.Load() || c.routesSynced() || c.routesUnread.Load()
}

// liveRoute reads the weight where Flagger's Gateway API router writes it; see liveWeight.
func (c *Cluster) liveRoute(ns, apex string, status int) int {
	object, err := c.routes.ByNamespace(ns).Get(apex)
	if err != nil {
		return status
	}
	route, ok := object.(*unstructured.Unstructured)
	if !ok {
		return status
	}
	if weight, ok := routeWeight(route.Object, apex); ok {
		return weight
	}
	return status
}

// routeWeight is the canary's weight in Flagger's HTTPRoute, false where it splits no traffic by weight. The rule that
// splits is the last one: with sessionAffinity those for known cookies come before it, and with a match (A/B) the last is
// the primary's alone (pkg/router/gateway_api.go: SetRoutes).
func routeWeight(route map[string]any, apex string) (weight int, ok bool) {
	rules, _, _ := unstructured.NestedSlice(route, "spec", "rules")
	if len(rules) == 0 {
		return 0, false
	}
	for name, backend := range backends(rules[len(rules)-1]) {
		if name == apex+"-canary" {
			return number(backend, "weight"), true
		}
	}
	return 0, false
}

// backends are a rule's backendRefs by name.
func backends(rule any) map[string]map[string]any {
	all := map[string]map[string]any{}
	o, _ := rule.(map[string]any)
	list, _ := o["backendRefs"].([]any)
	for _, element := range list {
		if backend, ok := element.(map[string]any); ok {
			all[text(backend, "name")] = backend
		}
	}
	return all
}

// braked are a route's rules with all weight on the primary, also that of users who were bound to the canary by a cookie.
func braked(route map[string]any, apex string) []any {
	rules, _, _ := unstructured.NestedSlice(route, "spec", "rules") // a copy
	for _, rule := range rules {
		for name, backend := range backends(rule) {
			switch name {
			case apex + "-canary":
				backend["weight"] = int64(0)
			case apex + "-primary":
				backend["weight"] = int64(100)
			}
		}
	}
	return rules
}
