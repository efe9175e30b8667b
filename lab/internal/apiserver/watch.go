package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	watchLength   = time.Hour        // of a watch whose client names no time
	bookmarkEvery = time.Minute      // as in the real API server
	writeLimit    = 30 * time.Second // a client that takes nothing for so long is given up
)

// watching is one watch. It has no queue: it reads the table's history at its own pace, so a slow client can not hold up
// a writer, and one that falls behind the history is told that its version expired.
type watching struct {
	call      *call
	selection selection
	form      *form
	seen      uint64 // everything up to this version has been sent
	flush     *http.ResponseController
}

// watch streams the changes of a resource.
func (s *Server) watch(c *call) error {
	w := &watching{call: c, flush: http.NewResponseController(c.writer)}
	var err error
	if w.selection, err = c.selected(); err != nil {
		return err
	}
	if w.form, err = c.form(); err != nil {
		return err
	}
	length := watchLength
	if seconds, err := strconv.Atoi(c.query.Get("timeoutSeconds")); err == nil && seconds > 0 {
		length = time.Duration(seconds) * time.Second
	}
	initial, err := s.initial(w)
	if err != nil {
		return err
	}
	s.streams.Add(1)
	defer s.streams.Done()
	c.writer.Header().Set("Content-Type", "application/json")
	c.writer.WriteHeader(http.StatusOK)
	if w.flush.Flush() != nil { // a client waits for the answer's head before it takes the watch for established
		return nil
	}
	for _, object := range initial {
		if err := w.send(watch.Added, object); err != nil {
			return nil // the client went away; the answer has begun, so there is no other to give
		}
	}
	if c.query.Get("sendInitialEvents") == "true" {
		if err := w.bookmark(map[string]any{metav1.InitialEventsAnnotationKey: "true"}); err != nil {
			return nil
		}
	}
	s.follow(w, length)
	return nil
}

// initial sets where a watch begins and returns the objects that it reports as ADDED first.
func (s *Server) initial(w *watching) ([]*unstructured.Unstructured, error) {
	c, asked := w.call, w.call.query.Get("resourceVersion")
	all := c.query.Get("sendInitialEvents") == "true"
	if c.query.Get("sendInitialEvents") != "" && c.query.Get("resourceVersionMatch") != string(metav1.ResourceVersionMatchNotOlderThan) {
		return nil, apierrors.NewBadRequest("sendInitialEvents requires resourceVersionMatch=NotOlderThan")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.seen = s.store.version
	if all || asked == "0" || (asked == "" && c.query.Get("sendInitialEvents") == "") {
		return w.selection.of(s.store.list(c.kind, c.namespace)), nil
	}
	if asked == "" {
		return nil, nil
	}
	from, err := strconv.ParseUint(asked, 10, 64)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read resourceVersion: %v", err))
	}
	// A version from the future belongs to an API that ran here before: its client has to list again.
	if _, ok := s.store.table(c.kind).since(from); !ok || from > s.store.version {
		return nil, expired(asked)
	}
	w.seen = from
	return nil, nil
}

func expired(version string) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %s", version))
}

// follow sends changes until the client or the server has enough.
func (s *Server) follow(w *watching, length time.Duration) {
	end, bookmark := time.NewTimer(length), time.NewTicker(bookmarkEvery)
	defer end.Stop()
	defer bookmark.Stop()
	for {
		s.mu.Lock()
		t := s.store.table(w.call.kind)
		changes, ok := t.since(w.seen)
		changed, version := t.changed, s.store.version
		s.mu.Unlock()
		if !ok {
			status := expired(strconv.FormatUint(w.seen, 10)).Status()
			status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
			_ = w.write(watch.Error, status) // the last word, whether heard or not
			return
		}
		for _, change := range changes {
			if kind, object := w.selection.see(change); object != nil {
				if w.send(kind, object) != nil {
					return
				}
			}
		}
		w.seen = version
		select {
		case <-changed:
		case <-bookmark.C:
			if w.call.query.Get("allowWatchBookmarks") == "true" && w.bookmark(nil) != nil {
				return
			}
		case <-end.C:
			return
		case <-w.call.request.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// see is what a change looks like through a selection: an object that enters it is ADDED, one that leaves it DELETED.
func (s selection) see(c change) (watch.EventType, *unstructured.Unstructured) {
	was, is := s.matches(c.before), c.kind != watch.Deleted && s.matches(c.object)
	switch {
	case was && is:
		return watch.Modified, c.object
	case is:
		return watch.Added, c.object
	case was:
		return watch.Deleted, c.object
	}
	return "", nil
}

func (w *watching) send(kind watch.EventType, object *unstructured.Unstructured) error {
	return w.write(kind, w.form.object(w.call.kind.convert(object, w.call.gv)))
}

// bookmark tells the client how far it has come.
func (w *watching) bookmark(annotations map[string]any) error {
	metadata := map[string]any{"resourceVersion": strconv.FormatUint(w.seen, 10)}
	if annotations != nil {
		metadata["annotations"] = annotations
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": w.call.gv.String(), "kind": w.call.kind.name, "metadata": metadata,
	}}
	return w.write(watch.Bookmark, w.form.object(object))
}

// write sends one event at once.
func (w *watching) write(kind watch.EventType, object any) error {
	data, err := json.Marshal(map[string]any{"type": kind, "object": object})
	if err != nil {
		return fmt.Errorf("write %s event: %w", kind, err)
	}
	// A writer without deadlines (a recorder in a test) only loses the protection against a client that does not read.
	_ = w.flush.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := w.call.writer.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write %s event: %w", kind, err)
	}
	err = w.flush.Flush()
	_ = w.flush.SetWriteDeadline(time.Time{}) // or the end of a quiet watch could not be written
	return err
}
