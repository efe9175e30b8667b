package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"
)

// column is one column of a table and how to get its cell from an object.
type column struct {
	metav1.TableColumnDefinition
	cell func(object *unstructured.Unstructured) any
}

// text makes a column; a column of priority 1 is shown by kubectl get -o wide only.
func text(name string, priority int32, cell func(*unstructured.Unstructured) any) column {
	return column{metav1.TableColumnDefinition{Name: name, Type: "string", Priority: priority}, cell}
}

// table shows objects as lines for people, which is what kubectl get asks for.
func (f *form) table(objects []*unstructured.Unstructured, version string) any {
	columns := f.columns()
	table := metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"},
		ListMeta: metav1.ListMeta{ResourceVersion: version},
		Rows:     []metav1.TableRow{},
	}
	for _, c := range columns {
		table.ColumnDefinitions = append(table.ColumnDefinitions, c.TableColumnDefinition)
	}
	for _, object := range objects {
		row := metav1.TableRow{}
		for _, c := range columns {
			row.Cells = append(row.Cells, c.cell(object))
		}
		switch f.include {
		case "None":
		case "Object":
			row.Object = runtime.RawExtension{Object: object}
		default:
			f.version = "v1"
			row.Object = runtime.RawExtension{Object: &unstructured.Unstructured{Object: f.partial(object)}}
		}
		table.Rows = append(table.Rows, row)
	}
	return table
}

// columns are those of the form's kind: the name, what matters of the kind, the age.
func (f *form) columns() []column {
	name := column{metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name"}, func(o *unstructured.Unstructured) any { return o.GetName() }}
	age := text("Age", 0, func(o *unstructured.Unstructured) any { return f.since(o.GetCreationTimestamp().Time) })
	if f.kind.custom == nil {
		shown, hidden := f.kind.columns(f)
		return append(append([]column{name}, append(shown, age)...), hidden...)
	}
	columns := []column{name}
	for _, definition := range f.kind.custom.versions[f.gv.Version].columns {
		columns = append(columns, f.custom(definition))
	}
	if len(columns) == 1 {
		columns = append(columns, age)
	}
	return columns
}

// since is how long ago something was, as kubectl writes it.
func (f *form) since(then time.Time) string {
	if then.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(f.now().Sub(then))
}

// custom is a column that a CustomResourceDefinition names.
func (f *form) custom(definition apiextensionsv1.CustomResourceColumnDefinition) column {
	path := jsonpath.New(definition.Name).AllowMissingKeys(true)
	broken := path.Parse("{" + definition.JSONPath + "}")
	return column{
		metav1.TableColumnDefinition{
			Name: definition.Name, Type: definition.Type, Format: definition.Format,
			Description: definition.Description, Priority: definition.Priority,
		},
		func(object *unstructured.Unstructured) any {
			if broken != nil {
				return "<invalid>"
			}
			return f.found(path, definition.Type, object)
		},
	}
}

// found is the value at a path, in the type that a column promises; nil, an empty cell, when there is none.
func (f *form) found(path *jsonpath.JSONPath, kind string, object *unstructured.Unstructured) any {
	results, err := path.FindResults(object.Object)
	if err != nil || len(results) == 0 || len(results[0]) == 0 {
		return nil
	}
	switch value := results[0][0].Interface().(type) {
	case string:
		if kind == "date" {
			then, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return "<invalid>"
			}
			return f.since(then)
		}
		return value
	case int64, float64, bool:
		if kind != "string" {
			return value
		}
	}
	if kind != "string" {
		return nil
	}
	var out bytes.Buffer
	if path.PrintResults(&out, results[0]) != nil {
		return nil
	}
	return out.String()
}

// at is the value at a path of fields, as text; missing when there is none.
func at(object *unstructured.Unstructured, missing string, fields ...string) string {
	value, found, err := unstructured.NestedFieldNoCopy(object.Object, fields...)
	if err != nil || !found || value == nil || value == "" {
		return missing
	}
	switch v := value.(type) {
	case string:
		return v
	case int64, bool, float64:
		return fmt.Sprint(v)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return missing
	}
	return string(data)
}

// fieldColumn makes a column from a path of fields, separated by dots.
func fieldColumn(name, path, missing string) column {
	return text(name, 0, func(o *unstructured.Unstructured) any { return at(o, missing, strings.Split(path, ".")...) })
}
