package rules

import (
	"fmt"
	"time"
)

// Thresholds of the alerts on rollouts.
const (
	rolledBackNews = 5 * time.Minute     // after a rollback: long enough for every look and for people to be told
	waitingTooLong = time.Hour           // for a person, before somebody else should be asked
	blindTooLong   = time.Minute         // without fresh counts of the canary, which come each second
	silentTooLong  = time.Minute         // since the gatekeeper last judged, which it does each second
	restart        = 3 * time.Minute     // of a gatekeeper at most: what it knew of a release is not over while it is away
	drillTooOld    = 90 * 24 * time.Hour // since a rehearsed release was last rolled back
)

// rollouts are alerts on releases and on what runs them. All are warnings: an alert that is critical may hold releases,
// and none of these is a reason to hold the one that mends it.
func rollouts() Group {
	group := Group{Name: "rollouts", Interval: 15 * time.Second}
	add := func(alert, expr string, hold time.Duration, summary, description string) {
		group.Rules = append(group.Rules, Rule{
			Alert: alert, Expr: expr, For: hold, Labels: map[string]string{"severity": "warning"},
			Annotations: annotations(alert, summary, description),
		})
	}
	keep := func() { group.Rules[len(group.Rules)-1].KeepFiring = restart }
	const canary = "{{ $labels.namespace }}/{{ $labels.canary }}"
	age := func(metric, is string, limit time.Duration) string {
		return fmt.Sprintf("time() - max by (namespace, canary) (%s) %s %s", metric, is, number(limit.Seconds()))
	}
	older := func(metric string, limit time.Duration) string { return age(metric, ">", limit) }
	// Not by increase(gatekeeper_rollouts_total): a gatekeeper that was away when Flagger rolled back begins to count at 1.
	add("RolloutRolledBack", age(`gatekeeper_rollout_ended_timestamp_seconds{result="rolled-back"}`, "<", rolledBackNews), 0,
		"A release of "+canary+" was rolled back",
		"Traffic is back on the last stable version. The gatekeeper's report says what was wrong with the release.")
	add("RolloutStuck", "max by (namespace, canary) (gatekeeper_rollout_stuck) == 1", time.Minute,
		"A release of "+canary+" is stuck",
		"Neither Flagger nor the gatekeeper will end it: part of the traffic may stay on the new version until somebody acts.")
	keep()
	add("RolloutWaitingTooLong", older("gatekeeper_waiting_since_timestamp_seconds", waitingTooLong), 0,
		"A release of "+canary+" waits for a person",
		"It has waited for {{ $value | humanizeDuration }}. Approve or reject it.")
	keep()
	add("EvidenceBlind", older("gatekeeper_evidence_timestamp_seconds", blindTooLong), 30*time.Second,
		"The gatekeeper has no fresh counts of the canary of "+canary,
		"The last ones are {{ $value | humanizeDuration }} old. It holds the release and can not see whether the canary fails.")
	keep()
	add("GatekeeperAbsent", "absent(gatekeeper_last_evaluation_timestamp_seconds)\nor\n"+
		fmt.Sprintf("time() - max(gatekeeper_last_evaluation_timestamp_seconds) > %s", number(silentTooLong.Seconds())), 2*time.Minute,
		"No gatekeeper judges releases",
		"None is scraped, or none has judged for a minute. Releases wait at their gates; Flagger sends one under analysis back when its hooks stay unanswered.")
	add("GatekeeperNotificationsFailing", "max by (sink) (gatekeeper_notifications_waiting) > 0\nor\n"+
		`sum by (sink) (increase(gatekeeper_notifications_total{result="refused"}[15m])) > 0`, 5*time.Minute,
		"Notifications do not reach {{ $labels.sink }}",
		"Messages have waited for 5 minutes, or the receiver refused some for good. People are not told what becomes of releases.")
	add("FlaggerAbsent", "absent(flagger_info)", 2*time.Minute,
		"Flagger is not there",
		"No release begins, goes on or goes back, and traffic stays as it is split now.")
	// In the last hour, so that the day is one in which gatekeepers may restart.
	const drilled = `last_over_time(gatekeeper_drill_last_timestamp_seconds{result="rolled-back"}[1h])`
	add("RollbackDrillTooOld", older(drilled, drillTooOld)+"\nor\n"+
		fmt.Sprintf("max by (namespace, canary) (last_over_time(gatekeeper_rollouts_total[1h])) unless on (namespace, canary) %s", drilled), 24*time.Hour,
		"No rollback of "+canary+" was rehearsed for "+Text(drillTooOld),
		"Whether a bad release is rolled back is only known when it is tried: release one with a fault, marked as a drill.")
	return group
}
