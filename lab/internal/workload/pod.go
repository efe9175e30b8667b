package workload

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// active pods count for their ReplicaSet; others have ended or are about to.
func active(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && !ended(p)
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func ready(p *corev1.Pod) bool {
	_, is := readySince(p)
	return is
}

func readySince(p *corev1.Pod) (time.Time, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// available says whether the pod has been ready for minReady seconds; when it is ready but not yet long enough, wait is
// how long it takes.
func available(p *corev1.Pod, minReady int32, now time.Time) (is bool, wait time.Duration) {
	since, is := readySince(p)
	if !is {
		return false, 0
	}
	wait = since.Add(time.Duration(minReady) * time.Second).Sub(now)
	return minReady == 0 || wait <= 0, max(wait, 0)
}

// count is what a ReplicaSet's pods amount to. Terminating ones are not among the others.
type count struct {
	replicas, ready, available, terminating int32
	// wait is when the next ready pod becomes available, 0 for never.
	wait time.Duration
}

func countPods(pods []*corev1.Pod, minReady int32, now time.Time) count {
	var c count
	for _, p := range pods {
		if p.DeletionTimestamp != nil && !ended(p) {
			c.terminating++
		}
		if !active(p) {
			continue
		}
		c.replicas++
		if ready(p) {
			c.ready++
		}
		is, wait := available(p, minReady, now)
		if is {
			c.available++
		} else {
			c.wait = sooner(c.wait, wait)
		}
	}
	return c
}

// sooner is the earlier of two times to wait, of which 0 is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// ownedBy keeps the pods the object with uid controls.
func ownedBy(pods []*corev1.Pod, uid string) []*corev1.Pod {
	var owned []*corev1.Pod
	for _, p := range pods {
		if owner := metav1.GetControllerOf(p); owner != nil && string(owner.UID) == uid {
			owned = append(owned, p)
		}
	}
	return owned
}

// worst returns the n pods that are missed least: without a node, not running, not ready, restarted more often, younger.
func worst(pods []*corev1.Pod, n int) []*corev1.Pod {
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		return cmp.Or(
			falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			falseFirst(a.Status.Phase == corev1.PodRunning, b.Status.Phase == corev1.PodRunning),
			falseFirst(ready(a), ready(b)),
			cmp.Compare(restarts(b), restarts(a)),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return sorted[:min(n, len(sorted))]
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func restarts(p *corev1.Pod) int32 {
	var n int32
	for _, c := range p.Status.ContainerStatuses {
		n = max(n, c.RestartCount)
	}
	return n
}
