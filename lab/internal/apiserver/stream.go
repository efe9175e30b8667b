package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stream serves the subresources that connect a client with what runs in a pod.
func (s *Server) stream(c *call) error {
	switch {
	case c.sub == "proxy":
		return s.proxy(c)
	case c.sub == "log" && c.kind.is("", "pods") && c.request.Method == http.MethodGet:
		return s.log(c)
	case c.sub == "portforward" && c.kind.is("", "pods"):
		return s.forward(c)
	}
	return unknown(c.request)
}

// pod reads the pod that a call names.
func (s *Server) pod(c *call, name string) (*corev1.Pod, error) {
	s.mu.Lock()
	object := s.store.get(s.core("pods"), c.namespace, name)
	s.mu.Unlock()
	if object == nil {
		return nil, c.notFound()
	}
	return typed[corev1.Pod](object)
}

// log streams the log of a container as it comes.
func (s *Server) log(c *call) error {
	if s.cfg.Logs == nil {
		return apierrors.NewGenericServerResponse(http.StatusNotImplemented, "get", c.kind.groupResource(), c.name, "nothing here keeps logs", 0, false)
	}
	options, err := logOptions(c.query)
	if err != nil {
		return err
	}
	pod, err := s.pod(c, c.name)
	if err != nil {
		return err
	}
	if options.Container, err = container(pod, options.Container); err != nil {
		return err
	}
	s.streams.Add(1)
	defer s.streams.Done()
	ctx, cancel := s.until(c.request.Context())
	defer cancel()
	content, err := s.cfg.Logs(ctx, pod, options)
	if err != nil {
		var known apierrors.APIStatus
		if errors.As(err, &known) {
			return err
		}
		return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q: %v", options.Container, pod.Name, err))
	}
	defer content.Close()
	c.writer.Header().Set("Content-Type", "text/plain")
	c.writer.WriteHeader(http.StatusOK)
	control := http.NewResponseController(c.writer)
	_ = control.Flush() // a client may wait for the answer's head while the log is still empty
	// Once the answer has begun, all that can be done about a broken log or client is to end it.
	_, _ = io.Copy(flushing{c.writer, control}, content)
	return nil
}

// until returns a context that ends with a request or with the server.
func (s *Server) until(request context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(request)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// flushing sends what it is given at once.
type flushing struct {
	io.Writer
	control *http.ResponseController
}

func (f flushing) Write(data []byte) (int, error) {
	n, err := f.Writer.Write(data)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}

// logOptions reads the options of a log from a query.
func logOptions(query url.Values) (*corev1.PodLogOptions, error) {
	options := &corev1.PodLogOptions{
		Container: query.Get("container"), Follow: query.Get("follow") == "true",
		Previous: query.Get("previous") == "true", Timestamps: query.Get("timestamps") == "true",
	}
	for name, field := range map[string]**int64{"tailLines": &options.TailLines, "limitBytes": &options.LimitBytes, "sinceSeconds": &options.SinceSeconds} {
		if query.Get(name) == "" {
			continue
		}
		number, err := strconv.ParseInt(query.Get(name), 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read %s: %v", name, err))
		}
		*field = &number
	}
	if text := query.Get("sinceTime"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read sinceTime: %v", err))
		}
		options.SinceTime = &metav1.Time{Time: since}
	}
	return options, nil
}

// container finds the container that a client means: a pod with one needs no name.
func container(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range append(append([]corev1.Container(nil), pod.Spec.InitContainers...), pod.Spec.Containers...) {
		if c.Name == name {
			return name, nil
		}
		names = append(names, c.Name)
	}
	if name == "" && len(names) == 1 {
		return names[0], nil
	}
	if name == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, names))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}
