package apiserver

import (
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// update replaces an object.
func (s *Server) update(c *call) error {
	object, err := s.sent(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	object, err = s.change(c, func(*unstructured.Unstructured) (*unstructured.Unstructured, error) { return object, nil })
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return c.replyObject(http.StatusOK, object)
}

// change replaces the object of a call by what edit makes of it; edit must not change its argument.
func (s *Server) change(c *call, edit func(current *unstructured.Unstructured) (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	current := s.store.get(c.kind, c.namespace, c.name)
	if current == nil {
		return nil, c.notFound()
	}
	wanted, err := edit(current)
	if err != nil {
		return nil, err
	}
	if err := c.place(wanted); err != nil {
		return nil, err
	}
	if err := c.agrees(current, wanted); err != nil {
		return nil, err
	}
	object := c.kind.merge(c.sub, current, wanted)
	if c.kind.counted() && !equality.Semantic.DeepEqual(c.kind.desired(current), c.kind.desired(object)) {
		object.SetGeneration(current.GetGeneration() + 1)
	}
	if err := s.validate(c.kind, current, object); err != nil {
		return nil, err
	}
	if !c.applies() {
		object = s.own(c, current, object)
	}
	if same(current, object) {
		return current, nil
	}
	if c.dryRun() {
		return object, nil
	}
	s.store.put(c.kind, object)
	s.settle(c.kind, object)
	if !equality.Semantic.DeepEqual(current.GetOwnerReferences(), object.GetOwnerReferences()) {
		for _, owner := range current.GetOwnerReferences() {
			s.release(owner.UID)
		}
	}
	s.finish(c.kind, object) // the write may have taken the last finalizer off
	return object, nil
}

// agrees checks what the client believes of the object that it writes.
func (c *call) agrees(current, wanted *unstructured.Unstructured) error {
	if uid := wanted.GetUID(); uid != "" && uid != current.GetUID() {
		return apierrors.NewConflict(c.kind.groupResource(), c.name, fmt.Errorf("the UID in the object (%s) is not that of the stored one (%s)", uid, current.GetUID()))
	}
	version := wanted.GetResourceVersion()
	if version == "" && c.request.Method == http.MethodPut && c.kind.custom != nil {
		return invalid(c.kind, c.name, "metadata.resourceVersion", "must be specified for an update")
	}
	if version != "" && version != current.GetResourceVersion() {
		return apierrors.NewConflict(c.kind.groupResource(), c.name,
			errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return nil
}

// merge returns what is stored when a client writes wanted over current: the server's own fields stay, and status and the
// rest can only be written through their own subresource.
func (k *kind) merge(sub string, current, wanted *unstructured.Unstructured) *unstructured.Unstructured {
	object := wanted.DeepCopy()
	if sub == "status" {
		object = current.DeepCopy()
		replace(object, wanted, "status")
		// Built-in kinds let a status writer set labels and annotations too; custom resources only the status.
		if k.custom == nil {
			object.SetAnnotations(wanted.GetAnnotations())
			object.SetLabels(wanted.GetLabels())
		}
		object.SetManagedFields(wanted.GetManagedFields())
	} else if k.status {
		replace(object, current, "status")
	}
	object.SetUID(current.GetUID())
	object.SetResourceVersion(current.GetResourceVersion())
	object.SetGeneration(current.GetGeneration())
	unstructured.RemoveNestedField(object.Object, "metadata", "selfLink")
	for _, field := range []string{"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		value, found, _ := unstructured.NestedFieldNoCopy(current.Object, "metadata", field)
		if found {
			object.Object["metadata"].(map[string]any)[field] = value
		} else {
			unstructured.RemoveNestedField(object.Object, "metadata", field)
		}
	}
	// An address, once given, stays: clients apply Services without one.
	if k.is("", "services") && sub == "" {
		for _, field := range []string{"clusterIP", "clusterIPs"} {
			if value, found, _ := unstructured.NestedFieldCopy(object.Object, "spec", field); !found || value == "" {
				if old, found, _ := unstructured.NestedFieldCopy(current.Object, "spec", field); found {
					object.Object["spec"].(map[string]any)[field] = old
				}
			}
		}
	}
	return object
}

// replace sets a top-level field to that of another object.
func replace(object, from *unstructured.Unstructured, field string) {
	delete(object.Object, field)
	if value, found := from.Object[field]; found {
		object.Object[field] = value
	}
}

// counted tells whether objects of a kind have a generation.
func (k *kind) counted() bool {
	return k.custom != nil || k.status || k.is("networking.k8s.io", "networkpolicies")
}

// desired is the part of an object whose changes make a new generation.
func (k *kind) desired(object *unstructured.Unstructured) map[string]any {
	part := make(map[string]any, len(object.Object))
	for field, value := range object.Object {
		if field != "metadata" && (field != "status" || !k.status) {
			part[field] = value
		}
	}
	return part
}

// same tells whether a write changes nothing. When managers wrote their fields does not count: otherwise two controllers
// that write the same would wake one another for ever.
func same(current, object *unstructured.Unstructured) bool {
	a, b := current.DeepCopy(), object.DeepCopy()
	for _, o := range []*unstructured.Unstructured{a, b} {
		fields := o.GetManagedFields()
		for i := range fields {
			fields[i].Time = nil
		}
		o.SetManagedFields(fields)
	}
	return equality.Semantic.DeepEqual(a.Object, b.Object)
}
