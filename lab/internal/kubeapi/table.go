package apiserver

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// tableOf is what kubectl prints of objects: name, the kind's own columns, age.
func tableOf(k kind, objects []*object, version string, now time.Time) metav1.Table {
	t := metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: metav1.ListMeta{ResourceVersion: version}}
	t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name"})
	for _, c := range k.columns {
		t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: c.name, Type: c.kind})
	}
	t.ColumnDefinitions = append(t.ColumnDefinitions, metav1.TableColumnDefinition{Name: "Age", Type: "string"})
	for _, o := range objects {
		cells := []any{o.GetName()}
		for _, c := range k.columns {
			cells = append(cells, c.value(o))
		}
		age := duration.HumanDuration(now.Sub(o.GetCreationTimestamp().Time))
		part := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}}
		part.Name, part.Namespace, part.Labels, part.ResourceVersion, part.UID = o.GetName(), o.GetNamespace(), o.GetLabels(), o.GetResourceVersion(), o.GetUID()
		part.CreationTimestamp = o.GetCreationTimestamp()
		t.Rows = append(t.Rows, metav1.TableRow{Cells: append(cells, age), Object: runtime.RawExtension{Object: part}})
	}
	return t
}

func textColumn(name string, path ...string) column {
	return column{name, "string", func(o *object) any {
		value, _, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
		if value == nil {
			return ""
		}
		return fmt.Sprint(value)
	}}
}

func numberColumn(name string, path ...string) column {
	return column{name, "integer", func(o *object) any {
		value, _, _ := unstructured.NestedInt64(o.Object, path...)
		return value
	}}
}

func deploymentColumns() []column {
	ready := column{"Ready", "string", func(o *object) any {
		is, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
		want, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		return fmt.Sprintf("%d/%d", is, want)
	}}
	return []column{ready, numberColumn("Up-to-date", "status", "updatedReplicas"), numberColumn("Available", "status", "availableReplicas")}
}

func podColumns() []column {
	each := func(o *object, do func(status map[string]any)) {
		statuses, _, _ := unstructured.NestedSlice(o.Object, "status", "containerStatuses")
		for _, s := range statuses {
			if status, ok := s.(map[string]any); ok {
				do(status)
			}
		}
	}
	return []column{
		{"Ready", "string", func(o *object) any {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "containers")
			ready := 0
			each(o, func(status map[string]any) {
				if is, _ := status["ready"].(bool); is {
					ready++
				}
			})
			return fmt.Sprintf("%d/%d", ready, len(containers))
		}},
		{"Status", "string", func(o *object) any {
			if o.GetDeletionTimestamp() != nil {
				return "Terminating"
			}
			text, _, _ := unstructured.NestedString(o.Object, "status", "phase")
			each(o, func(status map[string]any) {
				for _, state := range []string{"waiting", "terminated"} {
					if reason, has, _ := unstructured.NestedString(status, "state", state, "reason"); has {
						text = reason
					}
				}
			})
			return text
		}},
		{"Restarts", "integer", func(o *object) any {
			restarts := int64(0)
			each(o, func(status map[string]any) {
				n, _, _ := unstructured.NestedInt64(status, "restartCount")
				restarts += n
			})
			return restarts
		}},
	}
}

func portsColumn() column {
	return column{"Port(s)", "string", func(o *object) any {
		ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
		var texts []string
		for _, p := range ports {
			if port, ok := p.(map[string]any); ok {
				texts = append(texts, fmt.Sprintf("%v/%v", port["port"], port["protocol"]))
			}
		}
		return strings.Join(texts, ",")
	}}
}

func hostsColumn() column {
	return column{"Hosts", "string", func(o *object) any {
		rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "rules")
		var hosts []string
		for _, r := range rules {
			if rule, ok := r.(map[string]any); ok {
				hosts = append(hosts, fmt.Sprint(rule["host"]))
			}
		}
		return strings.Join(hosts, ",")
	}}
}
