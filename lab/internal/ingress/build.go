package ingress

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// objects is what the API holds. build only reads it.
type objects struct {
	ingresses []*networkingv1.Ingress
	services  []*corev1.Service
	slices    []*discoveryv1.EndpointSlice
}

// builder collects a model; build is the only one to use it.
type builder struct {
	hosts        map[string]map[place]location
	alternatives map[string]split // by ID of the primary
	problems     []problem
}

// place is what may exist once in a virtual server.
type place struct {
	exact bool
	path  string
}

// build decides what NGINX has to do for the Ingresses of a class. What can not be served is left out and named in the
// problems.
func build(class string, o objects) (model, []problem) {
	b := builder{hosts: map[string]map[place]location{}, alternatives: map[string]split{}}
	type canaryIngress struct {
		*networkingv1.Ingress
		rule canary
	}
	var canaries []canaryIngress
	var regular []*networkingv1.Ingress
	for _, ing := range oldestFirst(o.ingresses) {
		if classOf(ing) != class {
			continue
		}
		rule, isCanary, err := parseCanary(ing.Annotations)
		err = cmp.Or(err, check(ing))
		switch {
		case err != nil:
			b.reject(ing, err)
		case isCanary:
			canaries = append(canaries, canaryIngress{ing, rule})
		default:
			regular = append(regular, ing)
			b.addPaths(ing)
		}
	}
	// After all the paths somebody wrote down, so that these never take the place of one.
	for _, ing := range regular {
		b.addBare(ing)
	}
	root := place{path: "/"}
	if _, taken := b.hosts[""][root]; !taken {
		b.put("", root, location{Path: root.path, Answer: http.StatusNotFound})
	}
	for _, ing := range canaries {
		b.addCanary(ing.Ingress, ing.rule)
	}
	return b.model(newDirectory(o.services, o.slices)), b.problems
}

// oldestFirst gives the order in which ingress-nginx lets Ingresses claim a path.
func oldestFirst(ingresses []*networkingv1.Ingress) []*networkingv1.Ingress {
	return slices.SortedFunc(slices.Values(ingresses), func(x, y *networkingv1.Ingress) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(key(x), key(y)))
	})
}

func classOf(ing *networkingv1.Ingress) string {
	if ing.Spec.IngressClassName != nil {
		return *ing.Spec.IngressClassName
	}
	return ing.Annotations["kubernetes.io/ingress.class"]
}

func (b *builder) reject(ing *networkingv1.Ingress, err error) {
	b.problems = append(b.problems, problem{key(ing), err})
}

// addPaths adds what an Ingress says about its paths.
func (b *builder) addPaths(ing *networkingv1.Ingress) {
	eachPath(ing, func(host string, p *networkingv1.HTTPIngressPath) {
		at := placeOf(p)
		if other, taken := b.hosts[host][at]; taken {
			b.reject(ing, fmt.Errorf("serve path %q of host %q: it belongs to %s/%s", p.Path, host, other.Namespace, other.Ingress))
			return
		}
		b.put(host, at, at.location(ing, cmp.Or(p.Path, "/"), &p.Backend))
	})
}

// addBare adds what follows from the rest: the path of a Prefix itself without the slash that ends it, and what its
// host answers to every other path.
func (b *builder) addBare(ing *networkingv1.Ingress) {
	root := place{path: "/"}
	add := func(host string, at place, path string, to *networkingv1.IngressBackend) {
		if _, taken := b.hosts[host][at]; !taken {
			b.put(host, at, at.location(ing, path, to))
		}
	}
	eachPath(ing, func(host string, p *networkingv1.HTTPIngressPath) {
		if bare := strings.TrimRight(p.Path, "/"); bare != "" && pathType(p) == networkingv1.PathTypePrefix {
			add(host, place{true, bare}, p.Path, &p.Backend)
		}
	})
	for _, rule := range ing.Spec.Rules {
		add(rule.Host, root, "/", ing.Spec.DefaultBackend)
	}
	if ing.Spec.DefaultBackend != nil && len(ing.Spec.Rules) == 0 {
		add("", root, "/", ing.Spec.DefaultBackend)
	}
}

func (b *builder) put(host string, at place, l location) {
	if b.hosts[host] == nil {
		b.hosts[host] = map[place]location{}
	}
	b.hosts[host][at] = l
}

