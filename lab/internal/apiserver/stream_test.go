package apiserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// backend is a pod's process: it tells what it was asked.
func backend(t *testing.T) int32 {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s auth=%q", r.Method, r.RequestURI, body, r.Header.Get("Authorization"))
	}))
	t.Cleanup(server.Close)
	_, text, err := net.SplitHostPort(server.Listener.Addr().String())
	must(t, err)
	return int32(value(strconv.Atoi(text))(t))
}

// behind makes a pod and a Service whose port 8080 is the host port.
func behind(t *testing.T, a *api, host int32) {
	t.Helper()
	p := pod("web")
	p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, HostPort: host}}
	value(a.core.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}))(t)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	value(a.core.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}))(t)
	endpoints := object(t, fmt.Sprintf(`{apiVersion: v1, kind: Endpoints, metadata: {name: web},
		subsets: [{addresses: [{ip: 127.0.0.1}], ports: [{name: http, port: %d}]}]}`, host))
	value(a.dynamic.Resource(corev1.SchemeGroupVersion.WithResource("endpoints")).Namespace("default").Create(t.Context(), endpoints, metav1.CreateOptions{}))(t)
	service.Name = "empty"
	value(a.core.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}))(t)
}

func TestProxy(t *testing.T) {
	a := serve(t, apiserver.Config{})
	behind(t, a, backend(t))
	client := value(rest.HTTPClientFor(a.config))(t)
	for name, test := range map[string]struct {
		method, path, body string
		code               int
		want               string
	}{
		"a pod by its only port":                   {"GET", "pods/web/proxy/a/b", "", 418, `GET /a/b  auth=""`},
		"a pod by number, with query and body":     {"POST", "pods/web:8080/proxy/a?x=1&y=%2F", "hello", 418, "POST /a?x=1&y=%2F hello"},
		"a pod by the name of a port":              {"PUT", "pods/http:web:http/proxy/", "", 418, "PUT / "},
		"a Service by number":                      {"GET", "services/web:80/proxy/a%2Fb/", "", 418, "GET /a%2Fb/ "},
		"a Service by name, without a path":        {"DELETE", "services/web:http/proxy", "", 418, "DELETE / "},
		"a Service without endpoints":              {"GET", "services/empty/proxy/", "", 503, `no endpoints available for service \"empty\"`},
		"a Service without such a port":            {"GET", "services/web:81/proxy/", "", 503, "no service port"},
		"a Service that is missing":                {"GET", "services/none/proxy/", "", 404, "not found"},
		"a port of the pod where nobody listens":   {"GET", "pods/web:1/proxy/", "", 503, "ServiceUnavailable"},
		"an object that can not be proxied at all": {"GET", "configmaps/web/proxy/", "", 404, "could not find"},
	} {
		t.Run(name, func(t *testing.T) {
			request := value(http.NewRequestWithContext(t.Context(), test.method, a.config.Host+"/api/v1/namespaces/default/"+test.path, strings.NewReader(test.body)))(t)
			answer, err := client.Do(request)
			must(t, err)
			defer answer.Body.Close()
			body := string(value(io.ReadAll(answer.Body))(t))
			if answer.StatusCode != test.code || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %s", answer.StatusCode, body, test.code, test.want)
			}
		})
	}
}

func TestPortForward(t *testing.T) {
	a := serve(t, apiserver.Config{})
	behind(t, a, backend(t))
	transport, upgrader, err := spdy.RoundTripperFor(a.config)
	must(t, err)
	address := value(url.Parse(a.config.Host + "/api/v1/namespaces/default/pods/web/portforward"))(t)
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, address)
	stop, ready := make(chan struct{}), make(chan struct{})
	var problems bytes.Buffer
	forwarder := value(portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, &problems))(t)
	done := make(chan error, 1)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("forward: %v", err)
	}
	ports := value(forwarder.GetPorts())(t)
	for i := range 3 {
		request := value(http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/%d", ports[0].Local, i), nil))(t)
		request.Close = true
		answer, err := http.DefaultClient.Do(request)
		must(t, err)
		if body := string(value(io.ReadAll(answer.Body))(t)); !strings.HasPrefix(body, fmt.Sprintf("GET /%d ", i)) {
			t.Errorf("got %s", body)
		}
		must(t, answer.Body.Close())
	}
	a.server.Close() // must end the connection, not wait for it
	if err := <-done; err != nil && !errors.Is(err, portforward.ErrLostConnectionToPod) {
		t.Errorf("forward ended with %v", err)
	}
}

func TestLogs(t *testing.T) {
	lines := make(chan string)
	a := serve(t, apiserver.Config{Logs: func(ctx context.Context, pod *corev1.Pod, options *corev1.PodLogOptions) (io.ReadCloser, error) {
		if options.Previous {
			return nil, errors.New("there is no previous one")
		}
		reader, writer := io.Pipe()
		go func() {
			for {
				select {
				case line := <-lines:
					fmt.Fprintf(writer, "%s/%s %s\n", pod.Name, options.Container, line)
				case <-ctx.Done():
					_ = writer.Close()
					return
				}
			}
		}()
		return reader, nil
	}})
	pods := a.core.CoreV1().Pods("default")
	value(pods.Create(t.Context(), pod("web"), metav1.CreateOptions{}))(t)
	stream := value(pods.GetLogs("web", &corev1.PodLogOptions{Follow: true}).Stream(t.Context()))(t)
	buffer := make([]byte, 100)
	for _, line := range []string{"one", "two"} {
		lines <- line // the next is written only after the last was read: it came at once
		n, err := stream.Read(buffer)
		if got, want := string(buffer[:n]), "web/app "+line+"\n"; err != nil || got != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	must(t, stream.Close())
	for name, options := range map[string]*corev1.PodLogOptions{
		"a container that the pod has not": {Container: "other"},
		"a log that is not there":          {Previous: true},
	} {
		if _, err := pods.GetLogs("web", options).Do(t.Context()).Raw(); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
