package workload

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a Deployment's conditions. kubectl, Flagger and the gatekeeper compare them word by word.
const (
	minimumAvailable   = "MinimumReplicasAvailable"
	minimumUnavailable = "MinimumReplicasUnavailable"
	setCreated         = "NewReplicaSetCreated"
	setFound           = "FoundNewReplicaSet"
	setUpdated         = "ReplicaSetUpdated"
	setAvailable       = "NewReplicaSetAvailable"
	deadlineExceeded   = "ProgressDeadlineExceeded"
	pausedReason       = "DeploymentPaused"
	resumedReason      = "DeploymentResumed"
)

// counts is the status without conditions.
func (v *view) counts() appsv1.DeploymentStatus {
	status := appsv1.DeploymentStatus{ObservedGeneration: v.d.Generation, CollisionCount: v.d.Status.CollisionCount, TerminatingReplicas: new(int32)}
	for _, s := range v.all() {
		status.Replicas += s.replicas
		status.ReadyReplicas += s.ready
		status.AvailableReplicas += s.available
		*status.TerminatingReplicas += s.terminating
		status.UnavailableReplicas += s.want()
	}
	if v.current != nil {
		status.UpdatedReplicas = v.current.replicas
	}
	status.UnavailableReplicas = max(0, status.UnavailableReplicas-status.AvailableReplicas)
	return status
}

// status is the whole status, and when it must be looked at again because of the deadline, 0 for never.
func (v *view) status() (appsv1.DeploymentStatus, time.Duration) {
	status := v.counts()
	status.Conditions = slices.Clone(v.d.Status.Conditions)
	_, unavailable := fenceposts(v.d)
	if v.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		unavailable = 0
	}
	if status.AvailableReplicas >= replicas(v.d.Spec.Replicas)-unavailable {
		v.set(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, minimumAvailable, "Deployment has minimum availability.")
	} else {
		v.set(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, minimumUnavailable, "Deployment does not have minimum availability.")
	}
	return status, v.progress(&status)
}

// progress keeps the condition Progressing and returns when the deadline is due.
func (v *view) progress(status *appsv1.DeploymentStatus) time.Duration {
	if v.d.Spec.ProgressDeadlineSeconds == nil {
		status.Conditions = slices.DeleteFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentProgressing })
		return 0
	}
	name := v.d.Name
	if v.current != nil {
		name = v.current.Name
	}
	says := func(state corev1.ConditionStatus, reason, format string) {
		v.set(status, appsv1.DeploymentProgressing, state, reason, fmt.Sprintf(format, name))
	}
	before := condition(status.Conditions, appsv1.DeploymentProgressing)
	deadline := time.Duration(*v.d.Spec.ProgressDeadlineSeconds) * time.Second
	switch {
	case v.d.Spec.Paused:
		says(corev1.ConditionUnknown, pausedReason, "Deployment of %q is paused")
	case before != nil && before.Reason == pausedReason:
		// Time spent paused is none of the deadline's.
		says(corev1.ConditionUnknown, resumedReason, "Deployment of %q is resumed")
	case v.current != nil && v.current.before == nil:
		says(corev1.ConditionTrue, setCreated, "Created new replica set %q")
	case before == nil && v.current != nil:
		says(corev1.ConditionTrue, setFound, "Found new replica set %q")
	// A rollout that is over stays over, also while a lost pod is replaced.
	case before != nil && before.Reason == setAvailable && status.Replicas == status.UpdatedReplicas:
	case complete(v.d, *status):
		says(corev1.ConditionTrue, setAvailable, "ReplicaSet %q has successfully progressed.")
	case progressed(v.d.Status, *status):
		v.touch(status)
		says(corev1.ConditionTrue, setUpdated, "ReplicaSet %q is progressing.")
	case before == nil || before.Reason == setAvailable:
	case v.now.Sub(before.LastUpdateTime.Time) > deadline:
		says(corev1.ConditionFalse, deadlineExceeded, "ReplicaSet %q has timed out progressing.")
	}
	after := condition(status.Conditions, appsv1.DeploymentProgressing)
	if after == nil || after.Reason == setAvailable || after.Reason == pausedReason || after.Reason == deadlineExceeded {
		return 0
	}
	// One second more: times in the API are whole seconds.
	return max(time.Second, deadline-v.now.Sub(after.LastUpdateTime.Time)+time.Second)
}

// complete says whether all pods are of the template and available, and no other is left.
func complete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	want := replicas(d.Spec.Replicas)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

func progressed(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

func condition(all []appsv1.DeploymentCondition, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range all {
		if all[i].Type == kind {
			return &all[i]
		}
	}
	return nil
}

// set changes a condition when status or reason differ, so that lastUpdateTime says since when they hold.
func (v *view) set(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType, state corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(v.now)
	next := appsv1.DeploymentCondition{Type: kind, Status: state, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	before := condition(s.Conditions, kind)
	if before == nil {
		s.Conditions = append(s.Conditions, next)
		return
	}
	if before.Status == state && before.Reason == reason {
		return
	}
	if before.Status == state {
		next.LastTransitionTime = before.LastTransitionTime
	}
	*before = next
}

// touch dates a rollout's last progress: the deadline counts from there.
func (v *view) touch(s *appsv1.DeploymentStatus) {
	if before := condition(s.Conditions, appsv1.DeploymentProgressing); before != nil {
		before.LastUpdateTime = metav1.NewTime(v.now)
	}
}
