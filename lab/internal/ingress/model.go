package ingress

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
)

// model is what NGINX has to do, with every name already checked; render writes it down.
type model struct {
	Hosts    []host     // by name
	Backends []upstream // by ID; only those with an endpoint
	Splits   []split    // by primary
}

// host is one virtual server.
type host struct {
	Name      string // "" is the default server
	Locations []location
}

// Counted says whether requests appear in the metrics: as in ingress-nginx, whose series carry the host, only when an
// Ingress names exactly this host.
func (h host) Counted() bool { return h.Name != "" && h.Name[0] != '*' }

// location is one NGINX location and the labels its requests are counted under.
type location struct {
	Exact bool
	Path  string

	Namespace, Ingress, Service string
	IngressPath                 string // as the Ingress writes it

	Answer  int     // a status NGINX gives itself, 0 to pass the request on
	Backend backend // where to, when Answer is 0
	Split   *split  // nil without a canary
}

// backend is a port of a Service.
type backend struct {
	Namespace, Service, Port string
}

// ID names the backend in the configuration. None of its parts can contain a dot, so no two backends share one.
func (b backend) ID() string { return b.Namespace + "." + b.Service + "." + b.Port }

// Label is what ingress-nginx calls the backend in the label canary.
func (b backend) Label() string { return b.Namespace + "-" + b.Service + "-" + b.Port }

// upstream is a backend with at least one ready endpoint.
type upstream struct {
	backend
	Endpoints []string // address:port, sorted, no two the same
}

// split divides the requests for a primary backend between it and a canary.
type split struct {
	Index       int // makes the names of variables
	Primary     backend
	Alternative backend
	Rule        canary
}

// problem is an Ingress, or a part of one, that is not served, and why.
type problem struct {
	Ingress string // namespace/name
	Err     error
}

func (p problem) String() string { return fmt.Sprintf("%s: %v", p.Ingress, p.Err) }

func key(ing *networkingv1.Ingress) string { return ing.Namespace + "/" + ing.Name }
