package apiserver

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/jsonpath"
)

// born sets the status that a new object of some kinds has from its first moment.
func born(k kind, o *object) {
	phase := map[string]string{"pods": "Pending", "namespaces": "Active", "persistentvolumeclaims": "Bound"}[k.Resource]
	if phase != "" && k.Group == "" {
		o.Object["status"] = map[string]any{"phase": phase}
	}
	if k.Resource == definitions().Resource && k.Group == definitions().Group {
		names, _, _ := unstructured.NestedMap(o.Object, "spec", "names")
		condition := func(kind, reason string) any {
			return map[string]any{
				"type": kind, "status": "True", "reason": reason, "message": "",
				"lastTransitionTime": o.GetCreationTimestamp().UTC().Format(time.RFC3339),
			}
		}
		o.Object["status"] = map[string]any{
			"conditions":    []any{condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")},
			"acceptedNames": names, "storedVersions": []any{},
		}
	}
}

// defined are the kinds of a definition, one for each version that is served.
func defined(o *object) []kind {
	text := func(path ...string) string { v, _, _ := unstructured.NestedString(o.Object, path...); return v }
	short, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "names", "shortNames")
	categories, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "names", "categories")
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	var kinds []kind
	for _, v := range versions {
		version, ok := v.(map[string]any)
		if served, _ := version["served"].(bool); !ok || !served {
			continue
		}
		number, _ := version["name"].(string)
		_, status, _ := unstructured.NestedMap(version, "subresources", "status")
		k := kind{
			GroupVersionResource: schema.GroupVersionResource{Group: text("spec", "group"), Version: number, Resource: text("spec", "names", "plural")},
			Kind:                 text("spec", "names", "kind"), singular: text("spec", "names", "singular"), short: short, categories: categories,
			namespaced: text("spec", "scope") == "Namespaced", status: status, custom: true,
		}
		if k.singular == "" {
			k.singular = strings.ToLower(k.Kind)
		}
		printed, _, _ := unstructured.NestedSlice(version, "additionalPrinterColumns")
		for _, c := range printed {
			if c, ok := c.(map[string]any); ok {
				k.columns = append(k.columns, printerColumn(c)...)
			}
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// printerColumn is a column as a definition describes it; none when it is for wide output or its path is wrong.
func printerColumn(c map[string]any) []column {
	name, _ := c["name"].(string)
	kind, _ := c["type"].(string)
	path, _ := c["jsonPath"].(string)
	priority, _ := c["priority"].(int64)
	parsed := jsonpath.New(name).AllowMissingKeys(true)
	if priority > 0 || parsed.Parse("{"+path+"}") != nil || path == ".metadata.creationTimestamp" {
		return nil
	}
	return []column{{name, kind, func(o *object) any {
		// A parser of its own for each use: it keeps state while it executes.
		find := jsonpath.New(name).AllowMissingKeys(true)
		if find.Parse("{"+path+"}") != nil {
			return ""
		}
		results, err := find.FindResults(o.Object)
		if err != nil || len(results) == 0 || len(results[0]) == 0 {
			return ""
		}
		return results[0][0].Interface()
	}}}
}

// define lets the API know the kinds of a definition; locked.
func (s *store) define(o *object) {
	for _, k := range defined(o) {
		s.add(k)
	}
}

// forget deletes all objects of a definition's kinds and then the kinds; those that still wait for a finalizer keep
// their kind; locked.
func (s *store) forget(o *object) {
	for _, k := range defined(o) {
		t := s.tables[k.GroupVersionResource]
		if t == nil {
			continue
		}
		for _, each := range s.matching(k, func(*object) bool { return true }) {
			s.begin(k, each, nil)
		}
		if len(t.objects) > 0 {
			continue
		}
		for w := range t.watchers {
			w.end()
		}
		delete(s.tables, k.GroupVersionResource)
	}
}
