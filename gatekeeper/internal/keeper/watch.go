package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// missedLooks is after how many intervals without a question Flagger is taken for dead, or blocked.
	missedLooks = 3
	// promotionLooks is how many of Flagger's looks a promotion may take, and promotionTime how long at least: the primary's
	// pods have to be replaced.
	promotionLooks = 10
	promotionTime  = 5 * time.Minute
	// brakeTime bounds one attempt to take traffic back; the next follows with the next evaluation.
	brakeTime = 2 * time.Second
)

// watch is the dead man's switch: Flagger asks at every look (flagger-facts §1.4, the rollback hook). When it stops while
// traffic flows to the canary nobody steers: people are told, and the brake pulled where a policy allows it.
//
// Flagger does not ask either while a pod of either version is not ready, and when it is suspended (flagger-facts §1.1). The
// first is told, for traffic flows all the same, but nothing is taken back: it may end with the pod's start.
func (k *Keeper) watch(r *run, now time.Time) {
	canary := k.canaries[r.rollout.Canary]
	if r.rollout.Latest.Weight == 0 || r.interval == 0 || canary.Suspended || !r.rollout.Phase.Analysed() || r.rollout.Verdict.Outcome == rollout.Fail {
		k.lasts(r, rollout.IsUnattended, false, "", now)
		return
	}
	since := k.calls.last(r.rollout.Canary)
	for _, at := range []time.Time{k.began, r.rollout.FirstTrafficAt.Add(-r.ahead)} {
		if at.After(since) {
			since = at
		}
	}
	silent := now.Add(-r.ahead).Sub(since)
	if silent <= missedLooks*r.interval {
		k.lasts(r, rollout.IsUnattended, false, "", now)
		return
	}
	blocked := slices.ContainsFunc(canary.Pods, func(p rollout.Pod) bool { return !p.Ready && !p.Terminating })
	text := fmt.Sprintf("Flagger has not asked for %s though it should every %s, and %d %% of the traffic go to the canary", silent.Round(time.Second), r.interval, r.rollout.Latest.Weight)
	if blocked {
		text += "; a pod is not ready, for which Flagger waits"
	}
	if k.lasts(r, rollout.IsUnattended, true, text, now) {
		r.rollout.Note(now, "gatekeeper", text)
		k.cfg.Log.Warn("Flagger is silent", "rollout", r.rollout.ID, "for", silent.Round(time.Second))
	}
	if k.cfg.Brake != nil && !blocked && r.rules.Brake == policy.BrakeAlways {
		// After this tick's verdict, so that judging the tick again does not see it.
		r.rollout.Decisions = append(r.rollout.Decisions, rollout.Decision{Kind: rollout.Brake, By: "gatekeeper", Why: text, At: now.Add(1)})
	}
}

// follow takes in how Flagger goes on with the rollout.
func (r *run) follow(c rollout.Canary, now time.Time) {
	r.rollout.Phase, r.interval = c.Phase, c.Interval
	promoted := c.Phase == rollout.Promoting || c.Phase == rollout.Finalising
	switch {
	case !promoted:
		r.moving = time.Time{}
	case r.moving.IsZero():
		r.moving = now
	}
}

// watchPromotion tells of a promotion that does not end: Flagger waits for the primary's pods, silently.
func (k *Keeper) watchPromotion(r *run, now time.Time) {
	since := now.Add(-r.ahead).Sub(r.moving)
	stalled := !r.moving.IsZero() && since > max(promotionLooks*r.interval, promotionTime)
	text := fmt.Sprintf("the promotion of %s of %s has not ended for %s: see whether the pods of its primary become ready", r.rollout.Revision.Label(), r.rollout.Canary, since.Round(time.Second))
	if k.lasts(r, rollout.IsStalled, stalled, text, now) {
		r.rollout.Note(now, "gatekeeper", text)
		k.cfg.Log.Warn("promotion does not end", "rollout", r.rollout.ID, "for", since.Round(time.Second))
	}
}

// brake takes the traffic of failed rollouts back at once, where it may. Whatever comes of it stands in the timeline.
func (k *Keeper) brake(ctx context.Context, changed []*run) {
	if k.cfg.Brake == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, brakeTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, r := range k.toBrake(changed) {
		wg.Go(func() {
			was, err := k.cfg.Brake(ctx, r.rollout.Canary)
			k.mu.Lock()
			defer k.mu.Unlock()
			now := k.cfg.Now().Add(r.ahead)
			switch {
			case errors.Is(err, rollout.ErrNotAnalysed): // Flagger was quicker
			case err != nil:
				r.rollout.Note(now, "gatekeeper", "the brake failed: "+err.Error())
				k.cfg.Log.Error("brake failed", "rollout", r.rollout.ID, "error", err)
			case was > 0:
				r.rollout.Note(now, "gatekeeper", fmt.Sprintf("brake: canary weight set from %d %% to 0", was))
				k.cfg.Log.Info("brake: traffic taken back", "rollout", r.rollout.ID, "was", was)
			}
		})
	}
	wg.Wait()
}

func (k *Keeper) toBrake(changed []*run) []*run {
	k.mu.Lock()
	defer k.mu.Unlock()
	var failed []*run
	for _, r := range changed {
		if r.rollout.Result == "" && r.rollout.Verdict.Outcome == rollout.Fail && r.rollout.Latest.Weight > 0 && r.rules.Brake != policy.BrakeOff {
			failed = append(failed, r)
		}
	}
	return failed
}

