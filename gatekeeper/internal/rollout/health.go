package rollout

import "time"

// HealthOf says how the pods of a canary are at now. Before is how they were at the tick before, which says how long none
// has been ready: the API keeps no time of that, least of all when the pods are gone.
func HealthOf(pods []Pod, before Tick, now time.Time) Health {
	var h Health
	for _, p := range pods {
		if p.Terminating {
			continue
		}
		h.Pods++
		if p.Ready {
			h.Ready++
		} else if wasReady(p) {
			h.UnreadyFor = max(h.UnreadyFor, now.Sub(p.UnreadySince))
		}
		h.Restarts = max(h.Restarts, p.Restarts)
		if h.Waiting == "" && p.Waiting != "" {
			h.Waiting, h.Pod, h.Text = p.Waiting, p.Name, p.WaitingText
		}
	}
	if h.Ready == 0 && !before.At.IsZero() {
		h.DownFor = before.Health.DownFor + now.Sub(before.At)
	}
	return h
}

// wasReady reports whether the pod, unready now, had been ready before. One that still starts, as all do after a scale-up,
// is not a pod that broke. The API's times are whole seconds, and a new pod gets its first condition in its first ones.
func wasReady(p Pod) bool { return p.UnreadySince.Sub(p.CreatedAt) > 2*time.Second }
