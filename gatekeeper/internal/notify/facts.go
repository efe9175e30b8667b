package notify

import (
	"strconv"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// maxReasons bounds how many of a verdict's reasons are shown; the strongest come first.
const maxReasons = 5

// fact is one thing about news, for people.
type fact struct{ name, value string }

// about are the facts of news, in the order in which they are shown.
func about(n rollout.News) []fact {
	all := []fact{{"Canary", n.Canary.String()}, {"Version", n.Revision.Label()}, {"Stable", n.Stable.Label()}}
	if n.Event != rollout.HasStarted {
		all = append(all, fact{"Weight", strconv.Itoa(n.Weight) + " %"})
	}
	for _, f := range []fact{{"Deploy id", n.Revision.DeployID}, {"Commit", n.Revision.Commit}, {"Note", n.Revision.Note}, {"Policy", n.Policy}} {
		if f.value != "" {
			all = append(all, f)
		}
	}
	for i, r := range n.Reasons[:min(len(n.Reasons), maxReasons)] {
		all = append(all, fact{"Reason " + strconv.Itoa(i+1), r.Text})
	}
	all = append(all, fact{"Time", n.At.UTC().Format(time.RFC1123)})
	if n.Repeat > 0 {
		all = append(all, fact{"Told before", strconv.Itoa(n.Repeat) + " times"})
	}
	return all
}