// Budget asks how many requests a Canary's service had in the window that ends now, and how many of them were bad.
type Budget func(ctx context.Context, c rollout.Canary, window time.Duration, isGood func(status string) bool) (requests, bad float64, err error)

// budgetEvery is how often one service's budget is asked for: a month's changes slowly, and the question is dear.
const budgetEvery = time.Minute

// budget is the last answer about one service.
type budget struct {
	at      time.Time
	left    rollout.BudgetLeft
	trouble string
}

// left is what was last answered about a service's budget; nil: nothing. The caller holds mu.
func (k *Keeper) left(key rollout.Key) *rollout.BudgetLeft {
	got, ok := k.budgets[key]
	if !ok || got.trouble != "" {
		return nil
	}
	return &got.left
}

// WatchBudgets asks for what is left of error budgets, one service after the other, until ctx ends. It has a rhythm of its
// own: a question about a month may take seconds.
func (k *Keeper) WatchBudgets(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			k.AskBudget(ctx)
		}
	}
}

// AskBudget asks anew for the service whose policy has a budget and whose answer is oldest, if it is old.
func (k *Keeper) AskBudget(ctx context.Context) {
	now := k.cfg.Now()
	canary, rules, ok := k.oldestBudget(now)
	if !ok {
		return
	}
	got := budget{at: now, trouble: "the gatekeeper has no Prometheus to ask: give it --prometheus"}
	if k.cfg.Budget != nil {
		requests, bad, err := k.cfg.Budget(ctx, canary, rules.Budget.Window, rules.SLO.IsGood)
		got = budget{at: now, left: rollout.BudgetLeft{Requests: requests, Bad: bad, At: now}}
		if err != nil {
			got.trouble = err.Error()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.budgets[canary.Key] = got
}

func (k *Keeper) oldestBudget(now time.Time) (oldest rollout.Canary, rules policy.Rules, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var at time.Time
	for key, c := range k.canaries {
		of := k.cfg.Policies.For(c.Policy)
		if r := k.open(key); r != nil {
			of = r.rules
		}
		asked := k.budgets[key].at
		if of.Budget == nil || now.Sub(asked) < budgetEvery || ok && !asked.Before(at) {
			continue
		}
		oldest, rules, at, ok = c, of, asked, true
	}
	return oldest, rules, ok
}

// Alerted takes in alerts that fire or are over, by their fingerprints, durably: Alertmanager repeats itself after hours
// only, and a restart must not open a gate.
// What has changed by it stands in the ledger, with who told it.
func (k *Keeper) Alerted(ctx context.Context, by string, firing map[string]policy.Alert, over []string) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	before := k.alerts
	k.mu.Unlock()
	alerts := maps.Clone(before)
	maps.Copy(alerts, firing)
	for _, id := range over {
		delete(alerts, id)
	}
	now, wall := k.cfg.Now(), k.cfg.Wall()
	maps.DeleteFunc(alerts, func(_ string, a policy.Alert) bool { return now.After(a.Until) && wall.After(a.Until) })
	text, err := json.Marshal(alerts)
	if err != nil {
		return fmt.Errorf("encode alerts: %w", err)
	}
	var entries []rollout.Entry
	if change := changeOf(by, before, alerts); len(change.Began)+len(change.Ended) > 0 {
		body, err := json.Marshal(change)
		if err != nil {
			return fmt.Errorf("encode change of alerts: %w", err)
		}
		entries = append(entries, rollout.Entry{At: now, Kind: rollout.EntryAlerts, Body: body})
	}
	if err := k.cfg.Ledger.SaveMemo(ctx, alertsMemo, text, entries...); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.alerts = alerts
	k.publish()
	return nil
}

// alertsChange is the body of an entry about alerts, by their fingerprints. An alert that is only told again is no change.
type alertsChange struct {
	By    string                  `json:"by"`
	Began map[string]policy.Alert `json:"began,omitempty"`
	Ended []string                `json:"ended,omitempty"` // told to be over, or not told of for too long
}

func changeOf(by string, before, after map[string]policy.Alert) alertsChange {
	change := alertsChange{By: by, Began: map[string]policy.Alert{}}
	for id, a := range after {
		if _, known := before[id]; !known {
			change.Began[id] = a
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, fires := after[id]; !fires {
			change.Ended = append(change.Ended, id)
		}
	}
	return change
}

// alertsMemo is where the ledger keeps the alerts that fire.
const alertsMemo = "alerts"

// recall takes up the alerts that fired before a restart, and how Canaries were.
func (k *Keeper) recall(ctx context.Context) error {
	for name, into := range map[string]any{alertsMemo: &k.alerts, restsMemo: &k.known} {
		text, err := k.cfg.Ledger.Memo(ctx, name)
		if errors.Is(err, rollout.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("decode memo %s: %w", name, err)
		}
	}
	for name, r := range k.known {
		namespace, canary, _ := strings.Cut(name, "/")
		k.cfg.Metrics.recall(rollout.Key{Namespace: namespace, Name: canary}, r, k.cfg.Now())
	}
	return nil
}
