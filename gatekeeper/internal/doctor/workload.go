package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longDeadline is from when on a broken canary is kept for long: Flagger rolls one back whose pods do not get ready only
// after the deadline, and nobody is told (flagger-facts §0.18).
const longDeadline = 5 * time.Minute

func workloadChecks() []Check {
	annotation := func(p Patient, key string) string {
		return p.Target.Text("spec", "template", "metadata", "annotations", key)
	}
	return []Check{
		{"target-kind", Error, "a target that is no Deployment", "gatekeeper", func(p Patient) []hit {
			kind := p.Canary.Text("spec", "targetRef", "kind")
			return when(kind != "" && kind != "Deployment", "Canary spec.targetRef.kind", "the gatekeeper counts at the pods of Deployments only: a "+kind+" is never judged", "make it a Deployment")
		}},
		{"target-missing", Error, "a target that is not there", "flagger-facts §1.1", func(p Patient) []hit {
			return when(p.missing("Deployment", p.Target), "Canary spec.targetRef.name", "there is no Deployment "+p.target(), "apply it or correct the name")
		}},
		{"target-shared", Error, "two Canaries with one target", "flagger-facts §1.1", func(p Patient) []hit {
			return p.shared("targetRef", p.target(), "both scale it and make the same primary")
		}},
		{"primary-missing", Error, "a primary that is gone", "flagger-facts §1.1", func(p Patient) []hit {
			return when(p.settled() && p.missing("Deployment", p.Primary), "Deployment "+p.target()+"-primary", "Flagger has made it and it is not there: nothing serves", "see whether Flagger runs; it makes the primary again from the target")
		}},
		{"primary-not-ready", Error, "a primary that is not ready", "flagger-facts §1.1, #639", func(p Patient) []hit {
			want, have := 1.0, p.Primary.number("status", "availableReplicas")
			if p.Primary.has("spec", "replicas") {
				want = p.Primary.number("spec", "replicas")
			}
			return when(p.Primary != nil && have < want, "Deployment "+p.Primary.name()+" status", fmt.Sprintf("%v of %v pods are available: until they are, Flagger neither asks the rollback hook nor counts failed checks", have, want), "see why its pods are not ready")
		}},
		{"selector-label", Error, "a selector without a label that Flagger knows", "flagger-facts §4.5", func(p Patient) []hit {
			labels := p.Target.object("spec", "selector", "matchLabels")
			known := labels.has("app") || labels.has("name") || labels.has("app.kubernetes.io/name")
			return when(p.Target != nil && !known, "Deployment "+p.target()+" spec.selector.matchLabels", "Flagger needs one of app, name, app.kubernetes.io/name (its flag -selector-labels) to tell primary from canary", "use one of them; a selector can not be changed, so make the Deployment anew")
		}},
		{"replicas-set", Error, "somebody else sets spec.replicas of the target", "flagger-facts §4.5", func(p Patient) (hits []hit) {
			for _, who := range p.scalers() {
				hits = append(hits, hit{"Deployment " + p.target() + " spec.replicas", "it was last set by " + who + ": each time, the idle target is started beside the primary", "take spec.replicas out of the manifest; Flagger and the autoscaler set it"})
			}
			return hits
		}},
		{"revert-on-deletion", Warn, "no revertOnDeletion", "flagger-facts §1.6", func(p Patient) []hit {
			return when(!p.Canary.yes("spec", "revertOnDeletion"), "Canary spec.revertOnDeletion", "when the Canary is deleted, the primary and its Services go with it and the target stays at 0 pods: an outage", "set revertOnDeletion: true")
		}},
		{"hpa-ref", Error, "an autoscaler of the target that the Canary does not name", "flagger-facts §7.1", func(p Patient) (hits []hit) {
			for _, a := range p.Autoscalers {
				if p.target() != "" && a.Text("spec", "scaleTargetRef", "name") == p.target() && !p.Canary.has("spec", "autoscalerRef") {
					hits = append(hits, hit{"Canary spec.autoscalerRef", "the autoscaler " + a.name() + " scales the target, while the primary, which serves, has none", "name it in autoscalerRef; Flagger makes one for the primary"})
				}
			}
			return hits
		}},
		{"hpa-missing", Error, "an autoscaler that is not there", "flagger-facts §7.1", func(p Patient) []hit {
			name := p.Canary.Text("spec", "autoscalerRef", "name")
			found := slices.ContainsFunc(p.Autoscalers, func(a Object) bool { return a.name() == name })
			hpa := p.Canary.Text("spec", "autoscalerRef", "kind") == "HorizontalPodAutoscaler"
			return when(hpa && !found && p.Unread["HorizontalPodAutoscaler"] == "", "Canary spec.autoscalerRef.name", "there is no HorizontalPodAutoscaler "+name+": Flagger stops at its first look", "apply it or correct the name")
		}},
		{"deadline-long", Warn, "a long progressDeadlineSeconds", "flagger-facts §1.6, §0.18", func(p Patient) []hit {
			deadline := 10 * time.Minute
			if p.Canary.has("spec", "progressDeadlineSeconds") {
				deadline = time.Duration(p.Canary.number("spec", "progressDeadlineSeconds")) * time.Second
			}
			return when(deadline > longDeadline, "Canary spec.progressDeadlineSeconds", fmt.Sprintf("a canary whose pods never get ready keeps the release for %s, and no rollback hook is asked meanwhile", deadline), "set 60 to 300, a little over what a start takes")
		}},
		{"pods-annotations", Warn, "pods that do not say where their metrics are", "gatekeeper", func(p Patient) []hit {
			return when(p.Target != nil && annotation(p, "prometheus.io/port") == "", "Deployment "+p.target()+" spec.template.metadata.annotations", "the gatekeeper asks port 8080 and path /metrics of pods that do not say otherwise", "set prometheus.io/scrape, prometheus.io/port and prometheus.io/path")
		}},
		{"pods-port", Warn, "a metrics port that no container has", "gatekeeper", func(p Patient) []hit {
			port := annotation(p, "prometheus.io/port")
			if port == "" {
				port = "8080"
			}
			return when(p.Target != nil && !p.opens(port), "Deployment "+p.target()+" spec.template.spec.containers[].ports", "no container names the port "+port+", at which the gatekeeper counts responses", "name the containerPort, or correct prometheus.io/port")
		}},
		{"deploy-id", Info, "no deploy id", "flagger-facts §9.5", func(p Patient) []hit {
			return when(p.Target != nil && annotation(p, "rollout.monitoring/deploy-id") == "", "Deployment "+p.target()+" spec.template.metadata.annotations", "a pipeline can not tell its release from another", "let the pipeline set rollout.monitoring/deploy-id (deployId in the chart)")
		}},
		{"unread", Info, "something that could not be read", "gatekeeper", func(p Patient) (hits []hit) {
			for kind, why := range p.Unread {
				hits = append(hits, hit{kind, "not read, so not examined: " + why, "give the reader get and list for it"})
			}
			slices.SortFunc(hits, func(a, b hit) int { return strings.Compare(a.where, b.where) })
			return hits
		}},
	}
}

// scalers are who set the target's number of pods, beside Flagger, the autoscaler and people with kubectl scale. An
// owner by server-side apply always means it. One by plain update may only have made the object: that shows as soon as
// Flagger has scaled it, which makes Flagger the owner.
func (p Patient) scalers() (who []string) {
	for _, f := range p.Target.list("metadata", "managedFields") {
		owns := f.object("fieldsV1", "f:spec").has("f:replicas")
		applied := f.Text("operation") == "Apply"
		if owns && f.Text("subresource") == "" && f.Text("manager") != "flagger" && (applied || p.settled()) {
			who = append(who, f.Text("manager"))
		}
	}
	return who
}

func (p Patient) opens(port string) bool {
	for _, c := range p.Target.list("spec", "template", "spec", "containers") {
		for _, open := range c.list("ports") {
			if strconv.Itoa(int(open.number("containerPort"))) == port {
				return true
			}
		}
	}
	return false
}
