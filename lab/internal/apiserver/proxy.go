package apiserver

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// proxy passes a request on to a pod or to a pod behind a Service, and the answer back, both unchanged.
func (s *Server) proxy(c *call) error {
	address, err := s.address(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.until(c.request.Context())
	defer cancel()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", address
			r.Out.URL.Path, r.Out.URL.RawPath = behind(r.In.URL.Path, c.depth), behind(r.In.URL.EscapedPath(), c.depth)
			if r.Out.URL.Path == "" {
				r.Out.URL.Path, r.Out.URL.RawPath = "/", ""
			}
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Header.Del("Authorization") // the token is for this API only
			r.SetXForwarded()
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.fail(w, apierrors.NewServiceUnavailable(fmt.Sprintf("connect to %s of %s %s: %v", address, c.kind.name, c.name, err)))
		},
	}
	s.streams.Add(1)
	defer s.streams.Done()
	proxy.ServeHTTP(c.writer, c.request.WithContext(ctx))
	return nil
}

// address finds the address that a proxied request is for.
func (s *Server) address(c *call) (string, error) {
	name, port := nameAndPort(c.name)
	if c.kind.is("", "pods") {
		pod, err := s.pod(c, name)
		if err != nil {
			return "", err
		}
		if port == "" {
			port = "80"
			if len(pod.Spec.Containers) > 0 && len(pod.Spec.Containers[0].Ports) > 0 {
				port = strconv.Itoa(int(pod.Spec.Containers[0].Ports[0].ContainerPort))
			}
		}
		return hostAddress(pod, port), nil
	}
	s.mu.Lock()
	stored, endpoints := s.store.get(s.core("services"), c.namespace, name), s.store.get(s.core("endpoints"), c.namespace, name)
	s.mu.Unlock()
	if stored == nil {
		return "", c.notFound()
	}
	service, err := typed[corev1.Service](stored)
	if err != nil {
		return "", err
	}
	portName, err := servicePort(service, port)
	if err != nil {
		return "", err
	}
	if endpoints == nil {
		return "", noEndpoints(name)
	}
	found, err := typed[reachable](endpoints)
	if err != nil {
		return "", err
	}
	for _, subset := range found.Subsets {
		for _, p := range subset.Ports {
			if p.Name == portName && len(subset.Addresses) > 0 {
				return net.JoinHostPort(subset.Addresses[0].IP, strconv.Itoa(int(p.Port))), nil
			}
		}
	}
	return "", noEndpoints(name)
}

// reachable is what matters here of an Endpoints object, whose Go type is deprecated.
type reachable struct {
	Subsets []struct {
		Addresses []struct {
			IP string `json:"ip"`
		} `json:"addresses"`
		Ports []struct {
			Name string `json:"name"`
			Port int32  `json:"port"`
		} `json:"ports"`
	} `json:"subsets"`
}

// servicePort finds the name of the port, which is what Endpoints call it, that a client names or numbers.
func servicePort(service *corev1.Service, port string) (string, error) {
	for _, p := range service.Spec.Ports {
		if port == "" || p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, service.Name))
}

func noEndpoints(name string) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
}

// hostAddress is where the process behind a container port, named or numbered, listens. A port that the pod does not
// declare is taken as it is, because on loopback nothing keeps a process from listening there.
func hostAddress(pod *corev1.Pod, port string) string {
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if (port == "" || p.Name == port || strconv.Itoa(int(p.ContainerPort)) == port) && p.HostPort > 0 {
				return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.HostPort)))
			}
		}
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// nameAndPort splits the [scheme:]name[:port] of a proxied object. Whatever the scheme, the connection is plain HTTP.
func nameAndPort(text string) (name, port string) {
	parts := strings.Split(text, ":")
	switch len(parts) {
	case 1:
		return parts[0], ""
	case 2:
		return parts[0], parts[1]
	}
	return parts[1], parts[2]
}