// addCanary makes a canary the alternative of each backend that already serves one of its paths. As in ingress-nginx a
// backend has at most one, the oldest, and it holds for the backend, not only for the path.
func (b *builder) addCanary(ing *networkingv1.Ingress, rule canary) {
	eachPath(ing, func(host string, p *networkingv1.HTTPIngressPath) {
		primary, ok := b.hosts[host][placeOf(p)]
		alternative := backendOf(ing.Namespace, &p.Backend)
		if !ok || primary.Answer != 0 || primary.Backend == alternative {
			b.reject(ing, fmt.Errorf("find the primary for path %q of host %q: there is none", p.Path, host))
			return
		}
		id := primary.Backend.ID()
		if other, taken := b.alternatives[id]; !taken {
			b.alternatives[id] = split{Primary: primary.Backend, Alternative: alternative, Rule: rule}
		} else if other.Alternative != alternative {
			b.reject(ing, fmt.Errorf("make %s a canary of %s: it has %s already", alternative.ID(), id, other.Alternative.ID()))
		}
	})
}

func eachPath(ing *networkingv1.Ingress, do func(host string, p *networkingv1.HTTPIngressPath)) {
	for _, rule := range ing.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			do(rule.Host, &rule.HTTP.Paths[i])
		}
	}
}

// placeOf says which location a path needs. A Prefix ends in a slash there, so that it matches whole elements only;
// an implementation-specific path is the plain prefix that it is in ingress-nginx.
func placeOf(p *networkingv1.HTTPIngressPath) place {
	path := cmp.Or(p.Path, "/")
	switch pathType(p) {
	case networkingv1.PathTypeExact:
		return place{true, path}
	case networkingv1.PathTypePrefix:
		return place{false, strings.TrimRight(path, "/") + "/"}
	}
	return place{false, path}
}

// location is what an Ingress has at a place; without a backend it is a 404.
func (at place) location(ing *networkingv1.Ingress, path string, to *networkingv1.IngressBackend) location {
	l := location{Exact: at.exact, Path: at.path, Namespace: ing.Namespace, Ingress: ing.Name, IngressPath: path}
	if to == nil {
		l.Answer = http.StatusNotFound
		return l
	}
	l.Backend = backendOf(ing.Namespace, to)
	l.Service = l.Backend.Service
	return l
}

func backendOf(namespace string, to *networkingv1.IngressBackend) backend {
	port := to.Service.Port.Name
	if to.Service.Port.Number != 0 {
		port = strconv.Itoa(int(to.Service.Port.Number))
	}
	return backend{namespace, to.Service.Name, port}
}

// model looks up the endpoints. Without any, a primary is a 503 and a canary is not there.
func (b *builder) model(d directory) model {
	var m model
	ready := map[string]upstream{}
	isReady := func(to backend) bool {
		if endpoints := d.endpoints(to); len(endpoints) > 0 {
			ready[to.ID()] = upstream{to, endpoints}
			return true
		}
		return false
	}
	splits := map[string]*split{}
	for _, id := range slices.Sorted(maps.Keys(b.alternatives)) {
		if s := b.alternatives[id]; isReady(s.Primary) && isReady(s.Alternative) {
			s.Index = len(m.Splits)
			m.Splits = append(m.Splits, s)
			splits[id] = &s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.hosts)) {
		h := host{Name: name}
		for _, l := range b.hosts[name] {
			if l.Answer == 0 && !isReady(l.Backend) {
				l.Answer = http.StatusServiceUnavailable
			}
			if l.Answer == 0 {
				l.Split = splits[l.Backend.ID()]
			}
			h.Locations = append(h.Locations, l)
		}
		slices.SortFunc(h.Locations, mostSpecificFirst)
		m.Hosts = append(m.Hosts, h)
	}
	for _, id := range slices.Sorted(maps.Keys(ready)) {
		m.Backends = append(m.Backends, ready[id])
	}
	return m
}

// mostSpecificFirst is how NGINX chooses; in the configuration the order is for people and for comparing texts.
func mostSpecificFirst(x, y location) int {
	if x.Exact != y.Exact {
		if x.Exact {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(len(y.Path), len(x.Path)), cmp.Compare(x.Path, y.Path))
}
