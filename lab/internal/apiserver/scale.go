package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// scale serves the scale subresource, which shows any scalable kind as one and the same.
func (s *Server) scale(c *call) error {
	if c.request.Method == http.MethodGet {
		s.mu.Lock()
		object := s.store.get(c.kind, c.namespace, c.name)
		s.mu.Unlock()
		if object == nil {
			return c.notFound()
		}
		reply(c.writer, http.StatusOK, c.scaleOf(object))
		return nil
	}
	if c.request.Method != http.MethodPut && c.request.Method != http.MethodPatch {
		return apierrors.NewMethodNotSupported(c.kind.groupResource(), c.request.Method)
	}
	data, err := c.body()
	if err != nil {
		return err
	}
	if c.request.Method == http.MethodPut {
		if data, err = s.plain(c, data); err != nil {
			return err
		}
	}
	s.mu.Lock()
	object, err := s.change(c, func(current *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return c.scaled(current, data)
	})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	reply(c.writer, http.StatusOK, c.scaleOf(object))
	return nil
}

// scaled is an object with the replicas that a written or patched Scale asks for.
func (c *call) scaled(current *unstructured.Unstructured, data []byte) (*unstructured.Unstructured, error) {
	if c.request.Method == http.MethodPatch {
		before, err := json.Marshal(c.scaleOf(current))
		if err != nil {
			return nil, fmt.Errorf("write scale of %s: %w", c.name, err)
		}
		if data, err = c.patchJSON(&autoscalingv1.Scale{}, before, data); err != nil {
			return nil, err
		}
	}
	wanted := &autoscalingv1.Scale{}
	if err := json.Unmarshal(data, wanted); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read Scale: %v", err))
	}
	if wanted.Spec.Replicas < 0 {
		return nil, invalid(c.kind, c.name, "spec.replicas", "must be greater than or equal to 0")
	}
	object := current.DeepCopy()
	if wanted.ResourceVersion != "" {
		object.SetResourceVersion(wanted.ResourceVersion)
	}
	replicas, _, _ := c.scalePaths()
	if err := unstructured.SetNestedField(object.Object, int64(wanted.Spec.Replicas), replicas...); err != nil {
		return nil, fmt.Errorf("set replicas of %s: %w", c.name, err)
	}
	return object, nil
}

// scalePaths are where an object has its wanted replicas, its present ones and its selector.
func (c *call) scalePaths() (wanted, present, selector []string) {
	if c.kind.custom == nil {
		return []string{"spec", "replicas"}, []string{"status", "replicas"}, []string{"spec", "selector"}
	}
	paths := c.kind.custom.versions[c.gv.Version].scale
	if paths == nil {
		return []string{"spec", "replicas"}, []string{"status", "replicas"}, nil
	}
	split := func(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }
	if paths.LabelSelectorPath != nil {
		selector = split(*paths.LabelSelectorPath)
	}
	return split(paths.SpecReplicasPath), split(paths.StatusReplicasPath), selector
}

// scaleOf shows an object as a Scale.
func (c *call) scaleOf(object *unstructured.Unstructured) *autoscalingv1.Scale {
	wanted, present, selector := c.scalePaths()
	scale := &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
		ObjectMeta: metav1.ObjectMeta{
			Name: object.GetName(), Namespace: object.GetNamespace(), UID: object.GetUID(),
			ResourceVersion: object.GetResourceVersion(), CreationTimestamp: object.GetCreationTimestamp(),
		},
	}
	replicas, _, _ := unstructured.NestedInt64(object.Object, wanted...)
	scale.Spec.Replicas = int32(replicas)
	replicas, _, _ = unstructured.NestedInt64(object.Object, present...)
	scale.Status.Replicas = int32(replicas)
	if value, found, _ := unstructured.NestedFieldNoCopy(object.Object, selector...); found && len(selector) > 0 {
		scale.Status.Selector = selectorText(value)
	}
	return scale
}

// selectorText writes a selector, which custom resources keep as a string and built-in kinds as an object, as a string.
func selectorText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	content, ok := value.(map[string]any)
	if !ok {
		return ""
	}
	selector, err := typed[metav1.LabelSelector](&unstructured.Unstructured{Object: content})
	if err != nil {
		return ""
	}
	return metav1.FormatLabelSelector(selector)
}
