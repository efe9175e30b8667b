package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// handleScale is an object seen as a number of pods.
func (s *Server) handleScale(w http.ResponseWriter, q request) error {
	if q.Method == http.MethodGet {
		o, err := s.store.get(q.kind, q.at)
		if err != nil {
			return err
		}
		s.write(w, http.StatusOK, scaleOf(o))
		return nil
	}
	text, err := body(q)
	if err != nil {
		return err
	}
	mediaType, _, _ := strings.Cut(q.Header.Get("Content-Type"), ";")
	o, err := s.store.update(q.kind, q.at, "", dry(q), func(current *object) (*object, error) {
		wanted := autoscalingv1.Scale{}
		switch {
		case q.Method == http.MethodPut:
			if err := json.Unmarshal(text, &wanted); err != nil {
				return nil, errors.NewBadRequest("the body is not a Scale: " + err.Error())
			}
		case q.Method == http.MethodPatch:
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(scaleOf(current))
			if err != nil {
				return nil, err
			}
			as := q
			as.kind = is("autoscaling/v1 scales Scale", "")
			patched, err := patched(as, types.PatchType(mediaType), &object{Object: content}, text)
			if err != nil {
				return nil, err
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(patched.Object, &wanted); err != nil {
				return nil, errors.NewBadRequest("the patch leaves no Scale: " + err.Error())
			}
		default:
			return nil, errors.NewMethodNotSupported(q.GroupResource(), strings.ToLower(q.Method))
		}
		if wanted.Spec.Replicas < 0 {
			return nil, errors.NewBadRequest("spec.replicas must not be negative")
		}
		if v := wanted.ResourceVersion; v != "" {
			current.SetResourceVersion(v)
		}
		return current, unstructured.SetNestedField(current.Object, int64(wanted.Spec.Replicas), "spec", "replicas")
	})
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, scaleOf(o))
	return nil
}

func scaleOf(o *object) *autoscalingv1.Scale {
	number := func(path ...string) int32 { n, _, _ := unstructured.NestedInt64(o.Object, path...); return int32(n) }
	scale := &autoscalingv1.Scale{TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"}}
	scale.Name, scale.Namespace, scale.UID = o.GetName(), o.GetNamespace(), o.GetUID()
	scale.ResourceVersion, scale.CreationTimestamp = o.GetResourceVersion(), o.GetCreationTimestamp()
	scale.Spec.Replicas, scale.Status.Replicas = number("spec", "replicas"), number("status", "replicas")
	selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	scale.Status.Selector = labels.FormatLabels(selector)
	return scale
}
