package apiserver

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// kept is how many changes of a resource a watch can begin in the past.
const kept = 2000

// store holds all objects. Its methods that begin with a small letter and have "locked" in their comment want mu held.
type store struct {
	now func() time.Time

	mu     sync.Mutex // guards all below
	last   uint64     // resource version of the last change of anything
	tables map[schema.GroupVersionResource]*table
	closed bool
}

// table is one resource.
type table struct {
	kind
	objects  map[types.NamespacedName]*object
	history  []change
	floor    uint64 // version of the newest change that is no longer in history
	watchers map[*watcher]struct{}
}

// change is one step of one object; old is nil for a new one, now for one that is gone is its last state.
type change struct {
	version  uint64
	old, now *object
	deleted  bool
}

func newStore(now func() time.Time) *store {
	s := &store{now: now, tables: map[schema.GroupVersionResource]*table{}}
	for _, k := range builtIn() {
		s.add(k)
	}
	return s
}

// add makes a table unless there is one; locked.
func (s *store) add(k kind) {
	if t := s.tables[k.GroupVersionResource]; t != nil {
		t.kind = k
		return
	}
	s.tables[k.GroupVersionResource] = &table{kind: k, objects: map[types.NamespacedName]*object{}, watchers: map[*watcher]struct{}{}}
}

// known are all kinds in a stable order.
func (s *store) known() []kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := make([]kind, 0, len(s.tables))
	for _, t := range s.tables {
		kinds = append(kinds, t.kind)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Resource, b.Resource))
	})
	return kinds
}

func (s *store) lookup(r schema.GroupVersionResource) (kind, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tables[r]
	if !ok {
		return kind{}, false
	}
	return t.kind, true
}

func name(o *object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func (s *store) get(k kind, at types.NamespacedName) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(k, at)
}

// find is get; locked.
func (s *store) find(k kind, at types.NamespacedName) (*object, error) {
	if t := s.tables[k.GroupVersionResource]; t != nil {
		if o := t.objects[at]; o != nil {
			return o, nil
		}
	}
	return nil, errors.NewNotFound(k.GroupResource(), at.Name)
}

// list are the objects of a resource that match, in the order of their names, and the version of that state.
func (s *store) list(k kind, match func(*object) bool) ([]*object, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matching(k, match), strconv.FormatUint(s.last, 10)
}

// matching is list without the version; locked.
func (s *store) matching(k kind, match func(*object) bool) []*object {
	var found []*object
	if t := s.tables[k.GroupVersionResource]; t != nil {
		for _, o := range t.objects {
			if match(o) {
				found = append(found, o)
			}
		}
	}
	slices.SortFunc(found, func(a, b *object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return found
}

// create stores a new object, which must be the caller's to give away.
func (s *store) create(k kind, o *object, dry bool) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayCreate(k, o); err != nil {
		return nil, err
	}
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.NewTime(s.now().UTC().Truncate(time.Second)))
	o.SetGeneration(1)
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	if k.status {
		delete(o.Object, "status")
		born(k, o)
	}
	if dry {
		return o, nil
	}
	s.commit(k, nil, o, false)
	s.created(k, o)
	return o, nil
}

// mayCreate is locked.
func (s *store) mayCreate(k kind, o *object) error {
	if k.namespaced {
		ns, err := s.find(namespaces(), types.NamespacedName{Name: o.GetNamespace()})
		if err != nil {
			return err
		}
		if ns.GetDeletionTimestamp() != nil {
			err := errors.NewForbidden(k.GroupResource(), o.GetName(), fmt.Errorf("unable to create new content in namespace %s because it is being terminated", o.GetNamespace()))
			err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: "NamespaceTerminating", Field: "metadata.namespace"}}
			return err
		}
	}
	if _, err := s.find(k, name(o)); err == nil {
		return errors.NewAlreadyExists(k.GroupResource(), o.GetName())
	}
	return nil
}

// update replaces an object by what change makes of it. Of the result only the part counts that the subresource has:
// "status" or, for "", all the rest.
func (s *store) update(k kind, at types.NamespacedName, subresource string, dry bool, change func(current *object) (*object, error)) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current, err := s.find(k, at)
	if err != nil {
		return nil, err
	}
	wanted, err := change(current.DeepCopy())
	if err != nil {
		return nil, err
	}
	if v := wanted.GetResourceVersion(); v != "" && v != current.GetResourceVersion() {
		return nil, errors.NewConflict(k.GroupResource(), at.Name, fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if uid := wanted.GetUID(); uid != "" && uid != current.GetUID() {
		return nil, errors.NewConflict(k.GroupResource(), at.Name, fmt.Errorf("the UID in the request is %s, the object's is %s", uid, current.GetUID()))
	}
	next := merge(k, current, wanted, subresource)
	if equality.Semantic.DeepEqual(current.Object, next.Object) || dry {
		return next, nil
	}
	if next.GetDeletionTimestamp() != nil && len(next.GetFinalizers()) == 0 && !graceful(k, next) {
		s.remove(k, next)
		return next, nil
	}
	s.commit(k, current, next, false)
	s.changed(k, next)
	return next, nil
}

// merge is the object after an update: what the server alone decides stays.
func merge(k kind, current, wanted *object, subresource string) *object {
	next := wanted
	switch {
	case subresource == "status":
		next = current.DeepCopy()
		if status, has := wanted.Object["status"]; has {
			next.Object["status"] = status
		} else {
			delete(next.Object, "status")
		}
		return next
	case k.status:
		delete(next.Object, "status")
		if status, has := current.Object["status"]; has {
			next.Object["status"] = status
		}
	}
	next.SetName(current.GetName())
	next.SetNamespace(current.GetNamespace())
	next.SetUID(current.GetUID())
	next.SetCreationTimestamp(current.GetCreationTimestamp())
	next.SetDeletionTimestamp(current.GetDeletionTimestamp())
	next.SetDeletionGracePeriodSeconds(current.GetDeletionGracePeriodSeconds())
	next.SetResourceVersion(current.GetResourceVersion())
	next.SetGeneration(current.GetGeneration())
	if !equality.Semantic.DeepEqual(wish(current), wish(next)) {
		next.SetGeneration(current.GetGeneration() + 1)
	}
	return next
}

// wish is an object without metadata and status: what generation counts the changes of.
func wish(o *object) map[string]any {
	rest := map[string]any{}
	for key, value := range o.Object {
		if key != "metadata" && key != "status" {
			rest[key] = value
		}
	}
	return rest
}

// commit puts a new state of an object into its table and tells the watchers; locked.
func (s *store) commit(k kind, old, now *object, deleted bool) {
	t := s.tables[k.GroupVersionResource]
	s.last++
	now.SetResourceVersion(strconv.FormatUint(s.last, 10))
	if deleted {
		delete(t.objects, name(now))
	} else {
		t.objects[name(now)] = now
	}
	c := change{version: s.last, old: old, now: now, deleted: deleted}
	t.history = append(t.history, c)
	if len(t.history) > kept {
		t.floor = t.history[0].version
		t.history = slices.Clone(t.history[1:])
	}
	for w := range t.watchers {
		w.offer(c)
	}
}
