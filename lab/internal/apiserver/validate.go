package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// invalid is the answer for one field with a wrong value.
func invalid(k *kind, name, where, detail string) error {
	return apierrors.NewInvalid(k.stored().GroupKind(), name, field.ErrorList{field.Invalid(field.NewPath(where), "", detail)})
}

// validate checks what clients get wrong most often: names and labels, the shape of workloads and Services, and custom
// resources against their schema. It is far from all that a real API server checks. before is nil for a new object.
func (s *Server) validate(k *kind, before, object *unstructured.Unstructured) error {
	errs := validation.ValidateObjectMetaAccessor(object, k.namespaced, k.nameRule(), field.NewPath("metadata"))
	switch {
	case k.custom != nil:
		errs = append(errs, k.custom.validate(object)...)
	case k == s.definitions():
		errs = append(errs, validateDefinition(object)...)
	default:
		more, err := validateBuiltin(k, before, object)
		if err != nil {
			return err
		}
		errs = append(errs, more...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(k.stored().GroupKind(), object.GetName(), errs)
	}
	return nil
}

// nameRule is what a kind allows as the name of an object.
func (k *kind) nameRule() validation.ValidateNameFunc {
	switch {
	case k.served[0].Group == "rbac.authorization.k8s.io" && k.custom == nil:
		return func(name string, _ bool) []string { return content.IsPathSegmentName(name) }
	case k.is("", "services"):
		return validation.NameIsDNS1035Label
	case k.is("", "namespaces"):
		return validation.ValidateNamespaceName
	}
	return validation.NameIsDNSSubdomain
}

func validateBuiltin(k *kind, before, object *unstructured.Unstructured) (field.ErrorList, error) {
	spec := field.NewPath("spec")
	switch {
	case k.is("apps", "deployments"):
		workload, err := typed[appsv1.Deployment](object)
		if err != nil {
			return nil, err
		}
		errs := validateWorkload(workload.Spec.Selector, workload.Spec.Replicas, &workload.Spec.Template, spec)
		return append(errs, keeps(before, object, "selector")...), nil
	case k.is("apps", "replicasets"):
		workload, err := typed[appsv1.ReplicaSet](object)
		if err != nil {
			return nil, err
		}
		errs := validateWorkload(workload.Spec.Selector, workload.Spec.Replicas, &workload.Spec.Template, spec)
		return append(errs, keeps(before, object, "selector")...), nil
	case k.is("", "pods"):
		pod, err := typed[corev1.Pod](object)
		if err != nil {
			return nil, err
		}
		return validateContainers(pod.Spec.Containers, spec.Child("containers")), nil
	case k.is("", "services"):
		service, err := typed[corev1.Service](object)
		if err != nil {
			return nil, err
		}
		return validateService(service, spec), nil
	}
	return nil, nil
}

// validateWorkload checks what makes replicas of a pod template.
func validateWorkload(selector *metav1.LabelSelector, replicas *int32, template *corev1.PodTemplateSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if replicas != nil && *replicas < 0 {
		errs = append(errs, field.Invalid(spec.Child("replicas"), *replicas, "must be greater than or equal to 0"))
	}
	if selector == nil {
		return append(errs, field.Required(spec.Child("selector"), ""))
	}
	chosen, err := metav1.LabelSelectorAsSelector(selector)
	switch {
	case err != nil:
		errs = append(errs, field.Invalid(spec.Child("selector"), selector, err.Error()))
	case chosen.Empty():
		errs = append(errs, field.Invalid(spec.Child("selector"), selector, "empty selector is invalid"))
	case !chosen.Matches(labels.Set(template.Labels)):
		errs = append(errs, field.Invalid(spec.Child("template", "metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, validateContainers(template.Spec.Containers, spec.Child("template", "spec", "containers"))...)
}

func validateContainers(containers []corev1.Container, path *field.Path) field.ErrorList {
	if len(containers) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, container := range containers {
		if container.Name == "" {
			errs = append(errs, field.Required(path.Index(i).Child("name"), ""))
		}
		if names[container.Name] {
			errs = append(errs, field.Duplicate(path.Index(i).Child("name"), container.Name))
		}
		if container.Image == "" {
			errs = append(errs, field.Required(path.Index(i).Child("image"), ""))
		}
		names[container.Name] = true
	}
	return errs
}

func validateService(service *corev1.Service, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(service.Spec.Ports) == 0 && service.Spec.ClusterIP != corev1.ClusterIPNone && service.Spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	for i, port := range service.Spec.Ports {
		where := spec.Child("ports").Index(i)
		if port.Port < 1 || port.Port > 65535 {
			errs = append(errs, field.Invalid(where.Child("port"), port.Port, "must be between 1 and 65535, inclusive"))
		}
		if port.Name == "" && len(service.Spec.Ports) > 1 {
			errs = append(errs, field.Required(where.Child("name"), ""))
		}
	}
	return errs
}

// keeps checks that a field of the spec has not changed.
func keeps(before, object *unstructured.Unstructured, name string) field.ErrorList {
	if before == nil {
		return nil
	}
	old, _, _ := unstructured.NestedFieldNoCopy(before.Object, "spec", name)
	now, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", name)
	if equality.Semantic.DeepEqual(old, now) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec", name), now, "field is immutable")}
}
