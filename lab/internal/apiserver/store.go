package apiserver

import (
	"sort"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// historyLimit is how many changes of one resource a watch can look back.
const historyLimit = 2000

// store is every object and the recent changes. The server's mutex guards it. An object in it is never changed, only
// replaced, so whoever got one under the mutex may read it afterwards without.
type store struct {
	version uint64 // of the newest change; every change of any resource takes the next one, as in etcd
	tables  map[schema.GroupResource]*table
	homes   map[types.UID]*table // of every stored object, which is how a missing owner is noticed
}

// table holds the objects of one resource.
type table struct {
	kind    *kind
	objects map[string]*unstructured.Unstructured // by key
	history []change                              // oldest first
	lost    uint64                                // version of the newest change that is no longer in the history
	changed chan struct{}                         // closed and replaced with every change: wakes the watches
}

// change is one entry of a table's history.
type change struct {
	version uint64
	kind    watch.EventType
	before  *unstructured.Unstructured // nil for an object that was added
	object  *unstructured.Unstructured // for a deleted one its last state, with the version of the deletion
}

func newStore() *store {
	return &store{version: 1, tables: map[schema.GroupResource]*table{}, homes: map[types.UID]*table{}}
}

func key(namespace, name string) string { return namespace + "/" + name }

func (s *store) table(k *kind) *table {
	t := s.tables[k.groupResource()]
	if t == nil {
		t = &table{kind: k, objects: map[string]*unstructured.Unstructured{}, changed: make(chan struct{})}
		s.tables[k.groupResource()] = t
	}
	return t
}

func (s *store) get(k *kind, namespace, name string) *unstructured.Unstructured {
	return s.table(k).objects[key(namespace, name)]
}

// list returns the objects of a resource in the order of their names; namespace "" is all of them.
func (s *store) list(k *kind, namespace string) []*unstructured.Unstructured {
	t := s.table(k)
	keys := make([]string, 0, len(t.objects))
	for name, object := range t.objects {
		if namespace == "" || object.GetNamespace() == namespace {
			keys = append(keys, name)
		}
	}
	sort.Strings(keys)
	objects := make([]*unstructured.Unstructured, len(keys))
	for i, name := range keys {
		objects[i] = t.objects[name]
	}
	return objects
}

// put stores an object, which then belongs to the store, under a new resourceVersion.
func (s *store) put(k *kind, object *unstructured.Unstructured) {
	t, name := s.table(k), key(object.GetNamespace(), object.GetName())
	before, kind := t.objects[name], watch.Modified
	if before == nil {
		kind = watch.Added
	}
	s.version++
	object.SetResourceVersion(strconv.FormatUint(s.version, 10))
	t.objects[name] = object
	s.homes[object.GetUID()] = t
	t.record(change{version: s.version, kind: kind, before: before, object: object})
}

// remove takes an object out and returns its last state, which carries the version of the deletion.
func (s *store) remove(k *kind, object *unstructured.Unstructured) *unstructured.Unstructured {
	t := s.table(k)
	s.version++
	last := object.DeepCopy()
	last.SetResourceVersion(strconv.FormatUint(s.version, 10))
	delete(t.objects, key(object.GetNamespace(), object.GetName()))
	delete(s.homes, object.GetUID())
	t.record(change{version: s.version, kind: watch.Deleted, before: object, object: last})
	return last
}

func (t *table) record(c change) {
	t.history = append(t.history, c)
	if extra := len(t.history) - historyLimit; extra > 0 {
		t.lost = t.history[extra-1].version
		clear(t.history[:extra]) // the slice's memory lives on, the objects in it need not
		t.history = t.history[extra:]
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// since returns the changes after a version, or false when some of them are lost.
func (t *table) since(version uint64) ([]change, bool) {
	if version < t.lost {
		return nil, false
	}
	first := sort.Search(len(t.history), func(i int) bool { return t.history[i].version > version })
	return append([]change(nil), t.history[first:]...), true
}
