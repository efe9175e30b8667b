package apiserver

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// bodyLimit is the size of a request body, in bytes, that the real API server accepts.
const bodyLimit = 3 << 20

// target is what the path of a request names.
type target struct {
	gv        schema.GroupVersion
	resource  string
	namespace string
	name      string
	sub       string // subresource
	depth     int    // how many segments of the path the above took; a proxied path may go on behind them
}

// parse takes the path of a resource apart; false for a path of another shape.
func parse(path string) (target, bool) {
	var t target
	parts := strings.Split(strings.Trim(path, "/"), "/")
	all := len(parts)
	switch {
	case parts[0] == "api" && all >= 3:
		t.gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case parts[0] == "apis" && all >= 4:
		t.gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return t, false
	}
	// A namespace has subresources of its own, which must not be taken for resources in it.
	if parts[0] == "namespaces" && len(parts) >= 3 && parts[2] != "status" && parts[2] != "finalize" {
		t.namespace, parts = parts[1], parts[2:]
	}
	for _, field := range []*string{&t.resource, &t.name, &t.sub} {
		if len(parts) > 0 {
			*field, parts = parts[0], parts[1:]
		}
	}
	t.depth = all - len(parts)
	return t, len(parts) == 0 || t.sub == "proxy"
}

// behind is the rest of a path after so many segments, with its leading slash.
func behind(path string, segments int) string {
	for range segments {
		next := strings.IndexByte(path[1:], '/')
		if next < 0 {
			return ""
		}
		path = path[1+next:]
	}
	return path
}

// call is one request for a resource.
type call struct {
	target
	kind    *kind
	query   url.Values
	request *http.Request
	writer  http.ResponseWriter
	warn    func(string) // adds a warning to the answer
	now     func() time.Time
}

// manager is who owns the fields that this call sets.
func (c *call) manager() string {
	if name := c.query.Get("fieldManager"); name != "" {
		return name
	}
	name, _, _ := strings.Cut(c.request.UserAgent(), "/")
	return name
}

// dryRun tells whether nothing is to be stored.
func (c *call) dryRun() bool { return c.query.Get("dryRun") == metav1.DryRunAll }

// notFound is the answer for the object that the path names.
func (c *call) notFound() error { return apierrors.NewNotFound(c.kind.groupResource(), c.name) }

// body reads the request's body.
func (c *call) body() ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.writer, c.request.Body, bodyLimit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", large.Limit))
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read request body: %v", err))
	}
	return data, nil
}

// selection is which objects a list or a watch wants.
type selection struct {
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// selected reads the selection of a call.
func (c *call) selected() (selection, error) {
	byLabel, err := labels.Parse(c.query.Get("labelSelector"))
	if err != nil {
		return selection{}, apierrors.NewBadRequest(fmt.Sprintf("read labelSelector: %v", err))
	}
	byField, err := fields.ParseSelector(c.query.Get("fieldSelector"))
	if err != nil {
		return selection{}, apierrors.NewBadRequest(fmt.Sprintf("read fieldSelector: %v", err))
	}
	if c.name != "" {
		byField = fields.AndSelectors(byField, fields.OneTermEqualSelector("metadata.name", c.name))
	}
	return selection{namespace: c.namespace, labels: byLabel, fields: byField}, nil
}

func (s selection) matches(object *unstructured.Unstructured) bool {
	return object != nil && (s.namespace == "" || s.namespace == object.GetNamespace()) &&
		s.labels.Matches(labels.Set(object.GetLabels())) && s.fields.Matches(paths{object})
}

// paths shows an object to a field selector, by any path of plain fields, such as status.phase. The real API knows a few
// of them for each kind; whoever selects by one of those gets the same answer here.
type paths struct{ object *unstructured.Unstructured }

// Has is part of fields.Fields.
func (p paths) Has(field string) bool { return p.Get(field) != "" }

// Get is part of fields.Fields.
func (p paths) Get(field string) string {
	value, found, err := unstructured.NestedFieldNoCopy(p.object.Object, strings.Split(field, ".")...)
	if err != nil || !found || value == nil {
		return ""
	}
	return fmt.Sprint(value)
}
