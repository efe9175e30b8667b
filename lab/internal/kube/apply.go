package kube

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
)

// lastApplied is where an object remembers what it was applied from. It is kubectl's own, so that both can take turns.
const lastApplied = corev1.LastAppliedConfigAnnotation

// Object is any object of a cluster.
type Object = unstructured.Unstructured

// Parse reads all objects out of YAML or JSON documents. Empty documents are left out.
func Parse(text []byte) ([]*Object, error) {
	var objects []*Object
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var o Object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read manifest %d: %w", len(objects)+1, err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.GetKind() == "" || o.GetName() == "" {
			return nil, fmt.Errorf("read manifest %d: it has no kind or no name", len(objects)+1)
		}
		objects = append(objects, &o)
	}
}

// Apply makes each object as it says, in the order given, as kubectl apply does on the client's side: what the last
// apply brought and this one does not have goes, what others have set stays. Objects of namespaced kinds without a
// namespace belong to namespace.
func (c *Client) Apply(ctx context.Context, namespace string, objects []*Object) error {
	for _, o := range objects {
		if err := c.apply(ctx, namespace, o.DeepCopy()); err != nil {
			return fmt.Errorf("apply %s: %w", Name(o), err)
		}
	}
	return nil
}

// Name is kind, namespace and name, for people.
func Name(o *Object) string {
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return o.GetKind() + " " + name
}

func (c *Client) apply(ctx context.Context, namespace string, o *Object) error {
	in := cmp.Or(o.GetNamespace(), namespace)
	objects, namespaced, err := c.resource(o.GroupVersionKind(), in)
	if err != nil {
		return err
	}
	if namespaced {
		o.SetNamespace(in)
	}
	plain, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[lastApplied] = string(plain)
	o.SetAnnotations(annotations)

	current, err := objects.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = objects.Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		return err
	}
	if err != nil {
		return err
	}
	patch, kind, err := threeWay(o, current)
	if err != nil || string(patch) == "{}" {
		return err
	}
	_, err = objects.Patch(ctx, o.GetName(), kind, patch, metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict})
	return err
}

// threeWay is the patch from current to want: kinds that the client library knows are merged by their fields' own
// rules, others as JSON.
func threeWay(want, current *Object) ([]byte, types.PatchType, error) {
	original := []byte(current.GetAnnotations()[lastApplied])
	modified, err := want.MarshalJSON()
	if err != nil {
		return nil, "", err
	}
	is, err := current.MarshalJSON()
	if err != nil {
		return nil, "", err
	}
	typed, err := scheme.Scheme.New(want.GroupVersionKind())
	if err != nil {
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, is)
		return patch, types.MergePatchType, err
	}
	fields, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		return nil, "", err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, is, fields, true)
	return patch, types.StrategicMergePatchType, err
}

// Delete deletes objects in the reverse of their order. What is not there is fine, a kind that is not there too.
func (c *Client) Delete(ctx context.Context, namespace string, objects []*Object) error {
	background := metav1.DeletePropagationBackground
	for i := len(objects) - 1; i >= 0; i-- {
		o := objects[i]
		resource, _, err := c.resource(o.GroupVersionKind(), cmp.Or(o.GetNamespace(), namespace))
		if err == nil {
			err = resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		}
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return fmt.Errorf("delete %s: %w", Name(o), err)
		}
	}
	return nil
}

// resource is where objects of a kind are, and whether they are in a namespace at all.
func (c *Client) resource(kind schema.GroupVersionKind, namespace string) (objects dynamic.ResourceInterface, namespaced bool, err error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // the kind may be younger than what was asked for last time
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, false, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), false, nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(namespace), true, nil
}
