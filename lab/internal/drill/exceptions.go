package drill

import "github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/panel"

// The alerts that the scenarios must cause.
const (
	rolledBackAlert = "RolloutRolledBack" // the only one of scenario 2
	burnAlert       = "ErrorBudgetBurn"
)

// GatewayExceptions are those where a Gateway splits the traffic, too.
func GatewayExceptions() []panel.Exception {
	return append(Exceptions(), panel.Exception{Where: "rollout-monitoring-service/Answers at the ingress", From: panel.Never, Why: "it shows what ingress-nginx counts"})
}

// Exceptions are the queries of our dashboards and rules that rightly have no data while a good release is under way.
func Exceptions() []panel.Exception {
	const rollouts, slo, service = "rollout-monitoring-rollouts/", "rollout-monitoring-slo/", "rollout-monitoring-service/"
	const ended, good = "no rollout has ended yet", "a good version has none"
	return []panel.Exception{
		{Where: rollouts + "Promoted, 30 days", From: panel.Broken, Why: ended},
		{Where: rollouts + "Median time of a rollout", From: panel.Broken, Why: ended},
		{Where: rollouts + "Lead time", From: panel.Broken, Why: ended},
		{Where: rollouts + "Failed changes", From: panel.Broken, Why: ended},
		{Where: rollouts + "Time to restore", From: panel.Broken, Why: ended},
		{Where: rollouts + "annotation End", From: panel.Broken, Why: ended},
		{Where: rollouts + "annotation Verdict", From: panel.Sometimes, Why: "the verdict fail lasts until Flagger looks, which may be sooner than the next scrape"},
		{Where: rollouts + "Verdict and gates B", From: panel.Gated, Why: "the lab's usual policy has no gate"},
		{Where: slo + "Firing alerts", From: panel.Broken, Early: true, Why: "no alert need fire"},
		{Where: slo + "Alerts over time", From: panel.Broken, Early: true, Why: "no alert need fire"},
		{Where: service + "Injected faults", From: panel.Broken, Why: good},
		{Where: service + "annotation Chaos plan", From: panel.Broken, Why: good},
	}
}
