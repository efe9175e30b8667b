// Package apiserver is the Kubernetes API over HTTP with all objects in memory.
package apiserver

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// maxBody is the largest request, as the real API has it.
const maxBody = 3 << 20

// Config is what a Server is made of; Token and Logs may be empty.
type Config struct {
	Token string // that every request must carry; "" lets everybody in
	Now   func() time.Time
	Log   *slog.Logger
	// Logs opens the log of a pod's container; nil has none.
	Logs func(ctx context.Context, pod *corev1.Pod, options *corev1.PodLogOptions) (io.ReadCloser, error)
}

// Server is the API; New makes it.
type Server struct {
	Config
	store *store
}

// New returns an API with the built-in kinds and the usual namespaces; more kinds come with CustomResourceDefinitions.
// Nobody's rights are checked beyond the token.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, store: newStore(cfg.Now)}
	for _, name := range []string{"default", "kube-system"} {
		ns := &object{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
		_, _ = s.store.create(namespaces(), ns, false) // nothing else is there yet
	}
	return s
}

// Close ends all watches, so that the HTTP server can shut down.
func (s *Server) Close() { s.store.close() }

// request is a request of the API, taken apart.
type request struct {
	*http.Request
	kind
	at          types.NamespacedName // Name is "" for a whole resource
	subresource string
	rest        string // behind a subresource that is a proxy
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
				panic(p)
			}
			s.Log.Error("request panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.fail(w, errors.NewInternalError(fmt.Errorf("panic: %v", p)))
		}
	}()
	switch r.URL.Path {
	case "/healthz", "/livez", "/readyz":
		_, _ = io.WriteString(w, "ok") // a probe that has gone asks again
		return
	}
	if s.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.Token)) != 1 {
		s.fail(w, errors.NewUnauthorized("the request does not carry the token"))
		return
	}
	if document, ok := s.document(r); ok {
		s.write(w, http.StatusOK, document)
		return
	}
	q, err := s.parse(r)
	if err == nil {
		err = s.handle(w, q)
	}
	if err != nil {
		s.fail(w, err)
	}
}

// parse finds out what a path means: /api/v1/… or /apis/<group>/<version>/…, then [namespaces/<ns>/]<resource>[/<name>[/<subresource>…]].
func (s *Server) parse(r *http.Request) (request, error) {
	q := request{Request: r}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var gv schema.GroupVersion
	switch {
	case len(parts) > 2 && parts[0] == "api" && parts[1] == "v1":
		gv.Version, parts = "v1", parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return q, unknown(r.URL.Path)
	}
	if len(parts) > 2 && parts[0] == "namespaces" && !(gv.Group == "" && (parts[2] == "status" || parts[2] == "finalize")) {
		q.at.Namespace, parts = parts[1], parts[2:]
	}
	k, ok := s.store.lookup(gv.WithResource(parts[0]))
	if !ok || !k.namespaced && q.at.Namespace != "" {
		return q, unknown(r.URL.Path)
	}
	q.kind = k
	if len(parts) > 1 {
		q.at.Name = parts[1]
	}
	if len(parts) > 2 {
		q.subresource = parts[2]
	}
	if q.subresource == "proxy" {
		_, q.rest, _ = strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/"+parts[1]+"/proxy")
	} else if len(parts) > 3 {
		return q, unknown(r.URL.Path)
	}
	if k.namespaced && q.at.Name != "" && q.at.Namespace == "" {
		return q, unknown(r.URL.Path)
	}
	return q, nil
}

func unknown(path string) error {
	err := errors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, true)
	err.ErrStatus.Message = "the server could not find the requested resource: " + path
	return err
}

// handle finds who answers a request.
func (s *Server) handle(w http.ResponseWriter, q request) error {
	switch q.subresource {
	case "":
		return s.handleObject(w, q)
	case "status":
		if q.status {
			return s.handleWrite(w, q)
		}
	case "finalize":
		if q.Resource == "namespaces" {
			return s.handleWrite(w, q)
		}
	case "scale":
		if q.scale {
			return s.handleScale(w, q)
		}
	case "proxy":
		if q.Group == "" && (q.Resource == "pods" || q.Resource == "services") {
			return s.proxy(w, q)
		}
	case "log":
		if q.Group == "" && q.Resource == "pods" && q.Method == http.MethodGet {
			return s.log(w, q)
		}
	case "portforward":
		if q.Group == "" && q.Resource == "pods" {
			return s.portForward(w, q)
		}
	}
	return unknown(q.URL.Path)
}

func (s *Server) handleObject(w http.ResponseWriter, q request) error {
	one := q.at.Name != ""
	switch {
	case q.Method == http.MethodGet && one:
		return s.handleRead(w, q)
	case q.Method == http.MethodGet:
		if watching := q.URL.Query().Get("watch"); watching == "true" || watching == "1" {
			return s.serveWatch(w, q)
		}
		return s.serveList(w, q)
	case q.Method == http.MethodPost && !one:
		return s.handleCreate(w, q)
	case (q.Method == http.MethodPut || q.Method == http.MethodPatch) && one:
		return s.handleWrite(w, q)
	case q.Method == http.MethodDelete && one:
		return s.handleDelete(w, q)
	case q.Method == http.MethodDelete:
		return s.handleDeleteAll(w, q)
	}
	return errors.NewMethodNotSupported(q.GroupResource(), strings.ToLower(q.Method))
}

// fail answers with a Status. What is not one of the API's own errors is our fault and is logged.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var api errors.APIStatus
	if !stderrors.As(err, &api) {
		s.Log.Error("request failed", "error", err)
		api = errors.NewInternalError(err)
	}
	status := api.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	s.write(w, int(status.Code), status)
}

func (s *Server) write(w http.ResponseWriter, code int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		s.Log.Error("answer not encoded", "error", err)
		code, body = http.StatusInternalServerError, []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// read decodes a body; an empty one is an empty document.
func read(q request, into any) error {
	body, err := body(q)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.NewBadRequest("the body is not JSON: " + err.Error())
	}
	return nil
}

func body(q request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, q.Body, maxBody))
	var large *http.MaxBytesError
	if stderrors.As(err, &large) {
		return nil, errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if err != nil {
		return nil, errors.NewBadRequest("the body was not sent to its end: " + err.Error())
	}
	if mediaType, _, _ := strings.Cut(q.Header.Get("Content-Type"), ";"); mediaType == runtime.ContentTypeProtobuf {
		return fromProtobuf(body)
	}
	return body, nil
}

// fromProtobuf turns a body into JSON: typed clients prefer the other form.
func fromProtobuf(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	typed, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, errors.NewBadRequest("the body is not what its content type says: " + err.Error())
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("decode body: %w", err)
	}
	content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return json.Marshal(content)
}

// success is the answer to a deletion that left nothing.
func success(k kind, o *object) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: o.GetName(), Group: k.Group, Kind: k.Resource, UID: o.GetUID()},
	}
}
