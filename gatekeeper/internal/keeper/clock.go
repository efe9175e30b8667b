package keeper

import (
	"fmt"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

const (
	// clockStep is by how much the wall's clock may differ from one look to the next without having been set.
	clockStep = 2 * time.Second
	// clockTrust is for how long nobody knows whether a clock was set right or wrong: a mistake is mended by then.
	clockTrust = 10 * time.Minute
)

// clocks compares the wall's clock with the evaluator's, which never steps within a process: evidence goes by that one,
// freezes by the wall's. While it is not known which of two times is right, a gate must be open by both.
type clocks struct {
	ahead time.Duration // of the wall's, now
	// low and high bound what it was in the last clockTrust; setAt is when it was last set, by the evaluator's clock.
	low, high time.Duration
	setAt     time.Time
	// recorded is the last moment that was recorded, if the wall's clock was before it at the start, and short by how much.
	recorded time.Time
	short    time.Duration
	began    time.Time
}

// look takes in what the wall's clock shows at now, and returns by how much it was set; 0: it was not.
func (c *clocks) look(now, wall time.Time) (step time.Duration) {
	ahead := wall.Sub(now)
	step = ahead - c.ahead
	c.ahead = ahead
	if step.Abs() > clockStep {
		c.setAt = now
		c.low, c.high = min(c.low, ahead), max(c.high, ahead)
		return step
	}
	if c.setAt.IsZero() || now.Sub(c.setAt) > clockTrust {
		c.low, c.high = ahead, ahead
	}
	return 0
}

// behind reports whether the wall's clock still is before what was recorded.
func (c *clocks) behind(now time.Time) bool { return now.Add(c.ahead).Before(c.recorded) }

// shown are the times that freezes must be over by.
func (c *clocks) shown(now time.Time) []time.Time {
	all := []time.Time{now.Add(c.ahead)}
	if c.low != c.high {
		all = append(all, now.Add(c.low), now.Add(c.high))
	}
	if c.behind(now) {
		all = append(all, now.Add(c.short))
	}
	return all
}

// trouble holds all gates when the clock was set back since something was recorded, until it has caught up or has been
// the same for clockTrust.
func (c *clocks) trouble(now time.Time) *policy.ClockTrouble {
	if !c.behind(now) || now.Sub(c.began) > clockTrust {
		return nil
	}
	left := c.recorded.Sub(now.Add(c.ahead))
	until := now.Add(c.ahead).Add(min(left, clockTrust-now.Sub(c.began)))
	return &policy.ClockTrouble{Recorded: c.recorded, Behind: left, Until: until}
}

// ahead is by how much a record's own time must be later than now so that it goes on after its last moment.
func ahead(now, last time.Time) time.Duration {
	if !now.Before(last) {
		return 0
	}
	return last.Sub(now) + time.Millisecond
}

// startClocks compares the clock with all that was recorded before the start.
func (k *Keeper) startClocks(now time.Time) {
	ahead := k.cfg.Wall().Sub(now)
	k.clocks = clocks{ahead: ahead, low: ahead, high: ahead, began: now}
	var last time.Time
	for _, r := range k.known {
		if r.Last.After(last) {
			last = r.Last
		}
	}
	for _, r := range k.runs {
		if at := r.rollout.Moment(); r.ahead > 0 && at.After(last) {
			last = at
		}
	}
	short := last.Sub(now)
	if short <= clockStep {
		return
	}
	k.clocks.recorded, k.clocks.short = last, short
	text := fmt.Sprintf("the clock is %s before what was recorded last: it was set back. Judging goes on in the time of the record, but no gate opens until the clock has caught up or %s have passed", short.Round(time.Second), clockTrust)
	k.cfg.Log.Error("the clock was set back", "behind", short.Round(time.Second), "recorded", last)
	k.noteAll(text, now)
}

// lookAtClocks finds that the wall's clock was set while this process runs. The caller holds mu.
func (k *Keeper) lookAtClocks(now time.Time) {
	step := k.clocks.look(now, k.cfg.Wall())
	if step == 0 {
		return
	}
	how := "forward"
	if step < 0 {
		how = "back"
	}
	k.cfg.Log.Warn("the clock was set", "how", how, "by", step.Abs().Round(time.Second))
	k.noteAll(fmt.Sprintf("the clock was set %s by %s: judging is not affected; for %s a freeze is over only when it is by both times", how, step.Abs().Round(time.Second), clockTrust), now)
}

// noteAll writes into the timelines of all open rollouts.
func (k *Keeper) noteAll(text string, now time.Time) {
	for _, r := range k.runs {
		if r.rollout.Result == "" {
			r.rollout.Note(now.Add(r.ahead), "gatekeeper", text)
		}
	}
}
