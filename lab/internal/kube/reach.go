package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 16 << 20

// Service calls a service through the API server's proxy; port is its name or number. The answer is returned with
// its status whatever that is; an error means that there was no answer of the service.
func (c *Client) Service(ctx context.Context, method, namespace, service, port, path string, body []byte) ([]byte, int, error) {
	return c.proxy(ctx, method, "/api/v1/namespaces/"+namespace+"/services/"+service+":"+port+"/proxy"+path, body)
}

// Metrics reads /metrics of a pod through the API server's proxy.
func (c *Client) Metrics(ctx context.Context, namespace, pod string, port int) ([]byte, error) {
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/metrics", namespace, pod, port)
	text, status, err := c.proxy(ctx, http.MethodGet, path, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", path, status)
	}
	return text, err
}

// proxy calls what path names. It goes beside client-go's requests, which hide the status of an answer that is not the
// API server's own. That one answers 502, 503 or 504 when it can not reach what it is asked for.
func (c *Client) proxy(ctx context.Context, method, path string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, 0, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(text)))
	default:
		return text, response.StatusCode, nil
	}
}

// Forward opens a local port to a pod's port for as long as use runs and hands it the base URL. It is for requests
// with an Authorization header, which the proxy would take for its own.
func (c *Client) Forward(ctx context.Context, namespace, pod string, port int, use func(base string) error) error {
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return fmt.Errorf("forward to pod %s/%s: %w", namespace, pod, err)
	}
	url := c.core.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	opened := make(chan struct{})
	forward, err := portforward.NewOnAddressesWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, opened, io.Discard, io.Discard)
	if err != nil {
		return fmt.Errorf("forward to pod %s/%s: %w", namespace, pod, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forward.ForwardPorts() }()
	select {
	case <-opened:
	case err := <-ended:
		return errors.Join(ctx.Err(), fmt.Errorf("forward to pod %s/%s: %w", namespace, pod, err))
	}
	ports, err := forward.GetPorts()
	if err == nil {
		err = use(fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local))
	}
	stop()
	if lost := <-ended; err == nil {
		err = lost
	}
	if err != nil {
		return fmt.Errorf("forward to pod %s/%s: %w", namespace, pod, err)
	}
	return nil
}
