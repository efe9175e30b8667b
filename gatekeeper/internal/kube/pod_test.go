package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

func TestReady(t *testing.T) {
	for name, c := range map[string]struct {
		kind   corev1.PodConditionType
		status corev1.ConditionStatus
		ready  bool
	}{
		"ready":                     {corev1.PodReady, corev1.ConditionTrue, true},
		"unready":                   {corev1.PodReady, corev1.ConditionFalse, false},
		"unknown: its node is lost": {corev1.PodReady, corev1.ConditionUnknown, false},
		"no kubelet has seen it":    {corev1.PodScheduled, corev1.ConditionTrue, false},
	} {
		p := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodInitialized, Status: "True"}, {Type: c.kind, Status: c.status}}}}
		if got := pod(p, rollout.TrackCanary); got.Ready != c.ready {
			t.Errorf("%s: ready %v, want %v", name, got.Ready, c.ready)
		}
	}
}

func TestRestartsAndWaiting(t *testing.T) {
	container := func(restarts int32, waiting, message string, end *corev1.ContainerStateTerminated) corev1.ContainerStatus {
		s := corev1.ContainerStatus{RestartCount: restarts, LastTerminationState: corev1.ContainerState{Terminated: end}}
		if waiting != "" {
			s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting, Message: message}
		}
		return s
	}
	killed, clean := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}, &corev1.ContainerStateTerminated{Reason: "Completed"}
	type list = []corev1.ContainerStatus
	for name, c := range map[string]struct {
		status        corev1.PodStatus
		restarts      int
		waiting, text string
	}{
		"all run":                            {corev1.PodStatus{ContainerStatuses: list{container(0, "", "", nil)}}, 0, "", ""},
		"restarts after errors add up":       {corev1.PodStatus{ContainerStatuses: list{container(2, "", "", killed), container(3, "", "", killed)}}, 5, "", ""},
		"clean ends do not count":            {corev1.PodStatus{ContainerStatuses: list{container(4, "", "", clean), container(4, "", "", nil)}}, 0, "", ""},
		"init containers count too":          {corev1.PodStatus{InitContainerStatuses: list{container(1, "CrashLoopBackOff", "back-off", killed)}}, 1, "CrashLoopBackOff", "exit code 137 (OOMKilled)"},
		"one that is being made is no cause": {corev1.PodStatus{ContainerStatuses: list{container(0, "ContainerCreating", "", nil)}}, 0, "", ""},
		"an image error":                     {corev1.PodStatus{ContainerStatuses: list{container(0, "ImagePullBackOff", "not found", nil)}}, 0, "ImagePullBackOff", "not found"},
		"the worst one is named": {corev1.PodStatus{
			InitContainerStatuses: list{container(0, "PodInitializing", "", nil)},
			ContainerStatuses:     list{container(0, "CreateContainerConfigError", "no secret", nil), container(0, "ErrImagePull", "denied", nil), container(0, "Other", "", nil)},
		}, 0, "ErrImagePull", "denied"},
		"no node has room": {corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"},
		}}, 0, "Unschedulable", "0/3 nodes are available"},
		"lines and control characters": {corev1.PodStatus{ContainerStatuses: list{container(0, "ErrImagePull", "a\nb\x1b[31m\xff", nil)}}, 0, "ErrImagePull", "a b [31m?"},
	} {
		got := pod(&corev1.Pod{Status: c.status}, rollout.TrackCanary)
		if got.Restarts != c.restarts || got.Waiting != c.waiting || got.WaitingText != c.text {
			t.Errorf("%s: %d restarts, %q %q, want %d, %q %q", name, got.Restarts, got.Waiting, got.WaitingText, c.restarts, c.waiting, c.text)
		}
	}
	long := container(0, "ErrImagePull", strings.Repeat("x", maxText-1)+"€ and more", nil)
	if got := pod(&corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: list{long}}}, rollout.TrackCanary).WaitingText; got != strings.Repeat("x", maxText-1) {
		t.Errorf("a long text is cut to %d bytes: %q", len(got), got)
	}
}
