package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unknown is the answer for a path that nothing serves.
func unknown(r *http.Request) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, schema.GroupResource{}, "", "404 page not found", 0, false)
}

// fail answers with an error as a Status.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		s.cfg.Log.Error("request failed", "err", err)
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	reply(w, int(status.Code), status)
}

// reply writes a value as JSON, under another media type when the caller has set one. A client that went away is nobody to tell.
func reply(w http.ResponseWriter, code int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, fmt.Sprintf("write answer: %v", err), http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(code)
	_, _ = w.Write(data)
}

// replyObject answers with one object, in the version and the form that the client asked for.
func (c *call) replyObject(code int, object *unstructured.Unstructured) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	reply(c.writer, code, form.object(c.kind.convert(object, c.gv)))
	return nil
}

// replyList answers with objects of the call's kind.
func (c *call) replyList(objects []*unstructured.Unstructured, version uint64) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	converted := make([]*unstructured.Unstructured, len(objects))
	for i, object := range objects {
		converted[i] = c.kind.convert(object, c.gv)
	}
	reply(c.writer, http.StatusOK, form.objects(converted, strconv.FormatUint(version, 10)))
	return nil
}
