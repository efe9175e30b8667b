package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// integers turns whole numbers of decoded JSON into int64, as all of apimachinery expects them.
func integers(o *object) (*object, error) {
	text, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	o.Object = map[string]any{}
	if err := unmarshal(text, &o.Object); err != nil {
		return nil, errors.NewBadRequest(err.Error())
	}
	return o, nil
}

// patched is what a patch makes of an object.
func patched(q request, kind types.PatchType, current *object, patch []byte) (*object, error) {
	is, err := json.Marshal(current.Object)
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	var becomes []byte
	switch kind {
	case types.JSONPatchType:
		var steps jsonpatch.Patch
		if steps, err = jsonpatch.DecodePatch(patch); err == nil {
			becomes, err = steps.Apply(is)
		}
	case types.MergePatchType:
		becomes, err = jsonpatch.MergePatch(is, patch)
	case types.StrategicMergePatchType:
		typed, newErr := scheme.Scheme.New(q.gvk())
		if newErr != nil {
			return nil, unsupported("the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
		}
		becomes, err = strategicpatch.StrategicMergePatch(is, patch, typed)
	default:
		return nil, unsupported(fmt.Sprintf("the patch type %q is not known", kind))
	}
	if err != nil {
		return nil, errors.NewBadRequest("the patch can not be applied: " + err.Error())
	}
	o := &object{}
	if err := unmarshal(becomes, &o.Object); err != nil {
		return nil, errors.NewBadRequest("the patch leaves no object: " + err.Error())
	}
	if o.GroupVersionKind() != q.gvk() {
		return nil, errors.NewBadRequest("a patch must not change the kind")
	}
	return o, nil
}

func unsupported(message string) error {
	err := errors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "", schema.GroupResource{}, "", "", 0, true)
	err.ErrStatus.Message = message
	return err
}

// handleApply is server-side apply without owners of fields: an object that is not there is made, one that is gets what
// the configuration says, merged by the rules of its type. What an earlier configuration had and this one has not stays.
func (s *Server) handleApply(w http.ResponseWriter, q request, text []byte) error {
	config, err := yaml.YAMLToJSON(text)
	if err != nil {
		return errors.NewBadRequest("the configuration is not YAML: " + err.Error())
	}
	if _, err := s.store.get(q.kind, q.at); errors.IsNotFound(err) && q.subresource == "" {
		o, err := decode(q, config)
		if err != nil {
			return err
		}
		o.SetName(q.at.Name)
		if o, err = admit(q.kind, o, strict(q)); err != nil {
			return err
		}
		if o, err = s.store.create(q.kind, o, dry(q)); err == nil {
			s.answer(w, q, http.StatusCreated, o)
		}
		return err
	}
	kind := types.StrategicMergePatchType
	if _, err := scheme.Scheme.New(q.gvk()); err != nil {
		kind = types.MergePatchType
	}
	o, err := s.store.update(q.kind, q.at, status(q), dry(q), func(current *object) (*object, error) {
		wanted, err := patched(q, kind, current, config)
		if err != nil {
			return nil, err
		}
		return admit(q.kind, wanted, strict(q))
	})
	if err != nil {
		return err
	}
	s.answer(w, q, http.StatusOK, o)
	return nil
}
