package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setPlan is what one look at a ReplicaSet asks for.
type setPlan struct {
	create  int
	remove  []*corev1.Pod
	status  appsv1.ReplicaSetStatus
	recheck time.Duration
}

// planSet decides upon a ReplicaSet; pods are those it owns. Pods that have ended are replaced and removed, because
// nothing else on a laptop would ever remove them.
func planSet(set *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) setPlan {
	n := countPods(pods, set.Spec.MinReadySeconds, now)
	p := setPlan{recheck: n.wait, status: *set.Status.DeepCopy()}
	p.status.ObservedGeneration = set.Generation
	p.status.Replicas, p.status.FullyLabeledReplicas = n.replicas, n.replicas
	p.status.ReadyReplicas, p.status.AvailableReplicas = n.ready, n.available
	p.status.TerminatingReplicas = &n.terminating
	if set.DeletionTimestamp != nil {
		return p
	}
	var alive []*corev1.Pod
	for _, pod := range pods {
		switch {
		case active(pod):
			alive = append(alive, pod)
		case pod.DeletionTimestamp == nil:
			p.remove = append(p.remove, pod)
		}
	}
	want := int(replicas(set.Spec.Replicas))
	p.create = max(0, want-len(alive))
	p.remove = append(p.remove, worst(alive, max(0, len(alive)-want))...)
	return p
}

// replicas is the number asked for; the API's default is one.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// newPod is one more pod of a ReplicaSet, to be named by the API.
func newPod(set *appsv1.ReplicaSet) *corev1.Pod {
	template := set.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: set.Name + "-", Namespace: set.Namespace,
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind(string(setKind)))},
		},
		Spec: template.Spec,
	}
}

func (c *Controllers) syncSet(ctx context.Context, namespace, name string) (time.Duration, error) {
	set, err := c.client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read replicaset %s/%s: %w", namespace, name, err)
	}
	pods, err := c.pods(ctx, namespace)
	if err != nil {
		return 0, err
	}
	p := planSet(set, ownedBy(pods, string(set.UID)), c.now())
	// The status is written also when acting on pods went wrong: it says what is there.
	return p.recheck, errors.Join(c.changePods(ctx, set, p), c.writeSetStatus(ctx, set, p.status))
}

func (c *Controllers) changePods(ctx context.Context, set *appsv1.ReplicaSet, p setPlan) error {
	for range p.create {
		if _, err := c.client.CoreV1().Pods(set.Namespace).Create(ctx, newPod(set), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create pod of replicaset %s/%s: %w", set.Namespace, set.Name, err)
		}
	}
	for _, pod := range p.remove {
		err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

func (c *Controllers) writeSetStatus(ctx context.Context, set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	set.Status = status
	if _, err := c.client.AppsV1().ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of replicaset %s/%s: %w", set.Namespace, set.Name, err)
	}
	return nil
}

// pods reads all pods of a namespace: their owner decides who counts them, not their labels.
func (c *Controllers) pods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", namespace, err)
	}
	return pointers(list.Items), nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
