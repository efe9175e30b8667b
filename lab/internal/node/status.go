package node

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func waitingStatuses(containers []corev1.Container) []corev1.ContainerStatus {
	statuses := make([]corev1.ContainerStatus, len(containers))
	for i, c := range containers {
		statuses[i] = corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Started: new(bool),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
		}
	}
	return statuses
}

// podStatus is the status of a pod that has a node, ports and volumes. A stopping pod is not ready, whatever its probes
// say: nobody shall be sent there any more.
func podStatus(pod *corev1.Pod, inits, mains []corev1.ContainerStatus, stopping bool, began, now time.Time) corev1.PodStatus {
	s := *pod.Status.DeepCopy()
	s.HostIP, s.HostIPs = loopback, []corev1.HostIP{{IP: loopback}}
	s.PodIP, s.PodIPs = loopback, []corev1.PodIP{{IP: loopback}}
	if s.StartTime == nil {
		start := metav1.NewTime(began)
		s.StartTime = &start
	}
	s.InitContainerStatuses, s.ContainerStatuses = inits, mains
	s.Phase = phase(pod.Spec.RestartPolicy, inits, mains)
	var waiting []string
	for _, c := range mains {
		if !c.Ready {
			waiting = append(waiting, c.Name)
		}
	}
	says := func(kind corev1.PodConditionType, is bool, reason, message string) {
		c := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}
		if !is {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
		}
		setCondition(&s, c)
	}
	says(corev1.PodScheduled, true, "", "")
	says(corev1.PodInitialized, completed(inits), "ContainersNotInitialized", "init containers have not ended well")
	reason, message := "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(waiting, " "))
	ready := len(waiting) == 0
	if stopping && ready {
		ready, reason, message = false, "PodTerminating", "the pod is stopping"
	}
	says(corev1.ContainersReady, ready, reason, message)
	says(corev1.PodReady, ready, reason, message)
	return s
}

// setCondition keeps the time of a condition whose status stays.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	for i, before := range s.Conditions {
		if before.Type == c.Type {
			if before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// completed says whether all containers have ended well.
func completed(statuses []corev1.ContainerStatus) bool {
	for _, c := range statuses {
		if c.State.Terminated == nil || c.State.Terminated.ExitCode != 0 {
			return false
		}
	}
	return true
}

func phase(policy corev1.RestartPolicy, inits, mains []corev1.ContainerStatus) corev1.PodPhase {
	for _, c := range inits {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 && policy == corev1.RestartPolicyNever {
			return corev1.PodFailed
		}
	}
	ended := 0
	for _, c := range mains {
		switch t := c.State.Terminated; {
		case c.State.Waiting != nil && c.LastTerminationState.Terminated == nil:
			return corev1.PodPending
		case t != nil && !restarts(policy, false, t.ExitCode):
			ended++
		}
	}
	switch {
	case ended < len(mains):
		return corev1.PodRunning
	case completed(mains):
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
}
