package rollout

import "time"

// longestStep bounds what one tick adds to a time that is added up: while the gatekeeper was away nobody saw anything.
const longestStep = 5 * time.Second

// HealthOf says how the canary's pods are at now. Before is the tick before, book what is known of each pod: the API has
// no memory of when a pod was ready, and its clock is another.
func HealthOf(pods []Pod, book Book, before Tick, now time.Time) Health {
	var h Health
	var step time.Duration
	if !before.At.IsZero() {
		step = max(min(now.Sub(before.At), longestStep), 0)
	}
	for _, p := range pods {
		if p.Terminating {
			continue
		}
		h.Pods++
		if p.Ready {
			h.Ready++
		}
		h.UnreadyFor = max(h.UnreadyFor, book.watch(p, step))
		h.Restarts = max(h.Restarts, p.Restarts)
		if gravity(p.Waiting) > gravity(h.Waiting) {
			h.Waiting, h.Pod, h.Text = p.Waiting, p.Name, p.WaitingText
		}
	}
	if h.Ready == 0 && before.Weight > 0 {
		h.DownFor = before.Health.DownFor + step
	}
	if StartError(h.Waiting) && StartError(before.Health.Waiting) {
		h.WaitingFor = before.Health.WaitingFor + step
	}
	return h
}

// watch notes whether a pod is ready and returns how long it has not been since it was. One that never was still starts,
// as all do after a scale-up: it is not a pod that broke.
func (b Book) watch(p Pod, step time.Duration) time.Duration {
	r, known := b[p.UID]
	if !known {
		return 0
	}
	switch {
	case p.Ready:
		r.WasReady, r.UnreadyFor = true, 0
	case r.WasReady:
		r.UnreadyFor += step
	}
	b[p.UID] = r
	return r.UnreadyFor
}

// StartError reports whether a container waits for something that is wrong, not for something that takes its time. The
// words are the kubelet's (pkg/kubelet/images and kuberuntime).
func StartError(waiting string) bool {
	switch waiting {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
		"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError":
		return true
	default:
		return false
	}
}

// gravity orders reasons to wait, so that of several pods the worst is told.
func gravity(waiting string) int {
	switch {
	case waiting == "":
		return 0
	case waiting == "CrashLoopBackOff":
		return 3
	case StartError(waiting):
		return 2
	default:
		return 1
	}
}
