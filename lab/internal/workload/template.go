package workload

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
)

// revisionAnnotation counts the templates of a Deployment; `kubectl rollout history` reads it.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// templateHash names a template. Its value differs from a cluster's, which hashes Go's own print of the structure.
func templateHash(t *corev1.PodTemplateSpec) string {
	text, err := json.Marshal(t)
	if err != nil {
		// API types hold nothing that JSON can not.
		panic(err)
	}
	return shortHash(text)
}

func shortHash(text []byte) string {
	h := fnv.New32a()
	_, _ = h.Write(text) // never fails, by its contract
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// newSet is the ReplicaSet of a Deployment's template, without pods.
func newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	const label = appsv1.DefaultDeploymentUniqueLabelKey
	hash := templateHash(&d.Spec.Template)
	template := d.Spec.Template.DeepCopy()
	metav1.SetMetaDataLabel(&template.ObjectMeta, label, hash)
	selector := d.Spec.Selector.DeepCopy()
	if selector == nil {
		selector = &metav1.LabelSelector{}
	}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Namespace: d.Namespace, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind(string(deploymentKind)))},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: d.Spec.MinReadySeconds,
			Selector: metav1.AddLabelToSelector(selector, label, hash), Template: *template,
		},
	}
}

// inherited says whether a Deployment's annotation is also its ReplicaSets', as change-cause is.
func inherited(annotation string) bool {
	return annotation != corev1.LastAppliedConfigAnnotation && !strings.HasPrefix(annotation, "deployment.kubernetes.io/")
}

// revision is 0 for a ReplicaSet that has none.
func revision(s *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(s.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// fenceposts are maxSurge and maxUnavailable as numbers of pods. Never both 0, or a rollout could not begin.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	quarter := intstr.FromString("25%")
	update := appsv1.RollingUpdateDeployment{}
	if d.Spec.Strategy.RollingUpdate != nil {
		update = *d.Spec.Strategy.RollingUpdate
	}
	total := int(replicas(d.Spec.Replicas))
	surge = scaled(intstr.ValueOrDefault(update.MaxSurge, quarter), total, true)
	unavailable = min(scaled(intstr.ValueOrDefault(update.MaxUnavailable, quarter), total, false), int32(total))
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// scaled takes what is neither number nor percentage as 0: it can not be obeyed, and no rollout may hang on it.
func scaled(value *intstr.IntOrString, total int, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(value, total, up)
	if err != nil {
		return 0
	}
	return int32(n)
}
