package apiserver

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	openapi "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// custom is what a CustomResourceDefinition says of a kind, by version.
type custom struct {
	versions map[string]customVersion
}

type customVersion struct {
	schema  *structural.Structural    // nil: everything is allowed and kept
	checker *validate.SchemaValidator // for schema
	columns []apiextensionsv1.CustomResourceColumnDefinition
	scale   *apiextensionsv1.CustomResourceSubresourceScale
}

// definitions is the kind CustomResourceDefinition.
func (s *Server) definitions() *kind {
	return s.kinds[schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}]
}

// defined is the kind that a definition made, nil if it made none.
func (s *Server) defined(object *unstructured.Unstructured) *kind {
	for _, k := range s.kinds {
		if k.custom != nil && k.groupResource().String() == object.GetName() {
			return k
		}
	}
	return nil
}

// establish sets the status of a new definition: its names are accepted and it is served, both at once.
func (s *Server) establish(object *unstructured.Unstructured) {
	names, _, _ := unstructured.NestedFieldCopy(object.Object, "spec", "names")
	now := s.cfg.Now().UTC().Format("2006-01-02T15:04:05Z")
	condition := func(kind, reason string) any {
		return map[string]any{"type": kind, "status": "True", "reason": reason, "message": "no conflicts found", "lastTransitionTime": now}
	}
	var stored []any
	versions, _, _ := unstructured.NestedSlice(object.Object, "spec", "versions")
	for _, version := range versions {
		if v, ok := version.(map[string]any); ok && v["storage"] == true {
			stored = append(stored, v["name"])
		}
	}
	object.Object["status"] = map[string]any{
		"acceptedNames": names, "storedVersions": stored,
		"conditions": []any{condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")},
	}
}

// define serves the kind of a definition. validateDefinition has seen it, so reading it again can not fail.
func (s *Server) define(object *unstructured.Unstructured) {
	k, err := kindOf(object)
	if err != nil {
		s.cfg.Log.Error("custom resource is not served", "name", object.GetName(), "err", err)
		return
	}
	s.undefine(object)
	s.register(k)
	s.store.table(k).kind = k
}

// undefine stops serving the kind of a definition.
func (s *Server) undefine(object *unstructured.Unstructured) {
	for gvr, k := range s.kinds {
		if k.custom != nil && k.groupResource().String() == object.GetName() {
			delete(s.kinds, gvr)
		}
	}
}

// kindOf reads a definition.
func kindOf(object *unstructured.Unstructured) (*kind, error) {
	definition, err := typed[apiextensionsv1.CustomResourceDefinition](object)
	if err != nil {
		return nil, err
	}
	names := definition.Spec.Names
	k := &kind{
		name: names.Kind, list: names.ListKind, resource: names.Plural, singular: names.Singular, short: names.ShortNames,
		categories: names.Categories, namespaced: definition.Spec.Scope == apiextensionsv1.NamespaceScoped,
		custom: &custom{versions: map[string]customVersion{}},
	}
	for _, version := range definition.Spec.Versions {
		gv := schema.GroupVersion{Group: definition.Spec.Group, Version: version.Name}
		if version.Storage {
			k.served = slices.Insert(k.served, 0, gv)
		} else if version.Served {
			k.served = append(k.served, gv)
		}
		v := customVersion{columns: version.AdditionalPrinterColumns}
		if sub := version.Subresources; sub != nil {
			k.status, k.scale, v.scale = k.status || sub.Status != nil, k.scale || sub.Scale != nil, sub.Scale
		}
		if v.schema, err = schemaOf(version); err != nil {
			return nil, fmt.Errorf("read schema of %s: %w", gv, err)
		}
		if v.schema != nil {
			v.checker = validate.NewSchemaValidator(v.schema.ToKubeOpenAPI(), nil, "", strfmt.Default)
		}
		k.custom.versions[version.Name] = v
	}
	return k, nil
}

func schemaOf(version apiextensionsv1.CustomResourceDefinitionVersion) (*structural.Structural, error) {
	if version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
		return nil, nil
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, internal, nil); err != nil {
		return nil, err
	}
	return structural.NewStructural(internal)
}

func validateDefinition(object *unstructured.Unstructured) field.ErrorList {
	k, err := kindOf(object)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "versions"), "", err.Error())}
	}
	if len(k.served) == 0 || k.name == "" {
		return field.ErrorList{field.Required(field.NewPath("spec"), "needs names.kind and a version that is stored")}
	}
	if want := k.groupResource().String(); object.GetName() != want {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), object.GetName(), fmt.Sprintf("must be spec.names.plural+\".\"+spec.group (%s)", want))}
	}
	return nil
}

// prune drops the fields of an object that its schema does not know, reports them, and sets defaults.
func (d *custom) prune(object *unstructured.Unstructured) []error {
	schema := d.versions[object.GroupVersionKind().Version].schema
	if schema == nil {
		return nil
	}
	var unknown []error
	for _, path := range pruning.PruneWithOptions(object.Object, schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		unknown = append(unknown, fmt.Errorf("unknown field %q", path))
	}
	fillIn(object.Object, schema)
	return unknown
}

// fillIn sets the defaults of a schema.
func fillIn(value any, schema *structural.Structural) {
	switch v := value.(type) {
	case map[string]any:
		for name := range schema.Properties {
			property := schema.Properties[name]
			if old, found := v[name]; property.Default.Object != nil && (!found || (old == nil && !property.Nullable)) {
				v[name] = runtime.DeepCopyJSONValue(property.Default.Object)
			}
			fillIn(v[name], &property)
		}
		if more := schema.AdditionalProperties; more != nil && more.Structural != nil {
			for name := range v {
				fillIn(v[name], more.Structural)
			}
		}
	case []any:
		for i := range v {
			if schema.Items != nil {
				fillIn(v[i], schema.Items)
			}
		}
	}
}

// validate checks an object against its schema; rules in CEL are not evaluated.
func (d *custom) validate(object *unstructured.Unstructured) field.ErrorList {
	checker := d.versions[object.GroupVersionKind().Version].checker
	if checker == nil {
		return nil
	}
	var errs field.ErrorList
	for _, err := range checker.Validate(object.Object).Errors {
		where, value := field.NewPath(""), any(nil)
		var known *openapi.Validation
		if errors.As(err, &known) && known.Name != "" {
			where, value = field.NewPath(known.Name), known.Value
		}
		errs = append(errs, field.Invalid(where, value, err.Error()))
	}
	return errs
}
