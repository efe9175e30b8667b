package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setPrefix begins the name of the ConfigMap that remembers which objects a set has.
const setPrefix = "lab-set-"

// ApplySet applies objects, and deletes those that the last set of this name in the namespace had and this one has not.
func (c *Client) ApplySet(ctx context.Context, namespace, name string, objects []*Object) error {
	before, err := c.set(ctx, namespace, name)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, namespace, objects); err != nil {
		return err
	}
	now := map[string]bool{}
	refs := make([]*Object, 0, len(objects))
	for _, o := range objects {
		refs = append(refs, reference(o))
		now[Name(o)] = true
	}
	var gone []*Object
	for _, o := range before {
		if !now[Name(o)] {
			gone = append(gone, o)
		}
	}
	if err := c.Delete(ctx, namespace, gone); err != nil {
		return err
	}
	list, err := json.Marshal(refs)
	if err != nil {
		return fmt.Errorf("remember set %s: %w", name, err)
	}
	record := &Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": setPrefix + name},
		"data": map[string]any{"objects": string(list)},
	}}
	return c.Apply(ctx, namespace, []*Object{record})
}

// DeleteSet deletes all objects of a set. One that is not there is fine.
func (c *Client) DeleteSet(ctx context.Context, namespace, name string) error {
	objects, err := c.set(ctx, namespace, name)
	if err != nil {
		return err
	}
	if err := c.Delete(ctx, namespace, objects); err != nil {
		return err
	}
	err = c.core.CoreV1().ConfigMaps(namespace).Delete(ctx, setPrefix+name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("forget set %s: %w", name, err)
	}
	return nil
}

// set is what the last ApplySet brought, as references; none when there was none.
func (c *Client) set(ctx context.Context, namespace, name string) ([]*Object, error) {
	record, err := c.core.CoreV1().ConfigMaps(namespace).Get(ctx, setPrefix+name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s: %w", name, err)
	}
	var refs []*Object
	if err := json.Unmarshal([]byte(record.Data["objects"]), &refs); err != nil {
		return nil, fmt.Errorf("read set %s: %w", name, err)
	}
	return refs, nil
}

// reference is as much of an object as names it.
func reference(o *Object) *Object {
	ref := &Object{}
	ref.SetGroupVersionKind(o.GroupVersionKind())
	ref.SetNamespace(o.GetNamespace())
	ref.SetName(o.GetName())
	return ref
}
