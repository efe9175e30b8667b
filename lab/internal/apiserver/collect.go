package apiserver

import (
	"slices"
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// In a cluster the garbage collector and the namespace controller do what is in this file, some time later. Here it
// happens with the write that causes it, under the same lock: nobody has to wait for it, and no goroutine is needed.

const (
	eventLimit = 2000      // events that are kept
	eventAge   = time.Hour // as long as in a cluster
)

// item is a stored object and its kind.
type item struct {
	kind   *kind
	object *unstructured.Unstructured
}

// drop takes an object out of the store and cleans up after it.
func (s *Server) drop(k *kind, object *unstructured.Unstructured) *unstructured.Unstructured {
	last := s.store.remove(k, object)
	s.abandon(object.GetUID())
	for _, owner := range object.GetOwnerReferences() {
		s.release(owner.UID)
	}
	if namespace := s.store.get(s.core("namespaces"), "", object.GetNamespace()); namespace != nil {
		s.finish(s.core("namespaces"), namespace)
	}
	if k.custom != nil {
		if definition := s.store.get(s.definitions(), "", k.resource+"."+k.served[0].Group); definition != nil {
			s.finish(s.definitions(), definition)
		}
	}
	if k == s.definitions() {
		s.undefine(object)
	}
	return last
}

// settle cleans up after an object that came or changed: one whose owners are all gone has no reason to be.
func (s *Server) settle(k *kind, object *unstructured.Unstructured) {
	if k == s.definitions() {
		s.define(object)
	}
	for _, owner := range object.GetOwnerReferences() {
		if s.store.homes[owner.UID] == nil {
			s.disown(item{k, object}, owner.UID)
			return
		}
	}
}

// dependents are the objects that name an owner.
func (s *Server) dependents(owner types.UID) []item {
	var found []item
	for _, t := range s.store.tables {
		for _, object := range t.objects {
			references, _, _ := unstructured.NestedFieldNoCopy(object.Object, "metadata", "ownerReferences")
			if references != nil && slices.ContainsFunc(object.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner }) {
				found = append(found, item{t.kind, object})
			}
		}
	}
	return found
}

// abandon deletes the dependents of an owner that is gone or going.
func (s *Server) abandon(owner types.UID) {
	for _, dependent := range s.dependents(owner) {
		if current := s.still(dependent.kind, dependent.object); current != nil {
			s.disown(item{dependent.kind, current}, owner)
		}
	}
}

// disown deletes a dependent, or only takes the owner off when another one is still there.
func (s *Server) disown(dependent item, owner types.UID) {
	others := slices.DeleteFunc(dependent.object.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == owner || s.store.homes[r.UID] == nil
	})
	if len(others) == 0 {
		s.expel(dependent.kind, dependent.object, &metav1.DeleteOptions{})
		return
	}
	changed := dependent.object.DeepCopy()
	changed.SetOwnerReferences(others)
	s.store.put(dependent.kind, changed)
}

// orphan takes an owner off its dependents, which stay.
func (s *Server) orphan(owner types.UID) {
	for _, dependent := range s.dependents(owner) {
		changed := dependent.object.DeepCopy()
		changed.SetOwnerReferences(slices.DeleteFunc(changed.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == owner }))
		s.store.put(dependent.kind, changed)
	}
}

// release lets go an owner that waits, by foreground deletion, for its dependents, when the last of them went.
func (s *Server) release(owner types.UID) {
	home := s.store.homes[owner]
	if home == nil || len(s.dependents(owner)) > 0 {
		return
	}
	k := home.kind
	for _, object := range home.objects {
		if object.GetUID() != owner || !slices.Contains(object.GetFinalizers(), metav1.FinalizerDeleteDependents) {
			continue
		}
		changed := object.DeepCopy()
		changed.SetFinalizers(slices.DeleteFunc(changed.GetFinalizers(), func(f string) bool { return f == metav1.FinalizerDeleteDependents }))
		s.store.put(k, changed)
		s.finish(k, changed)
		return
	}
}

// finish drops an object that is being deleted, once nothing holds it any longer.
func (s *Server) finish(k *kind, object *unstructured.Unstructured) {
	object = s.still(k, object)
	if object != nil && object.GetDeletionTimestamp() != nil && len(object.GetFinalizers()) == 0 && graceless(object) && len(s.contents(k, object)) == 0 {
		s.drop(k, object)
	}
}

// contents is what has to go before its container can: the objects in a namespace, or of a CustomResourceDefinition.
func (s *Server) contents(k *kind, object *unstructured.Unstructured) []item {
	var found []item
	switch {
	case k.is("", "namespaces"):
		for _, t := range s.store.tables {
			for _, inside := range s.store.list(t.kind, object.GetName()) {
				found = append(found, item{t.kind, inside})
			}
		}
	case k == s.definitions():
		if content := s.defined(object); content != nil {
			for _, instance := range s.store.list(content, "") {
				found = append(found, item{content, instance})
			}
		}
	}
	return found
}

// forgetEvents drops events that are too old or too many. It looks once a minute, or when there are too many.
func (s *Server) forgetEvents(k *kind) {
	now := s.cfg.Now()
	if !k.is("", "events") || (len(s.store.table(k).objects) <= eventLimit && now.Sub(s.swept) < time.Minute) {
		return
	}
	s.swept = now
	events := s.store.list(k, "")
	sort.SliceStable(events, func(i, j int) bool {
		a, b := events[i].GetCreationTimestamp(), events[j].GetCreationTimestamp()
		return a.Before(&b)
	})
	for i, event := range events {
		if len(events)-i > eventLimit || now.Sub(event.GetCreationTimestamp().Time) > eventAge {
			s.drop(k, event)
		}
	}
}
