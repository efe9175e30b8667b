// Package apiserver is a Kubernetes API in memory, served over HTTP.
package apiserver

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	applyconfigurations "k8s.io/client-go/applyconfigurations"
	kubernetes "k8s.io/client-go/kubernetes/scheme"
)

// Config is what a Server is made from.
type Config struct {
	// Token is the bearer token that every request but those for health must carry; "" lets everybody in.
	Token string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log gets what a person should look at; nil drops it.
	Log *slog.Logger
	// Logs opens the log of a pod's container; nil answers 501. The reader ends when the context does.
	Logs func(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) (io.ReadCloser, error)
}

// Server is a Kubernetes API. It is safe for concurrent use.
type Server struct {
	cfg    Config
	scheme *runtime.Scheme
	types  managedfields.TypeConverter // knows how lists of built-in kinds merge

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	streams sync.WaitGroup // answers that do not end on their own

	mu    sync.Mutex // guards all below
	store *store
	kinds map[schema.GroupVersionResource]*kind
	nets  uint32    // how many cluster addresses have been handed out
	swept time.Time // when old events were last looked for
}

// New returns an API with the built-in kinds and the namespaces default and kube-system; more kinds come with
// CustomResourceDefinitions.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	scheme := runtime.NewScheme()
	// Both add fixed tables to an empty scheme: they can not fail at run time if they did not in the tests.
	if err := errors.Join(kubernetes.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme)); err != nil {
		panic(fmt.Sprintf("build scheme: %v", err))
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, scheme: scheme, types: applyconfigurations.NewTypeConverter(scheme), ctx: ctx, stop: stop,
		store: newStore(), kinds: map[schema.GroupVersionResource]*kind{},
	}
	for _, k := range builtins() {
		s.register(k)
	}
	for _, name := range []string{"default", "kube-system"} {
		s.addNamespace(name)
	}
	return s
}

// register makes a kind known.
func (s *Server) register(k *kind) {
	for _, gv := range k.served {
		s.kinds[gv.WithResource(k.resource)] = k
	}
}

// core returns a built-in kind of the core group.
func (s *Server) core(resource string) *kind {
	return s.kinds[schema.GroupVersionResource{Version: "v1", Resource: resource}]
}

// Close ends all watches and streams and waits for them.
func (s *Server) Close() {
	s.stop()
	s.streams.Wait()
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(cause) // a proxied answer broke off: net/http cuts the connection, so that the client notices
		}
		s.cfg.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
		s.fail(w, apierrors.NewInternalError(fmt.Errorf("serve %s %s: panic", r.Method, r.URL.Path)))
	}()
	switch r.URL.Path {
	case "/healthz", "/livez", "/readyz":
		fmt.Fprint(w, "ok")
		return
	}
	if !s.allowed(r) {
		s.fail(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	if err := s.route(w, r); err != nil {
		s.fail(w, err)
	}
}

// allowed checks the token.
func (s *Server) allowed(r *http.Request) bool {
	return s.cfg.Token == "" ||
		subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.cfg.Token)) == 1
}

// route finds out what a request is for.
func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	if done, err := s.discover(w, r); done {
		return err
	}
	where, ok := parse(r.URL.Path)
	if !ok {
		return unknown(r)
	}
	s.mu.Lock()
	k := s.kinds[where.gv.WithResource(where.resource)]
	s.mu.Unlock()
	if k == nil || (where.namespace != "" && !k.namespaced) {
		return unknown(r)
	}
	c := &call{target: where, kind: k, query: r.URL.Query(), request: r, writer: w, now: s.cfg.Now}
	c.warn = func(text string) { w.Header().Add("Warning", fmt.Sprintf("299 - %q", text)) }
	switch {
	case c.sub == "" && c.name == "":
		return s.collection(c)
	case k.namespaced && c.namespace == "":
		return unknown(r)
	case c.sub == "" || (c.sub == "status" && k.status):
		return s.object(c)
	case c.sub == "scale" && k.scale:
		return s.scale(c)
	case k.is("", "pods") || k.is("", "services"):
		return s.stream(c)
	}
	return unknown(r)
}

// collection serves all objects of a resource.
func (s *Server) collection(c *call) error {
	switch c.request.Method {
	case http.MethodGet:
		if c.query.Get("watch") == "true" || c.query.Get("watch") == "1" {
			return s.watch(c)
		}
		return s.list(c)
	case http.MethodPost:
		return s.create(c)
	case http.MethodDelete:
		return s.deleteAll(c)
	}
	return apierrors.NewMethodNotSupported(c.kind.groupResource(), c.request.Method)
}

// object serves one object and its status.
func (s *Server) object(c *call) error {
	switch c.request.Method {
	case http.MethodGet:
		if c.query.Get("watch") == "true" || c.query.Get("watch") == "1" {
			return s.watch(c)
		}
		return s.get(c)
	case http.MethodPut:
		return s.update(c)
	case http.MethodPatch:
		return s.patch(c)
	case http.MethodDelete:
		if c.sub == "" {
			return s.delete(c)
		}
	}
	return apierrors.NewMethodNotSupported(c.kind.groupResource(), c.request.Method)
}
