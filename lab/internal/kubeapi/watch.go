package apiserver

import (
	"fmt"
	"sort"
	"strconv"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// backlog is how many changes a watcher may be behind before it is dropped: writers never wait for readers.
const backlog = 8192

// watcher is one open watch.
type watcher struct {
	changes chan change
	match   func(*object) bool
	ended   bool // guarded by the store's mu
}

// offer hands a change on; the store's mu is held.
func (w *watcher) offer(c change) {
	if w.ended {
		return
	}
	select {
	case w.changes <- c:
	default:
		w.end()
	}
}

// end closes the watch; the store's mu is held.
func (w *watcher) end() {
	if !w.ended {
		w.ended = true
		close(w.changes)
	}
}

// notice is what a watch tells of a change: nothing when the object neither was nor is among those that match.
func (w *watcher) notice(c change) (watch.EventType, *object) {
	was := c.old != nil && w.match(c.old)
	is := !c.deleted && w.match(c.now)
	switch {
	case is && was:
		return watch.Modified, c.now
	case is:
		return watch.Added, c.now
	case was:
		return watch.Deleted, c.now
	}
	return "", nil
}

// watch opens a watch of what comes after a version. From "" and "0" on, and when all is set, it begins with what is
// there: initial are those objects, version is the state that they are of. The caller closes it with unwatch.
func (s *store) watch(k kind, from string, all bool, match func(*object) bool) (w *watcher, initial []*object, version string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[k.GroupVersionResource]
	if t == nil {
		return nil, nil, "", errors.NewNotFound(k.GroupResource(), "")
	}
	w = &watcher{changes: make(chan change, backlog), match: match}
	if from == "" || from == "0" || all {
		initial = s.matching(k, match)
	} else {
		after, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return nil, nil, "", errors.NewBadRequest(fmt.Sprintf("invalid resource version %q", from))
		}
		if after < t.floor || after > s.last {
			return nil, nil, "", errors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", after, t.floor))
		}
		first := sort.Search(len(t.history), func(i int) bool { return t.history[i].version > after })
		for _, c := range t.history[first:] {
			w.offer(c)
		}
	}
	if s.closed {
		w.end()
	}
	t.watchers[w] = struct{}{}
	return w, initial, strconv.FormatUint(s.last, 10), nil
}

func (s *store) unwatch(k kind, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[k.GroupVersionResource]; t != nil {
		delete(t.watchers, w)
	}
	w.end()
}

// close ends all watches, and those that come later at once.
func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range s.tables {
		for w := range t.watchers {
			w.end()
		}
	}
}

// bookmark says up to which version a watch has told everything; the last of the initial objects has a mark.
func bookmark(k kind, version string, initial bool) *object {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetGroupVersionKind(k.gvk())
	o.SetResourceVersion(version)
	if initial {
		o.SetAnnotations(map[string]string{"k8s.io/initial-events-end": "true"})
	}
	return o
}
