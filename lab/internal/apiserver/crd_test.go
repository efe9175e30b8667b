package apiserver_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/apiserver"
)

// widgets is a definition with what Flagger's use, and defaults and a scale.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Colour, type: string, jsonPath: .spec.colour}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [colour]
            properties:
              colour: {type: string, enum: [red, green]}
              replicas: {type: integer, default: 1}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              replicas: {type: integer}
`

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	found := &unstructured.Unstructured{}
	must(t, yaml.Unmarshal([]byte(text), &found.Object))
	return found
}

func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

func widget() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
}

func TestCustomResources(t *testing.T) {
	a := serve(t, apiserver.Config{})
	crd := value(a.dynamic.Resource(definitions()).Create(t.Context(), object(t, widgets), metav1.CreateOptions{}))(t)
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	if len(conditions) != 2 {
		t.Errorf("conditions %v", conditions)
	}
	resources := value(a.core.Discovery().ServerResourcesForGroupVersion("example.com/v1"))(t)
	if len(resources.APIResources) != 3 {
		t.Errorf("discovery shows %v", resources.APIResources)
	}
	client := a.dynamic.Resource(widget()).Namespace("default")
	made := value(client.Create(t.Context(), object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w},
		spec: {colour: red, port: http, typo: 1, free: {any: thing}}, status: {replicas: 5}}`), metav1.CreateOptions{}))(t)
	spec, _ := made.Object["spec"].(map[string]any)
	if spec["replicas"] != int64(1) || spec["typo"] != nil || spec["free"].(map[string]any)["any"] != "thing" || made.Object["status"] != nil {
		t.Errorf("made %v", made.Object)
	}
	for name, patch := range map[string]string{
		"a value that the schema does not allow": `{"spec":{"colour":"blue"}}`,
		"a value of another type":                `{"spec":{"replicas":"many"}}`,
		"a missing field":                        `{"spec":{"colour":null}}`,
	} {
		if _, err := client.Patch(t.Context(), "w", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	status := `{"status":{"replicas":2},"spec":{"colour":"green"},"metadata":{"labels":{"a":"b"}}}`
	got := value(client.Patch(t.Context(), "w", types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"))(t)
	if colour, _, _ := unstructured.NestedString(got.Object, "spec", "colour"); colour != "red" || len(got.GetLabels()) != 0 || got.GetGeneration() != 1 {
		t.Errorf("a status writer changed %v", got.Object)
	}
	value(client.Patch(t.Context(), "w", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"))(t)
	scale := value(client.Get(t.Context(), "w", metav1.GetOptions{}, "scale"))(t)
	replicas, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	if present, _, _ := unstructured.NestedInt64(scale.Object, "status", "replicas"); replicas != 4 || present != 2 {
		t.Errorf("scale %v", scale.Object)
	}
	if _, err := client.Patch(t.Context(), "w", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("strategic merge patch: %v", err)
	}
	if _, err := client.Create(t.Context(), object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: x}, spec: {colour: red, typo: 1}}`),
		metav1.CreateOptions{FieldValidation: "Strict"}); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "spec.typo") {
		t.Errorf("strict: %v", err)
	}
	applied := object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: applied}, spec: {colour: green}}`)
	if got := value(client.Apply(t.Context(), "applied", applied, metav1.ApplyOptions{FieldManager: "me"}))(t); got.GetUID() == "" {
		t.Error("apply did not create")
	}
}

func TestDefinitionTakesItsObjectsAlong(t *testing.T) {
	a := serve(t, apiserver.Config{})
	crds := a.dynamic.Resource(definitions())
	client := a.dynamic.Resource(widget()).Namespace("default")
	for range 2 { // the second time nothing of the first is left
		value(crds.Create(t.Context(), object(t, widgets), metav1.CreateOptions{}))(t)
		if list := value(client.List(t.Context(), metav1.ListOptions{}))(t); len(list.Items) != 0 {
			t.Fatalf("a new resource has %v", list.Items)
		}
		held := object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, finalizers: [example.com/hold]}, spec: {colour: red}}`)
		value(client.Create(t.Context(), held, metav1.CreateOptions{}))(t)
		must(t, crds.Delete(t.Context(), "widgets.example.com", metav1.DeleteOptions{}))
		if got := value(crds.Get(t.Context(), "widgets.example.com", metav1.GetOptions{}))(t); got.GetDeletionTimestamp() == nil {
			t.Error("definition is not marked")
		}
		value(client.Patch(t.Context(), "w", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))(t)
		if _, err := client.List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("resource without definition: %v", err)
		}
	}
}

func TestDefinitionThatMakesNoSenseIsInvalid(t *testing.T) {
	a := serve(t, apiserver.Config{})
	wrong := object(t, widgets)
	wrong.SetName("widgets.example.org")
	if _, err := a.dynamic.Resource(definitions()).Create(t.Context(), wrong, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("got %v", err)
	}
}
