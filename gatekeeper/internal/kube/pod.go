package kube

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// maxText bounds, in bytes, what is kept of the kubelet's messages, which repeat what containers and registries say, and of
// a release's note.
const maxText = 300

func pod(p *corev1.Pod, track rollout.Track) rollout.Pod {
	out := rollout.Pod{
		UID: string(p.UID), Name: p.Name, Track: track,
		Hash:        p.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		Path:        cmp.Or(p.Annotations[pathAnnotation], "/metrics"),
		CreatedAt:   p.CreationTimestamp.Time,
		Restarts:    restarts(p.Status),
		Terminating: p.DeletionTimestamp != nil,
	}
	if p.Status.PodIP != "" {
		out.Address = net.JoinHostPort(p.Status.PodIP, port(p))
	}
	out.Ready = ready(p)
	out.Waiting, out.WaitingText = waiting(p.Status)
	return out
}

// port is the annotated port; anything but a number would be part of a URL that we call, so it is left out.
func port(p *corev1.Pod) string {
	if _, err := strconv.ParseUint(p.Annotations[portAnnotation], 10, 16); err != nil {
		return "8080"
	}
	return p.Annotations[portAnnotation]
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func containers(s corev1.PodStatus) []corev1.ContainerStatus {
	return slices.Concat(s.InitContainerStatuses, s.ContainerStatuses)
}

// restarts counts those of containers whose last run ended with an error. The kubelet keeps one number for all ends, so
// clean ends of such a container before its first error count too.
func restarts(s corev1.PodStatus) (n int) {
	for _, c := range containers(s) {
		if end := c.LastTerminationState.Terminated; end != nil && end.ExitCode != 0 {
			n += int(c.RestartCount)
		}
	}
	return n
}

// waiting is why the container that is furthest from running does not run, and what is said of it. One that is just being
// made is no reason.
func waiting(s corev1.PodStatus) (reason, text string) {
	worst := 0
	for _, c := range containers(s) {
		w := c.State.Waiting
		if w == nil || gravity(w.Reason) <= worst {
			continue
		}
		worst, reason, text = gravity(w.Reason), w.Reason, w.Message
		if end := c.LastTerminationState.Terminated; end != nil && w.Reason == "CrashLoopBackOff" {
			// How it ended says more than that the kubelet waits before it tries again.
			text = strings.TrimSpace(fmt.Sprintf("exit code %d (%s) %s", end.ExitCode, end.Reason, end.Message))
		}
	}
	for _, c := range s.Conditions {
		if reason == "" && c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			reason, text = c.Reason, c.Message
		}
	}
	return printable(reason), printable(text)
}

// gravity orders the kubelet's words: what goes away by itself (0), what lacks something, what will hardly ever run.
func gravity(reason string) int {
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return 0
	case "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
		return 2
	default:
		return 1
	}
}

// printable makes one line of at most maxText bytes.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") // a rune cut in two goes away whole
}
