package apiserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	forwardIdle   = 4 * time.Hour    // as in the kubelet: connections may be quiet for long
	forwardCreate = 30 * time.Second // for the two streams of one connection
)

// forward serves kubectl port-forward and client-go's tools/portforward, over SPDY.
func (s *Server) forward(c *call) error {
	pod, err := s.pod(c, c.name)
	if err != nil {
		return err
	}
	// Newer clients first offer SPDY inside a WebSocket; refused, they come again with SPDY.
	if wsstream.IsWebSocketRequest(c.request) {
		return apierrors.NewBadRequest("port-forward is served over SPDY only")
	}
	s.streams.Add(1)
	defer s.streams.Done()
	ctx, cancel := s.until(c.request.Context())
	defer cancel()
	writer := hijacked{c.writer, http.NewResponseController(c.writer), ctx}
	portforward.ServePortForward(writer, c.request.WithContext(ctx), forwarder{ctx, pod}, pod.Name, string(pod.UID),
		nil, forwardIdle, forwardCreate, []string{portforward.ProtocolV1Name})
	return nil
}

// hijacked ends the connection that is taken over from net/http when its context does: the port-forward server itself
// waits for the client only.
type hijacked struct {
	http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
}

// Hijack is part of http.Hijacker.
func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	connection, buffer, err := h.control.Hijack()
	if err == nil {
		context.AfterFunc(h.ctx, func() { _ = connection.Close() })
	}
	return connection, buffer, err
}

// forwarder connects the streams of one port-forward with a pod.
type forwarder struct {
	ctx context.Context
	pod *corev1.Pod
}

// PortForward copies between a stream and a port of the pod, until either ends.
func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	var dialer net.Dialer
	address := hostAddress(f.pod, strconv.Itoa(int(port)))
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to port %d of pod %s: %w", port, name, err)
	}
	stop := context.AfterFunc(f.ctx, func() { _ = connection.Close() })
	defer stop()
	done := make(chan error, 2)
	go func() {
		_, err := io.Copy(connection, stream)
		if half, ok := connection.(*net.TCPConn); ok {
			_ = half.CloseWrite() // the client has said everything; the pod may still answer
		}
		done <- err
	}()
	go func() {
		_, err := io.Copy(stream, connection)
		_, _ = stream.Close(), connection.Close()
		done <- err
	}()
	err = errors.Join(<-done, <-done)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
