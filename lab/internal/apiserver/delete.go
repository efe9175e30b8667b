package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// deleteOptions reads how a client wants to delete, from the body or the query.
func (s *Server) deleteOptions(c *call) (*metav1.DeleteOptions, error) {
	data, err := c.body()
	if err != nil {
		return nil, err
	}
	options := &metav1.DeleteOptions{}
	if len(data) > 0 {
		if data, err = s.plain(c, data); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, options); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read DeleteOptions: %v", err))
		}
	}
	if text := c.query.Get("gracePeriodSeconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read gracePeriodSeconds: %v", err))
		}
		options.GracePeriodSeconds = &seconds
	}
	if text := metav1.DeletionPropagation(c.query.Get("propagationPolicy")); text != "" {
		options.PropagationPolicy = &text
	}
	if c.dryRun() {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return options, nil
}

// delete removes one object or, when something has to happen first, marks it.
func (s *Server) delete(c *call) error {
	options, err := s.deleteOptions(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	object, gone, err := s.deleteLocked(c, options)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if !gone {
		return c.replyObject(http.StatusOK, object)
	}
	reply(c.writer, http.StatusOK, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: c.name, Group: c.gv.Group, Kind: c.kind.resource, UID: object.GetUID()},
	})
	return nil
}

func (s *Server) deleteLocked(c *call, options *metav1.DeleteOptions) (*unstructured.Unstructured, bool, error) {
	object := s.store.get(c.kind, c.namespace, c.name)
	if object == nil {
		return nil, false, c.notFound()
	}
	if want := options.Preconditions; want != nil {
		if want.UID != nil && *want.UID != object.GetUID() {
			return nil, false, apierrors.NewConflict(c.kind.groupResource(), c.name, fmt.Errorf("the UID in the precondition (%s) is not that of the object (%s)", *want.UID, object.GetUID()))
		}
		if want.ResourceVersion != nil && *want.ResourceVersion != object.GetResourceVersion() {
			return nil, false, apierrors.NewConflict(c.kind.groupResource(), c.name, fmt.Errorf("the resourceVersion in the precondition (%s) is not that of the object (%s)", *want.ResourceVersion, object.GetResourceVersion()))
		}
	}
	if len(options.DryRun) > 0 {
		return object, true, nil
	}
	object, gone := s.expel(c.kind, object, options)
	return object, gone, nil
}

// deleteAll deletes every object of a selection and answers with what was there.
func (s *Server) deleteAll(c *call) error {
	options, err := s.deleteOptions(c)
	if err != nil {
		return err
	}
	selection, err := c.selected()
	if err != nil {
		return err
	}
	s.mu.Lock()
	objects := selection.of(s.store.list(c.kind, c.namespace))
	for _, object := range objects {
		if len(options.DryRun) == 0 && s.still(c.kind, object) != nil {
			s.expel(c.kind, object, options)
		}
	}
	version := s.store.version
	s.mu.Unlock()
	return c.replyList(objects, version)
}

// still returns the stored state of an object, nil when it is gone or another one has its name.
func (s *Server) still(k *kind, object *unstructured.Unstructured) *unstructured.Unstructured {
	stored := s.store.get(k, object.GetNamespace(), object.GetName())
	if stored == nil || stored.GetUID() != object.GetUID() {
		return nil
	}
	return stored
}

// expel deletes an object: at once when nothing holds it, otherwise it gets a deletionTimestamp and goes with the last
// thing that does: finalizers, the grace of a pod on a node, dependents of a foreground deletion, contents of a namespace.
func (s *Server) expel(k *kind, object *unstructured.Unstructured, options *metav1.DeleteOptions) (*unstructured.Unstructured, bool) {
	policy := metav1.DeletePropagationBackground
	if options.PropagationPolicy != nil {
		policy = *options.PropagationPolicy
	}
	if policy == metav1.DeletePropagationOrphan {
		s.orphan(object.GetUID())
	}
	foreground := policy == metav1.DeletePropagationForeground && len(s.dependents(object.GetUID())) > 0
	grace := grace(k, object, options.GracePeriodSeconds)
	contents := s.contents(k, object)
	if grace == 0 && !foreground && len(contents) == 0 && len(object.GetFinalizers()) == 0 {
		return s.drop(k, object), true
	}
	marked := object.DeepCopy()
	if foreground && !slices.Contains(marked.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		marked.SetFinalizers(append(marked.GetFinalizers(), metav1.FinalizerDeleteDependents))
	}
	if old := object.GetDeletionGracePeriodSeconds(); object.GetDeletionTimestamp() == nil || (old != nil && grace < *old) {
		at := metav1.NewTime(s.cfg.Now().Add(time.Duration(grace) * time.Second))
		marked.SetDeletionTimestamp(&at)
		marked.SetDeletionGracePeriodSeconds(&grace)
		if marked.GetGeneration() > 0 {
			marked.SetGeneration(marked.GetGeneration() + 1)
		}
	}
	if k.is("", "namespaces") {
		marked.Object["status"] = map[string]any{"phase": "Terminating"}
	}
	if !same(object, marked) {
		s.store.put(k, marked)
	}
	for _, content := range contents {
		if s.still(content.kind, content.object) != nil {
			s.expel(content.kind, content.object, &metav1.DeleteOptions{})
		}
	}
	if foreground {
		s.abandon(object.GetUID())
		s.release(object.GetUID()) // when no dependent had to go, but all of them have other owners
	}
	if left := s.still(k, object); left != nil {
		return left, false
	}
	return marked, true
}

// grace is how many seconds an object may stay: only a pod that a node may be running gets any.
func grace(k *kind, object *unstructured.Unstructured, asked *int64) int64 {
	node, _, _ := unstructured.NestedString(object.Object, "spec", "nodeName")
	phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	if !k.is("", "pods") || node == "" || phase == "Succeeded" || phase == "Failed" {
		return 0
	}
	seconds, found, _ := unstructured.NestedInt64(object.Object, "spec", "terminationGracePeriodSeconds")
	if asked != nil {
		return max(*asked, 0)
	}
	if !found {
		return 30
	}
	return seconds
}

// graceless tells that no node has to finish an object first.
func graceless(object *unstructured.Unstructured) bool {
	seconds := object.GetDeletionGracePeriodSeconds()
	return seconds == nil || *seconds == 0
}
