package apiserver

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func namespaces() kind { return is("/v1 namespaces Namespace ns", "cluster status") }
func definitions() kind {
	return is("apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition", "cluster status")
}

// graceful reports whether an object whose deletion has begun still waits for its node.
func graceful(k kind, o *object) bool {
	grace := o.GetDeletionGracePeriodSeconds()
	return k.Resource == "pods" && k.Group == "" && grace != nil && *grace > 0
}

// remove deletes an object as the options say. An object that has to wait, for finalizers or for its node, comes back
// with its deletion timestamp.
func (s *store) delete(k kind, at types.NamespacedName, options metav1.DeleteOptions) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(k, at)
	if err != nil {
		return nil, err
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil && *p.UID != o.GetUID() {
			return nil, errors.NewConflict(k.GroupResource(), at.Name, fmt.Errorf("the UID in the precondition is %s, the object's is %s", *p.UID, o.GetUID()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
			return nil, errors.NewConflict(k.GroupResource(), at.Name, fmt.Errorf("the resource version in the precondition is %s, the object's is %s", *p.ResourceVersion, o.GetResourceVersion()))
		}
	}
	if len(options.DryRun) > 0 {
		return o, nil
	}
	if policy := options.PropagationPolicy; policy != nil && *policy == metav1.DeletePropagationOrphan || options.OrphanDependents != nil && *options.OrphanDependents {
		s.orphan(o.GetUID())
	}
	return s.begin(k, o, options.GracePeriodSeconds), nil
}

// begin starts the deletion of an object and ends it where nothing has to be waited for; locked.
func (s *store) begin(k kind, o *object, asked *int64) *object {
	grace := int64(0)
	if k.Resource == "pods" && k.Group == "" {
		grace = podGrace(o, asked)
	}
	if before := o.GetDeletionGracePeriodSeconds(); before != nil && grace > 0 && grace >= *before {
		return o // it is on its way, and not slower than asked for
	}
	next := o.DeepCopy()
	next.SetDeletionGracePeriodSeconds(&grace)
	if next.GetDeletionTimestamp() == nil || grace == 0 || graceful(k, o) {
		at := metav1.NewTime(s.now().UTC().Truncate(time.Second).Add(time.Duration(grace) * time.Second))
		next.SetDeletionTimestamp(&at)
	}
	if k.Resource == "namespaces" && k.Group == "" {
		_ = unstructured.SetNestedField(next.Object, "Terminating", "status", "phase") // a map of our own making
		s.commit(k, o, next, false)
		s.clear(next.GetName())
		return next
	}
	if k.Resource == definitions().Resource && k.Group == definitions().Group {
		s.forget(next)
	}
	if grace > 0 || len(next.GetFinalizers()) > 0 {
		if o.GetDeletionTimestamp() == nil || grace != *orZero(o.GetDeletionGracePeriodSeconds()) {
			s.commit(k, o, next, false)
		}
		return next
	}
	s.remove(k, next)
	return next
}

func orZero(n *int64) *int64 {
	if n == nil {
		return new(int64)
	}
	return n
}

// podGrace is how long a pod may take to end: nothing where no node has it or it has ended already.
func podGrace(o *object, asked *int64) int64 {
	node, _, _ := unstructured.NestedString(o.Object, "spec", "nodeName")
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	if node == "" || phase == "Succeeded" || phase == "Failed" {
		return 0
	}
	if asked != nil {
		return max(*asked, 0)
	}
	if grace, has, _ := unstructured.NestedInt64(o.Object, "spec", "terminationGracePeriodSeconds"); has {
		return grace
	}
	return 30
}

// remove takes an object out and all that belongs to it; locked.
func (s *store) remove(k kind, o *object) {
	old := s.tables[k.GroupVersionResource].objects[name(o)]
	s.commit(k, old, o.DeepCopy(), true)
	s.each(func(k kind, dependent *object) {
		if owned(dependent, o.GetUID()) && !s.hasOwner(dependent) {
			s.begin(k, dependent, nil)
		}
	})
	if k.namespaced {
		s.finish(o.GetNamespace())
	}
}

// each calls do for every object of every table as they are now; locked.
func (s *store) each(do func(kind, *object)) {
	for _, t := range s.tables {
		for at := range t.objects {
			if o := t.objects[at]; o != nil { // do may have removed it
				do(t.kind, o)
			}
		}
	}
}

func owned(o *object, by types.UID) bool {
	for _, ref := range o.GetOwnerReferences() {
		if ref.UID == by {
			return true
		}
	}
	return false
}

// hasOwner reports whether any of an object's owners is there; locked.
func (s *store) hasOwner(o *object) bool {
	for _, ref := range o.GetOwnerReferences() {
		group, version, _ := cutVersion(ref.APIVersion)
		for r, t := range s.tables {
			if r.Group != group || r.Version != version || t.Kind != ref.Kind {
				continue
			}
			at := types.NamespacedName{Name: ref.Name}
			if t.namespaced {
				at.Namespace = o.GetNamespace()
			}
			if owner := t.objects[at]; owner != nil && owner.GetUID() == ref.UID {
				return true
			}
		}
	}
	return false
}

func cutVersion(text string) (group, version string, err error) {
	gv, err := schema.ParseGroupVersion(text)
	return gv.Group, gv.Version, err
}

// orphan takes an owner out of all its dependents; locked.
func (s *store) orphan(owner types.UID) {
	s.each(func(k kind, o *object) {
		if !owned(o, owner) {
			return
		}
		next := o.DeepCopy()
		var rest []metav1.OwnerReference
		for _, ref := range o.GetOwnerReferences() {
			if ref.UID != owner {
				rest = append(rest, ref)
			}
		}
		next.SetOwnerReferences(rest)
		s.commit(k, o, next, false)
	})
}

// clear deletes what is in a namespace; locked.
func (s *store) clear(namespace string) {
	s.each(func(k kind, o *object) {
		if k.namespaced && o.GetNamespace() == namespace {
			s.begin(k, o, nil)
		}
	})
	s.finish(namespace)
}

// finish removes a namespace that is to go and has nothing in it any more; locked.
func (s *store) finish(namespace string) {
	ns, err := s.find(namespaces(), types.NamespacedName{Name: namespace})
	if err != nil || ns.GetDeletionTimestamp() == nil {
		return
	}
	for _, t := range s.tables {
		for at := range t.objects {
			if t.namespaced && at.Namespace == namespace {
				return
			}
		}
	}
	s.remove(namespaces(), ns)
}

// created does what a new object asks for; locked.
func (s *store) created(k kind, o *object) {
	if len(o.GetOwnerReferences()) > 0 && !s.hasOwner(o) {
		s.begin(k, o, nil) // its owner was gone before it came
		return
	}
	s.changed(k, o)
	s.trim(k)
}

// changed takes in a definition; locked.
func (s *store) changed(k kind, o *object) {
	if k.Resource == definitions().Resource && k.Group == definitions().Group && o.GetDeletionTimestamp() == nil {
		s.define(o)
	}
}

// keptEvents is how many events are kept.
const keptEvents = 2000

// trim drops old events, so that they can not fill the memory; locked.
func (s *store) trim(k kind) {
	if k.Resource != "events" || len(s.tables[k.GroupVersionResource].objects) <= keptEvents {
		return
	}
	t := s.tables[k.GroupVersionResource]
	var oldest *object
	for _, o := range t.objects {
		if oldest == nil || o.GetCreationTimestamp().Time.Before(oldest.GetCreationTimestamp().Time) {
			oldest = o
		}
	}
	s.remove(k, oldest)
}
