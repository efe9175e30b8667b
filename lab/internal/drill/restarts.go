package drill

import (
	"context"
	"fmt"
	"time"
)

// What the app is put through, and the most that one restart of all its pods may take.
const (
	restartTimes = 20
	restartRate  = 200.0 // requests a second
	restartLimit = time.Minute
)

// restarts starts all pods of what serves anew, one after the other, again and again, while users come through the
// ingress. None of them may notice.
func restarts(ctx context.Context, d *Drill, result *Result) error {
	serving := d.Name + "-primary"
	load, err := d.startUsersAt(ctx, restartRate, "restarts", patience)
	if err != nil {
		return err
	}
	defer func() { _, _ = load.stop(ctx) }() // for a scenario that is broken off, where nobody asks for the counts
	begin := time.Now()
	seen := map[string]bool{}
	note := func() error {
		list, err := d.Kube.Pods(ctx, d.Namespace, serving)
		for _, pod := range list {
			seen[pod.Process] = true
		}
		return err
	}
	if err := note(); err != nil {
		return err
	}
	for n := range restartTimes {
		if err := d.Kube.Restart(ctx, d.Namespace, serving); err != nil {
			return err
		}
		if err := d.Kube.Available(ctx, d.Namespace, serving, restartLimit); err != nil {
			return err
		}
		if err := note(); err != nil {
			return err
		}
		d.Say("    %6.1fs restarted %d of %d times", time.Since(begin).Seconds(), n+1, restartTimes)
	}
	took := time.Since(begin)
	if result.Users, err = load.stop(ctx); err != nil {
		return err
	}
	miss := func(format string, args ...any) { result.Misses = append(result.Misses, fmt.Sprintf(format, args...)) }
	if least := (restartTimes + 1) * pods; len(seen) < least {
		miss("%d processes served, want at least %d: not every restart started every pod anew", len(seen), least)
	}
	if least := uint64(0.95 * restartRate * took.Seconds()); result.Users.Requests < least {
		miss("users sent %d requests in %s, want at least %d", result.Users.Requests, took.Round(time.Second), least)
	}
	if failed := result.Users.failed(); failed > 0 {
		miss("%d of the users' %d requests failed, want none: %v", failed, result.Users.Requests, result.Users.Codes)
	}
	return nil
}
