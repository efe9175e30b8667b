package keeper

import (
	"fmt"
	"maps"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// lasts tells of what may last, such as that a person is waited for: when it begins, and again after each Config.Repeat,
// quietly if it has lasted since. What comes back sooner is not told anew, so nothing that flickers tells twice. What was told
// is kept with the rollout: a restart does not tell it again. It reports whether people are told now. The caller saves.
func (k *Keeper) lasts(r *run, event rollout.Happening, is bool, text string, now time.Time) bool {
	was, before := r.rollout.Told[event]
	told := was
	switch {
	case !is && !before:
		return false
	case !is:
		told.Over, told.Since = true, time.Time{}
	case told.Since.IsZero():
		told.Since = now
	}
	due := is && (!before || k.cfg.Repeat > 0 && now.Sub(told.At) >= k.cfg.Repeat)
	if due {
		news := r.rollout.News(event, now)
		news.Text, news.Repeat, news.Quiet = text, told.Times, before && !told.Over
		k.tellOf(r, news)
		told.Times, told.At, told.Over = told.Times+1, now, false
	}
	if told == was {
		return false
	}
	all := maps.Clone(r.rollout.Told) // copies of the rollout have the one before
	if all == nil {
		all = map[rollout.Happening]rollout.Telling{}
	}
	all[event] = told
	r.rollout.Told = all
	return due
}

// waits tells of a rollout that waits for a person: for an approval, or because it could not be decided for too long.
func (k *Keeper) waits(r *run, now time.Time) {
	if why, approval := policy.AwaitsApproval(r.rules, r.rollout, now); approval {
		k.lasts(r, rollout.IsWaiting, true, fmt.Sprintf("%s of %s waits: %s", r.rollout.Revision.Label(), r.rollout.Canary, why), now)
		return
	}
	v := r.rollout.Verdict
	k.lasts(r, rollout.IsWaiting, v.Outcome == rollout.Hold && v.Kind() == policy.KindHeldTooLong, r.rollout.Summary(), now)
}
