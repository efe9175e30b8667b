package apiserver

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pullPolicy is the default for an image: one whose tag may move is always pulled.
func pullPolicy(image string) corev1.PullPolicy {
	last := image[strings.LastIndex(image, "/")+1:]
	_, tag, tagged := strings.Cut(last, ":")
	if (!tagged || tag == "latest") && !strings.Contains(last, "@") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// convert returns an object of this kind in another of its versions; the argument is not changed. The versions of a
// custom resource differ only in name, as with the conversion strategy None, which is the only one here.
func (k *kind) convert(object *unstructured.Unstructured, gv schema.GroupVersion) *unstructured.Unstructured {
	from := object.GroupVersionKind().GroupVersion()
	if from == gv {
		return object
	}
	converted := object.DeepCopy()
	converted.SetAPIVersion(gv.String())
	switch {
	case k.is("", "events") && gv.Group == "":
		rename(converted.Object, eventFields(), false)
	case k.is("", "events"):
		rename(converted.Object, eventFields(), true)
	case k.is("autoscaling", "horizontalpodautoscalers") && gv.Version == "v1":
		toScalerV1(converted)
	case k.is("autoscaling", "horizontalpodautoscalers"):
		toScalerV2(converted)
	}
	return converted
}

// eventFields are the names of one field in v1 and in events.k8s.io/v1.
func eventFields() map[string]string {
	return map[string]string{
		"involvedObject": "regarding", "message": "note", "source": "deprecatedSource", "count": "deprecatedCount",
		"firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp",
		"reportingComponent": "reportingController",
	}
}

func rename(content map[string]any, names map[string]string, forward bool) {
	for a, b := range names {
		if !forward {
			a, b = b, a
		}
		if value, found := content[a]; found {
			delete(content, a)
			content[b] = value
		}
	}
}

// toScalerV1 keeps of the metrics what v1 knows: the share of CPU.
func toScalerV1(scaler *unstructured.Unstructured) {
	metrics, _, _ := unstructured.NestedSlice(scaler.Object, "spec", "metrics")
	unstructured.RemoveNestedField(scaler.Object, "spec", "metrics")
	unstructured.RemoveNestedField(scaler.Object, "spec", "behavior")
	for _, field := range []string{"currentMetrics", "conditions"} {
		unstructured.RemoveNestedField(scaler.Object, "status", field)
	}
	for _, metric := range metrics {
		m, _ := metric.(map[string]any)
		name, _, _ := unstructured.NestedString(m, "resource", "name")
		share, found, _ := unstructured.NestedInt64(m, "resource", "target", "averageUtilization")
		if spec, ok := scaler.Object["spec"].(map[string]any); ok && name == "cpu" && found {
			spec["targetCPUUtilizationPercentage"] = share
		}
	}
}

func toScalerV2(scaler *unstructured.Unstructured) {
	spec, ok := scaler.Object["spec"].(map[string]any)
	if !ok {
		return
	}
	share, found := spec["targetCPUUtilizationPercentage"]
	delete(spec, "targetCPUUtilizationPercentage")
	if found {
		spec["metrics"] = []any{map[string]any{"type": "Resource", "resource": map[string]any{
			"name": "cpu", "target": map[string]any{"type": "Utilization", "averageUtilization": share},
		}}}
	}
}
