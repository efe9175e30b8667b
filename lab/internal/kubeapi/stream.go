package apiserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

func (s *Server) pod(at types.NamespacedName) (*corev1.Pod, error) {
	k := is("/v1 pods Pod", "")
	o, err := s.store.get(k, at)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, pod); err != nil {
		return nil, fmt.Errorf("decode pod %s: %w", at, err)
	}
	return pod, nil
}

func (s *Server) log(w http.ResponseWriter, q request) error {
	pod, err := s.pod(q.at)
	if err != nil {
		return err
	}
	if s.Logs == nil {
		return errors.NewInternalError(fmt.Errorf("there are no logs here"))
	}
	options := &corev1.PodLogOptions{}
	if err := scheme.ParameterCodec.DecodeParameters(q.URL.Query(), corev1.SchemeGroupVersion, options); err != nil {
		return errors.NewBadRequest("the options of the log are wrong: " + err.Error())
	}
	if options.Container == "" && len(pod.Spec.Containers) > 0 {
		options.Container = pod.Spec.Containers[0].Name
	}
	log, err := s.Logs(q.Context(), pod, options)
	if err != nil {
		return errors.NewBadRequest(err.Error())
	}
	defer log.Close()
	w.Header().Set("Content-Type", "text/plain")
	flush := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := log.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil || flush.Flush() != nil {
				return nil //nolint:nilerror // the client has gone
			}
		}
		if err != nil {
			return nil //nolint:nilerror // the end, or the part that could be read
		}
	}
}

// proxy hands a request on to a pod or to one of a service's pods.
func (s *Server) proxy(w http.ResponseWriter, q request) error {
	name, port := proxied(q.at.Name)
	address, err := s.address(q.Resource, types.NamespacedName{Namespace: q.at.Namespace, Name: name}, port)
	if err != nil {
		return err
	}
	path, err := url.PathUnescape(q.rest)
	if err != nil {
		return errors.NewBadRequest("the path is wrong: " + err.Error())
	}
	target := &url.URL{Scheme: "http", Host: address, Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: q.URL.RawQuery}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL, r.Out.Host = target, address
			r.Out.Header.Del("Authorization") // it was for us
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.fail(w, errors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
		},
		FlushInterval: -1,
	}
	proxy.ServeHTTP(w, q.Request)
	return nil
}

// proxied reads [<scheme>:]<name>[:<port>].
func proxied(text string) (name, port string) {
	parts := strings.Split(text, ":")
	switch len(parts) {
	case 1:
		return parts[0], ""
	case 2:
		return parts[0], parts[1]
	default:
		return parts[1], parts[2]
	}
}

// address is where a port, by name or number, of a pod or a service is on this machine.
func (s *Server) address(resource string, at types.NamespacedName, port string) (string, error) {
	if resource == "pods" {
		pod, err := s.pod(at)
		if err != nil {
			return "", err
		}
		number, err := hostPort(pod, port)
		if err != nil || pod.Status.PodIP == "" {
			return "", errors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address for port %q", at, port))
		}
		return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(number))), nil
	}
	service, err := s.store.get(is("/v1 services Service", ""), at)
	if err != nil {
		return "", err
	}
	portName, ok := servicePort(service, port)
	if !ok {
		return "", errors.NewServiceUnavailable(fmt.Sprintf("service %s has no port %q", at, port))
	}
	endpoints, err := s.store.get(is("/v1 endpoints Endpoints", ""), at)
	if err == nil {
		e := &corev1.Endpoints{} //nolint:staticcheck // the oldest form is the one that lists addresses with their ports
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(endpoints.Object, e); err != nil {
			return "", fmt.Errorf("decode endpoints %s: %w", at, err)
		}
		for _, subset := range e.Subsets {
			for _, p := range subset.Ports {
				if p.Name == portName && len(subset.Addresses) > 0 {
					return net.JoinHostPort(subset.Addresses[0].IP, strconv.Itoa(int(p.Port))), nil
				}
			}
		}
	}
	return "", errors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", at.Name))
}

// servicePort is the name of a service's port that is given by name or number; "" is the only one.
func servicePort(service *object, port string) (string, bool) {
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, p := range ports {
		of, ok := p.(map[string]any)
		if !ok {
			continue
		}
		name, _ := of["name"].(string)
		if port == name || port == fmt.Sprint(of["port"]) || port == "" && len(ports) == 1 {
			return name, true
		}
	}
	return "", false
}

// hostPort is the port of this machine behind a pod's port, which is given by name or number; "" is the first.
func hostPort(pod *corev1.Pod, port string) (int32, error) {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if (port == "" || port == p.Name || port == strconv.Itoa(int(p.ContainerPort))) && p.HostPort > 0 {
				return p.HostPort, nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s/%s has no port %q", pod.Namespace, pod.Name, port)
}

// portForward lets a client speak to a pod's ports over one connection.
func (s *Server) portForward(w http.ResponseWriter, q request) error {
	pod, err := s.pod(q.at)
	if err != nil {
		return err
	}
	options, err := portforward.NewV4Options(q.Request)
	if err != nil {
		return errors.NewBadRequest(err.Error())
	}
	portforward.ServePortForward(w, q.Request, forwarder{s, q.at}, pod.Name, string(pod.UID), options, time.Hour, 30*time.Second, portforward.SupportedProtocols)
	return nil
}

// forwarder connects a stream with a port of a pod.
type forwarder struct {
	server *Server
	at     types.NamespacedName
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	address, err := f.server.address("pods", f.at, strconv.Itoa(int(port)))
	if err != nil {
		return err
	}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to pod %s: %w", f.at, err)
	}
	defer connection.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(connection, stream) // its end is the client's
		if tcp, ok := connection.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // the pod has gone, or learns that no more comes
		}
	}()
	_, err = io.Copy(stream, connection)
	stream.Close()
	<-done
	return err
}
