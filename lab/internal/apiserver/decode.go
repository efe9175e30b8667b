package apiserver

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// plain turns a body into JSON. Some clients, kubectl create among them, write built-in kinds as protobuf.
func (s *Server) plain(c *call, data []byte) ([]byte, error) {
	media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || media == "application/json" {
		return data, nil // no or no readable type: JSON, as for the real API server
	}
	if media == "application/yaml" || media == "application/apply-patch+yaml" {
		if data, err = yaml.YAMLToJSON(data); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read YAML: %v", err))
		}
		return data, nil
	}
	if media == runtime.ContentTypeProtobuf {
		object, gvk, err := protobuf.NewSerializer(s.scheme, s.scheme).Decode(data, nil, nil)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read protobuf: %v", err))
		}
		object.GetObjectKind().SetGroupVersionKind(*gvk)
		return json.Marshal(object)
	}
	return nil, apierrors.NewGenericServerResponse(415, c.request.Method, c.kind.groupResource(), c.name,
		"the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf", 0, false)
}

// sent is the object in the body of a call.
func (s *Server) sent(c *call) (*unstructured.Unstructured, error) {
	data, err := c.body()
	if err != nil {
		return nil, err
	}
	if data, err = s.plain(c, data); err != nil {
		return nil, err
	}
	return s.decode(c, data)
}

// decode reads an object of the call's kind from JSON, fills in the defaults and returns it in the stored version. The
// fields that nobody knows are dropped, and refused or warned of as fieldValidation says.
func (s *Server) decode(c *call, data []byte) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	strict, err := kjson.UnmarshalStrict(data, &object.Object)
	if err != nil || object.Object == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read %s: %v", c.kind.name, err))
	}
	gvk := c.gv.WithKind(c.kind.name)
	if object.GetKind() == "" {
		object.SetKind(gvk.Kind)
	}
	if object.GetAPIVersion() == "" {
		object.SetAPIVersion(c.gv.String())
	}
	if found := object.GroupVersionKind(); found != gvk {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object is %s %s, but the request is for %s %s",
			found.GroupVersion(), found.Kind, gvk.GroupVersion(), gvk.Kind))
	}
	if c.kind.custom != nil {
		strict = append(strict, c.kind.custom.prune(object)...)
	} else if object, strict, err = s.decodeBuiltin(c, data); err != nil {
		return nil, err
	}
	if err := c.tell(strict); err != nil {
		return nil, err
	}
	return c.kind.convert(object, c.kind.served[0]), nil
}

// decodeBuiltin reads an object through its Go type, which finds values of the wrong type and unknown fields.
func (s *Server) decodeBuiltin(c *call, data []byte) (*unstructured.Unstructured, []error, error) {
	gvk := c.gv.WithKind(c.kind.name)
	codec := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, s.scheme, s.scheme, serializer.SerializerOptions{Strict: true})
	typed, _, err := codec.Decode(data, &gvk, nil)
	var unknown []error
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		unknown = strict.Errors()
	} else if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
	}
	setDefaults(typed)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, nil, fmt.Errorf("convert %s: %w", c.kind.name, err)
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(gvk)
	return object, unknown, nil
}

// typed fills a Go type from a stored object.
func typed[T any](object *unstructured.Unstructured) (*T, error) {
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
	}
	return into, nil
}

// tell does with unknown and duplicate fields what the client asked for; a client that asked for nothing gets a warning.
func (c *call) tell(strict []error) error {
	if len(strict) == 0 || c.query.Get("fieldValidation") == "Ignore" {
		return nil
	}
	texts := make([]string, len(strict))
	for i, err := range strict {
		texts[i] = err.Error()
	}
	if c.query.Get("fieldValidation") == "Strict" {
		return apierrors.NewBadRequest("strict decoding error: " + strings.Join(texts, ", "))
	}
	for _, text := range texts {
		c.warn(text)
	}
	return nil
}
