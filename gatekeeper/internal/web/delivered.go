package web

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/dora"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// deliveredFor is how long the delivery metrics on the list are kept: a month's change slowly, and open lists are many.
const deliveredFor = time.Minute

// delivered keeps the delivery metrics of each Canary. Safe for concurrent use.
type delivered struct {
	mu  sync.Mutex // guards what follows, also while it is worked out anew: once is enough
	at  time.Time
	all map[rollout.Key]dora.Figures
}

// of are the metrics of the last 30 days as of now, or of up to a minute before.
func (d *delivered) of(ctx context.Context, desk finder, now time.Time) (map[rollout.Key]dora.Figures, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := now.Sub(d.at); d.all != nil && age >= 0 && age < deliveredFor {
		return d.all, nil
	}
	from := now.Add(-dora.Window)
	rollouts, err := Ended(ctx, desk, "", from)
	if err != nil {
		return nil, err
	}
	all := map[rollout.Key]dora.Figures{}
	for _, of := range dora.ByCanary(rollouts, from, now) {
		all[of.Canary] = of.Figures
	}
	d.at, d.all = now, all
	return all, nil
}

// figure is one delivery metric in words.
type figure struct{ What, Says string }

// figures are what can be said of the last 30 days; none where no rollout was decided.
func figures(f dora.Figures) []figure {
	if f.Decided == 0 {
		return nil
	}
	all := []figure{{"Promoted in 30 days", number(uint64(f.Deployments))}, {"Came back", fmt.Sprintf("%d of %d, %s", f.Failed, f.Decided, share(f.FailureRate))}}
	for _, s := range []struct {
		what   string
		spread dora.Spread
	}{{"Lead time, median", f.LeadTime}, {"Time to restore, median", f.Restore}} {
		if s.spread.N > 0 {
			took := time.Duration(s.spread.Median * float64(time.Second))
			all = append(all, figure{s.what, fmt.Sprintf("%s, of %d", lasting(took), s.spread.N)})
		}
	}
	return all
}
