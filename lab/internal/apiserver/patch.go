package apiserver

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patchType is the kind of patch that a call carries.
func (c *call) patchType() types.PatchType {
	media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return types.PatchType(media)
}

// patch changes an object by a description of the change.
func (s *Server) patch(c *call) error {
	data, err := c.body()
	if err != nil {
		return err
	}
	if c.patchType() == types.ApplyPatchType {
		return s.apply(c, data)
	}
	s.mu.Lock()
	object, err := s.change(c, func(current *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		return s.patched(c, current, data)
	})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return c.replyObject(http.StatusOK, object)
}

// patched is the current object with a patch applied, read again as if a client had sent the whole.
func (s *Server) patched(c *call, current *unstructured.Unstructured, patch []byte) (*unstructured.Unstructured, error) {
	before, err := json.Marshal(c.kind.convert(current, c.gv).Object)
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", c.kind.name, c.name, err)
	}
	like, err := s.scheme.New(c.gv.WithKind(c.kind.name))
	if err != nil {
		like = nil // a custom resource: without a Go type there is no strategic merge patch, as in the real API server
	}
	after, err := c.patchJSON(like, before, patch)
	if err != nil {
		return nil, err
	}
	return s.decode(c, after)
}

// patchJSON applies a patch to an object in JSON. like is the object's Go type, nil if it has none.
func (c *call) patchJSON(like runtime.Object, before, patch []byte) ([]byte, error) {
	switch kind := c.patchType(); kind {
	case types.JSONPatchType:
		operations, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read JSON patch: %v", err))
		}
		after, err := operations.Apply(before)
		if err != nil {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", c.kind.groupResource(), c.name, err.Error(), 0, false)
		}
		return after, nil
	case types.MergePatchType:
		after, err := jsonpatch.MergePatch(before, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("apply merge patch: %v", err))
		}
		return after, nil
	case types.StrategicMergePatchType:
		if like == nil {
			return nil, c.unsupported(kind)
		}
		after, err := strategicpatch.StrategicMergePatch(before, patch, like)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("apply strategic merge patch: %v", err))
		}
		return after, nil
	default:
		return nil, c.unsupported(kind)
	}
}

func (c *call) unsupported(kind types.PatchType) error {
	return apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", c.kind.groupResource(), c.name,
		fmt.Sprintf("the body of the request was in an unknown format - no patch of type %q here", kind), 0, false)
}
