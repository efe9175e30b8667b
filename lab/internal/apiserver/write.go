package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// create stores a new object.
func (s *Server) create(c *call) error {
	object, err := s.sent(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	object, err = s.add(c, object)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return c.replyObject(http.StatusCreated, object)
}

// add stores a decoded object as a new one, unless the call is a dry run.
func (s *Server) add(c *call, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if err := c.place(object); err != nil {
		return nil, err
	}
	if object.GetName() == "" && object.GetGenerateName() != "" {
		object.SetName(object.GetGenerateName() + rand.String(5))
	}
	if err := s.admit(c.kind, object); err != nil {
		return nil, err
	}
	if s.store.get(c.kind, object.GetNamespace(), object.GetName()) != nil {
		return nil, apierrors.NewAlreadyExists(c.kind.groupResource(), object.GetName())
	}
	object.SetUID(uuid.NewUUID())
	object.SetCreationTimestamp(metav1.NewTime(s.cfg.Now()))
	object.SetResourceVersion("")
	object.SetDeletionTimestamp(nil)
	object.SetDeletionGracePeriodSeconds(nil)
	unstructured.RemoveNestedField(object.Object, "metadata", "selfLink")
	if c.kind.counted() {
		object.SetGeneration(1)
	}
	s.begin(c.kind, object)
	if err := s.validate(c.kind, nil, object); err != nil {
		return nil, err
	}
	if !c.applies() {
		object = s.own(c, newLike(object), object)
	}
	if c.dryRun() {
		return object, nil
	}
	s.store.put(c.kind, object)
	s.settle(c.kind, object)
	s.forgetEvents(c.kind)
	return object, nil
}

// place makes name and namespace of an object agree with the path of the call.
func (c *call) place(object *unstructured.Unstructured) error {
	if !c.kind.namespaced {
		object.SetNamespace("")
	} else if object.GetNamespace() == "" {
		object.SetNamespace(c.namespace)
	}
	if object.GetNamespace() != c.namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the provided object does not match the namespace sent on the request (%s, %s)", object.GetNamespace(), c.namespace))
	}
	if c.name != "" && object.GetName() == "" {
		object.SetName(c.name)
	}
	if c.name != "" && object.GetName() != c.name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", object.GetName(), c.name))
	}
	return nil
}

// admit refuses objects for a namespace that does not exist or is going away.
func (s *Server) admit(k *kind, object *unstructured.Unstructured) error {
	if !k.namespaced {
		return nil
	}
	name := object.GetNamespace()
	namespace := s.store.get(s.core("namespaces"), "", name)
	if namespace == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	}
	if namespace.GetDeletionTimestamp() == nil {
		return nil
	}
	err := apierrors.NewForbidden(k.groupResource(), object.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", name))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: "NamespaceTerminating", Message: fmt.Sprintf("namespace %s is being terminated", name), Field: "metadata.namespace",
	})
	return err
}

// newLike is the empty object that a new one is compared with.
func newLike(object *unstructured.Unstructured) *unstructured.Unstructured {
	empty := &unstructured.Unstructured{}
	empty.SetGroupVersionKind(object.GroupVersionKind())
	return empty
}

// addNamespace makes a namespace that clients expect to be there.
func (s *Server) addNamespace(name string) {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("v1")
	object.SetKind("Namespace")
	object.SetName(name)
	object.SetLabels(map[string]string{"kubernetes.io/metadata.name": name})
	object.SetUID(uuid.NewUUID())
	object.SetCreationTimestamp(metav1.NewTime(s.cfg.Now()))
	object.SetGeneration(1)
	s.begin(s.core("namespaces"), object)
	s.store.put(s.core("namespaces"), object)
}
