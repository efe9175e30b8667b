package apiserver

import (
	"mime"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// form is how a client wants to see objects: whole, as lines of a table, or only their metadata.
type form struct {
	as      string // "", Table or PartialObjectMetadata
	version string // of the group meta.k8s.io
	include string // what of the object comes with a table's row: None, Metadata or Object
	kind    *kind
	gv      schema.GroupVersion
	now     func() time.Time
}

// form reads the Accept header. JSON is all there is; a client that takes only something else is told so.
func (c *call) form() (*form, error) {
	f := &form{kind: c.kind, gv: c.gv, include: c.query.Get("includeObject"), now: c.now}
	accept := c.request.Header.Get("Accept")
	if accept == "" {
		return f, nil
	}
	for _, part := range strings.Split(accept, ",") {
		media, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		switch media {
		case "application/json", "*/*", "application/*":
		default:
			continue
		}
		as := strings.TrimSuffix(parameters["as"], "List")
		if as == "" || as == "Table" || as == "PartialObjectMetadata" {
			f.as, f.version = as, parameters["v"]
			return f, nil
		}
	}
	return nil, apierrors.NewGenericServerResponse(406, c.request.Method, c.kind.groupResource(), c.name,
		"only application/json is served", 0, false)
}

// object shows one object.
func (f *form) object(object *unstructured.Unstructured) any {
	switch f.as {
	case "Table":
		return f.table([]*unstructured.Unstructured{object}, object.GetResourceVersion())
	case "PartialObjectMetadata":
		return f.partial(object)
	}
	return object.Object
}

// objects shows a list.
func (f *form) objects(objects []*unstructured.Unstructured, version string) any {
	if f.as == "Table" {
		return f.table(objects, version)
	}
	items := make([]any, len(objects))
	for i, object := range objects {
		if f.as == "PartialObjectMetadata" {
			items[i] = f.partial(object)
		} else {
			items[i] = object.Object
		}
	}
	list := map[string]any{"apiVersion": f.gv.String(), "kind": f.kind.list, "metadata": map[string]any{"resourceVersion": version}, "items": items}
	if f.as == "PartialObjectMetadata" {
		list["apiVersion"], list["kind"] = "meta.k8s.io/"+f.version, "PartialObjectMetadataList"
	}
	return list
}

func (f *form) partial(object *unstructured.Unstructured) map[string]any {
	return map[string]any{"apiVersion": "meta.k8s.io/" + f.version, "kind": "PartialObjectMetadata", "metadata": object.Object["metadata"]}
}
