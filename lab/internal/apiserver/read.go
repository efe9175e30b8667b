package apiserver

import (
	"net/http"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// get answers with one object.
func (s *Server) get(c *call) error {
	s.mu.Lock()
	object := s.store.get(c.kind, c.namespace, c.name)
	s.mu.Unlock()
	if object == nil {
		return c.notFound()
	}
	return c.replyObject(http.StatusOK, object)
}

// list answers with all objects of the selection at once: limit is ignored, which the API allows.
func (s *Server) list(c *call) error {
	selection, err := c.selected()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.forgetEvents(c.kind)
	objects, version := s.store.list(c.kind, c.namespace), s.store.version
	s.mu.Unlock()
	return c.replyList(selection.of(objects), version)
}

// of returns the objects that are in the selection.
func (s selection) of(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	var selected []*unstructured.Unstructured
	for _, object := range objects {
		if s.matches(object) {
			selected = append(selected, object)
		}
	}
	return selected
}
