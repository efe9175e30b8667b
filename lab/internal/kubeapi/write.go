package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// decode reads an object of a kind from a body. Strict is what the query asks for: unknown and doubled fields are errors.
func decode(q request, text []byte) (*object, error) {
	o := &object{}
	if err := json.Unmarshal(text, &o.Object); err != nil {
		return nil, errors.NewBadRequest("the body is not JSON: " + err.Error())
	}
	if o.Object == nil {
		return nil, errors.NewBadRequest("the body is empty")
	}
	if o, err := integers(o); err != nil {
		return nil, err
	} else if gvk := o.GroupVersionKind(); gvk != q.gvk() {
		return nil, errors.NewBadRequest(fmt.Sprintf("the object is a %s, but the path is that of %s", gvk, q.gvk()))
	}
	if ns := o.GetNamespace(); q.namespaced && ns != "" && ns != q.at.Namespace {
		return nil, errors.NewBadRequest(fmt.Sprintf("the namespace of the object (%s) is not that of the path (%s)", ns, q.at.Namespace))
	}
	if q.namespaced {
		o.SetNamespace(q.at.Namespace)
	}
	return o, nil
}

func strict(q request) bool {
	return q.URL.Query().Get("fieldValidation") == metav1.FieldValidationStrict
}

func dry(q request) bool { return q.URL.Query().Get("dryRun") != "" }

func (s *Server) handleRead(w http.ResponseWriter, q request) error {
	o, err := s.store.get(q.kind, q.at)
	if err != nil {
		return err
	}
	s.answer(w, q, http.StatusOK, o)
	return nil
}

// answer writes one object, as a table when that is asked for.
func (s *Server) answer(w http.ResponseWriter, q request, code int, o *object) {
	if asTable(q) {
		s.write(w, code, tableOf(q.kind, []*object{o}, o.GetResourceVersion(), s.Now()))
		return
	}
	s.write(w, code, o)
}

func (s *Server) handleCreate(w http.ResponseWriter, q request) error {
	text, err := body(q)
	if err != nil {
		return err
	}
	o, err := decode(q, text)
	if err != nil {
		return err
	}
	if o.GetName() == "" && o.GetGenerateName() != "" {
		o.SetName(o.GetGenerateName() + rand.String(5))
	}
	if problems := validation.IsDNS1123Subdomain(o.GetName()); len(problems) > 0 && !strings.Contains(o.GetName(), ":") {
		wrong := field.Invalid(field.NewPath("metadata", "name"), o.GetName(), strings.Join(problems, "; "))
		return errors.NewInvalid(q.gvk().GroupKind(), o.GetName(), field.ErrorList{wrong})
	}
	if o, err = admit(q.kind, o, strict(q)); err != nil {
		return err
	}
	if o, err = s.store.create(q.kind, o, dry(q)); err != nil {
		return err
	}
	s.answer(w, q, http.StatusCreated, o)
	return nil
}

// handleWrite is an update or a patch of an object or of its status.
func (s *Server) handleWrite(w http.ResponseWriter, q request) error {
	if q.Method == http.MethodGet {
		return s.handleRead(w, q)
	}
	text, err := body(q)
	if err != nil {
		return err
	}
	code := http.StatusOK
	var change func(*object) (*object, error)
	switch q.Method {
	case http.MethodPut:
		wanted, err := decode(q, text)
		if err != nil {
			return err
		}
		if wanted.GetName() != q.at.Name {
			return errors.NewBadRequest(fmt.Sprintf("the name of the object (%s) is not that of the path (%s)", wanted.GetName(), q.at.Name))
		}
		change = func(*object) (*object, error) { return admit(q.kind, wanted, strict(q)) }
	case http.MethodPatch:
		mediaType, _, _ := strings.Cut(q.Header.Get("Content-Type"), ";")
		if types.PatchType(mediaType) == types.ApplyPatchType {
			return s.handleApply(w, q, text)
		}
		change = func(current *object) (*object, error) {
			wanted, err := patched(q, types.PatchType(mediaType), current, text)
			if err != nil {
				return nil, err
			}
			return admit(q.kind, wanted, strict(q))
		}
	default:
		return errors.NewMethodNotSupported(q.GroupResource(), strings.ToLower(q.Method))
	}
	o, err := s.store.update(q.kind, q.at, status(q), dry(q), change)
	if err != nil {
		return err
	}
	s.answer(w, q, code, o)
	return nil
}

// status is the part that a request may change.
func status(q request) string {
	if q.subresource == "status" {
		return "status"
	}
	return ""
}

func deleteOptions(q request) (metav1.DeleteOptions, error) {
	var options metav1.DeleteOptions
	if err := read(q, &options); err != nil {
		return options, err
	}
	query := q.URL.Query()
	if policy := metav1.DeletionPropagation(query.Get("propagationPolicy")); policy != "" {
		options.PropagationPolicy = &policy
	}
	if text := query.Get("gracePeriodSeconds"); text != "" {
		var grace int64
		if _, err := fmt.Sscan(text, &grace); err != nil {
			return options, errors.NewBadRequest("gracePeriodSeconds is no number: " + text)
		}
		options.GracePeriodSeconds = &grace
	}
	if text := query.Get("dryRun"); text != "" {
		options.DryRun = []string{text}
	}
	return options, nil
}

func (s *Server) handleDelete(w http.ResponseWriter, q request) error {
	options, err := deleteOptions(q)
	if err != nil {
		return err
	}
	o, err := s.store.delete(q.kind, q.at, options)
	if err != nil {
		return err
	}
	if _, err := s.store.get(q.kind, q.at); err == nil {
		s.answer(w, q, http.StatusOK, o) // it has to wait for something
		return nil
	}
	s.write(w, http.StatusOK, success(q.kind, o))
	return nil
}

func (s *Server) handleDeleteAll(w http.ResponseWriter, q request) error {
	options, err := deleteOptions(q)
	if err != nil {
		return err
	}
	match, err := selection(q)
	if err != nil {
		return err
	}
	all, version := s.store.list(q.kind, match)
	for _, o := range all {
		if _, err := s.store.delete(q.kind, name(o), options); err != nil && !errors.IsNotFound(err) {
			return err
		}
	}
	s.write(w, http.StatusOK, list(q.kind, all, version))
	return nil
}
