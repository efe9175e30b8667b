package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// selection is which objects a request is about: namespace, name, labels and fields, any field by its path.
func selection(q request) (func(*object) bool, error) {
	query := q.URL.Query()
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, errors.NewBadRequest("the label selector is wrong: " + err.Error())
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, errors.NewBadRequest("the field selector is wrong: " + err.Error())
	}
	return func(o *object) bool {
		if q.at.Namespace != "" && o.GetNamespace() != q.at.Namespace || !byLabel.Matches(labels.Set(o.GetLabels())) {
			return false
		}
		set := fields.Set{}
		for _, r := range byField.Requirements() {
			value, _, _ := unstructured.NestedFieldNoCopy(o.Object, strings.Split(r.Field, ".")...)
			if value != nil {
				set[r.Field] = fmt.Sprint(value)
			}
		}
		return byField.Matches(set)
	}, nil
}

func list(k kind, objects []*object, version string) map[string]any {
	items := make([]any, len(objects))
	for i, o := range objects {
		items[i] = o.Object
	}
	return map[string]any{
		"apiVersion": k.GroupVersion().String(), "kind": k.Kind + "List",
		"metadata": map[string]any{"resourceVersion": version}, "items": items,
	}
}

func (s *Server) serveList(w http.ResponseWriter, q request) error {
	match, err := selection(q)
	if err != nil {
		return err
	}
	objects, version := s.store.list(q.kind, match)
	if asTable(q) {
		s.write(w, http.StatusOK, tableOf(q.kind, objects, version, s.Now()))
		return nil
	}
	s.write(w, http.StatusOK, list(q.kind, objects, version))
	return nil
}

// serveWatch tells changes as they come, until the client goes, the time it gave is over, or it is too slow.
func (s *Server) serveWatch(w http.ResponseWriter, q request) error {
	match, err := selection(q)
	if err != nil {
		return err
	}
	query := q.URL.Query()
	initial := query.Get("sendInitialEvents") == "true"
	from := query.Get("resourceVersion")
	watcher, objects, version, err := s.store.watch(q.kind, from, initial, match)
	if err != nil {
		return err
	}
	defer s.store.unwatch(q.kind, watcher)
	timeout := time.NewTimer(watchTime(query.Get("timeoutSeconds")))
	defer timeout.Stop()

	t := &teller{out: json.NewEncoder(w), flush: http.NewResponseController(w), q: q, now: s.Now}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	for _, o := range objects {
		t.tell(watch.Added, o)
	}
	if initial {
		t.tell(watch.Bookmark, bookmark(q.kind, version, true))
	}
	t.sent()
	marks := time.NewTicker(time.Minute)
	defer marks.Stop()
	for t.err == nil {
		select {
		case c, open := <-watcher.changes:
			if !open {
				return nil
			}
			if event, o := watcher.notice(c); event != "" {
				t.tell(event, o)
			}
			version = strconv.FormatUint(c.version, 10)
			if len(watcher.changes) == 0 {
				t.sent()
			}
		case <-marks.C:
			if query.Get("allowWatchBookmarks") == "true" {
				t.tell(watch.Bookmark, bookmark(q.kind, version, false))
				t.sent()
			}
		case <-timeout.C:
			return nil
		case <-q.Context().Done():
			return nil
		}
	}
	return nil
}

func watchTime(seconds string) time.Duration {
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return time.Hour
	}
	return time.Duration(n) * time.Second
}

// teller writes events to one watch. After an error it does nothing more: the client has gone.
type teller struct {
	out   *json.Encoder
	flush *http.ResponseController
	q     request
	now   func() time.Time
	err   error
}

func (t *teller) tell(event watch.EventType, o *object) {
	if t.err != nil {
		return
	}
	var document any = o
	if asTable(t.q) && event != watch.Bookmark {
		document = tableOf(t.q.kind, []*object{o}, o.GetResourceVersion(), t.now())
	}
	t.err = t.out.Encode(struct {
		Type   watch.EventType `json:"type"`
		Object any             `json:"object"`
	}{event, document})
}

func (t *teller) sent() {
	if t.err == nil {
		t.err = t.flush.Flush()
	}
}

// asTable reports whether a request wants its answer as kubectl prints it.
func asTable(q request) bool {
	return strings.Contains(q.Header.Get("Accept"), "as=Table") && strings.HasPrefix(q.Header.Get("Accept"), "application/json;as=Table")
}

// unmarshal decodes JSON with whole numbers as int64.
func unmarshal(text []byte, into *map[string]any) error {
	var o unstructured.Unstructured
	o.Object = map[string]any{}
	decoded, _, err := unstructured.UnstructuredJSONScheme.Decode(text, nil, &o)
	if err != nil {
		return err
	}
	u, ok := decoded.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("it is a list")
	}
	*into = u.Object
	return nil
}
