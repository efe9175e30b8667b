package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
)

// applies tells whether the call is a server-side apply, whose field owners are set while it merges.
func (c *call) applies() bool {
	return c.request.Method == http.MethodPatch && c.patchType() == types.ApplyPatchType
}

// apply is server-side apply: apimachinery's field manager merges, with the schema of built-in kinds, and with one
// deduced from the object, in which lists are replaced as a whole, for custom resources. An object that is not there is
// created.
func (s *Server) apply(c *call, data []byte) error {
	if c.query.Get("fieldManager") == "" {
		return apierrors.NewBadRequest("PatchOptions.fieldManager is required for apply patch")
	}
	plain, err := s.plain(c, data)
	if err != nil {
		return err
	}
	wanted := &unstructured.Unstructured{}
	if err := wanted.UnmarshalJSON(plain); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("read apply patch: %v", err))
	}
	if err := c.place(wanted); err != nil {
		return err
	}
	s.mu.Lock()
	object, code, err := s.applyLocked(c, wanted)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return c.replyObject(code, object)
}

func (s *Server) applyLocked(c *call, wanted *unstructured.Unstructured) (*unstructured.Unstructured, int, error) {
	if s.store.get(c.kind, c.namespace, c.name) == nil {
		if c.sub != "" || wanted.GetUID() != "" {
			return nil, 0, c.notFound()
		}
		empty := &unstructured.Unstructured{}
		empty.SetGroupVersionKind(c.gv.WithKind(c.kind.name))
		object, err := s.mergeApplied(c, empty, wanted)
		if err != nil {
			return nil, 0, err
		}
		object, err = s.add(c, object)
		return object, http.StatusCreated, err
	}
	object, err := s.change(c, func(current *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return s.mergeApplied(c, c.kind.convert(current, c.gv), wanted)
	})
	return object, http.StatusOK, err
}

// mergeApplied merges an applied configuration into an object and reads the result as if a client had sent it.
func (s *Server) mergeApplied(c *call, current, wanted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	manager, err := s.fieldManager(c, c.gv)
	if err != nil {
		return nil, err
	}
	merged, err := manager.Apply(current.DeepCopy(), wanted.DeepCopy(), c.manager(), c.query.Get("force") == "true")
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		return nil, err
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("apply %s %s: %v", c.kind.name, c.name, err))
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(merged)
	if err != nil {
		return nil, fmt.Errorf("convert %s %s: %w", c.kind.name, c.name, err)
	}
	data, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", c.kind.name, c.name, err)
	}
	return s.decode(c, data)
}

// own notes who set which field, so that a later server-side apply finds conflicts.
func (s *Server) own(c *call, current, object *unstructured.Unstructured) *unstructured.Unstructured {
	manager, err := s.fieldManager(c, c.kind.served[0])
	if err != nil {
		s.cfg.Log.Warn("fields have no manager", "kind", c.kind.name, "err", err)
		return object
	}
	owned, ok := manager.UpdateNoErrors(current.DeepCopy(), object, c.manager()).(*unstructured.Unstructured)
	if !ok {
		return object
	}
	return owned
}

// fieldManager returns what merges and tracks the fields of a call's object in a version.
func (s *Server) fieldManager(c *call, gv schema.GroupVersion) (*managedfields.FieldManager, error) {
	gvk, plain := gv.WithKind(c.kind.name), asIs{}
	build, converter := managedfields.NewDefaultFieldManager, s.types
	if c.kind.custom != nil || c.kind.is("apiextensions.k8s.io", "customresourcedefinitions") {
		build, converter = managedfields.NewDefaultCRDFieldManager, managedfields.NewDeducedTypeConverter()
	}
	manager, err := build(converter, plain, plain, plain, gvk, gv, c.sub, nil)
	if err != nil {
		return nil, fmt.Errorf("make field manager of %s: %w", gvk, err)
	}
	return manager, nil
}

// asIs stands where the field manager wants conversion and defaults: it gets objects that need neither.
type asIs struct{}

// Convert is part of runtime.ObjectConvertor; the field manager does not use it.
func (asIs) Convert(_, _, _ any) error { return errors.New("not needed") }

// ConvertToVersion is part of runtime.ObjectConvertor.
func (asIs) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}

// ConvertFieldLabel is part of runtime.ObjectConvertor; the field manager does not use it.
func (asIs) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Default is part of runtime.ObjectDefaulter.
func (asIs) Default(runtime.Object) {}

// New is part of runtime.ObjectCreater.
func (asIs) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gvk)
	return object, nil
}
