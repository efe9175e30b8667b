package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

func trafficChecks() []Check {
	return slices.Concat(ingressChecks(), gatewayChecks(), serviceChecks())
}

func ingressChecks() []Check {
	rules := func(p Patient) []Object { return p.Ingress.list("spec", "rules") }
	return []Check{
		{"ingress-ref", Error, "NGINX without ingressRef", "flagger-facts §4.1", func(p Patient) []hit {
			return when(p.provider() == "nginx" && p.ingress() == "", "Canary spec.ingressRef", "Flagger has no Ingress to copy and stops at its first look", "name the Ingress that users come in by")
		}},
		{"ingress-missing", Error, "an Ingress that is not there", "flagger-facts §4.1", func(p Patient) []hit {
			return when(p.ingress() != "" && p.missing("Ingress", p.Ingress), "Canary spec.ingressRef.name", "there is no Ingress "+p.ingress()+" in the Canary's namespace", "apply it or correct the name")
		}},
		{"ingress-host", Warn, "an Ingress without a host, or with a wildcard", "flagger-facts §4.4", func(p Patient) (hits []hit) {
			for i, r := range rules(p) {
				if host := r.Text("host"); p.nginx() && (host == "" || strings.HasPrefix(host, "*")) {
					hits = append(hits, hit{fmt.Sprintf("Ingress spec.rules[%d].host", i), fmt.Sprintf("ingress-nginx exports no request metrics for the host %q: the second source and Flagger's own checks see no traffic", host), "name the host, or run the controller with --metrics-per-host=false"})
				}
			}
			return hits
		}},
		{"ingress-backend", Error, "an Ingress that does not lead to the apex Service", "flagger-facts §4.1", func(p Patient) []hit {
			leads := slices.ContainsFunc(rules(p), func(r Object) bool {
				return slices.ContainsFunc(r.list("http", "paths"), func(path Object) bool { return path.Text("backend", "service", "name") == p.apex() })
			})
			return when(p.nginx() && p.Ingress != nil && !leads, "Ingress spec.rules[].http.paths[].backend", "no path leads to the Service "+p.apex()+", so Flagger finds no backend to replace and stops", "let the path lead to the Service "+p.apex())
		}},
		{"ingress-rule", Error, "an Ingress rule without http", "flagger-facts §4.1", func(p Patient) (hits []hit) {
			for i, r := range rules(p) {
				if p.nginx() && !r.has("http") {
					hits = append(hits, hit{fmt.Sprintf("Ingress spec.rules[%d]", i), "a rule without http ends Flagger's controller with an error, for all Canaries", "give the rule paths or remove it"})
				}
			}
			return hits
		}},
		{"ingress-shared", Error, "two Canaries on one Ingress", "flagger-facts §4.1, #498", func(p Patient) []hit {
			return p.shared("ingressRef", p.ingress(), "both write the same canary Ingress and undo each other's weights")
		}},
		{"nginx-mirror", Error, "mirror on NGINX", "flagger-facts §1.6", func(p Patient) []hit {
			return when(p.nginx() && p.Canary.yes("spec", "analysis", "mirror"), analysis+".mirror", "the nginx router mirrors nothing and the rollout never leaves its first step", "remove mirror")
		}},
		{"nginx-affinity", Warn, "sessionAffinity on NGINX", "flagger-facts §1.6", func(p Patient) []hit {
			return when(p.nginx() && p.Canary.has("spec", "analysis", "sessionAffinity"), analysis+".sessionAffinity", "the nginx router does not read it: each request is drawn anew", "remove it, and do not count on users staying on one version")
		}},
		{"weight-unlisted", Error, "a live weight that is no step", "flagger-facts §1.6", func(p Patient) []hit {
			weight, set := p.weight()
			list := p.Canary.numbers("spec", "analysis", "stepWeights")
			bad := set && p.phase() == "Progressing" && weight > 0 && len(list) > 0 && !slices.Contains(list, weight)
			where := "Ingress " + p.ingress() + "-canary " + weightKey
			if p.gateway() {
				where = "HTTPRoute " + p.apex() + " weight"
			}
			return when(bad, where, fmt.Sprintf("the weight %v is none of %v: Flagger's next step is 100", weight, list), "set it to 0 or to a listed weight")
		}},
		{"brake-provider", Warn, "a brake where nothing has a weight", "flagger-facts §9.1", func(p Patient) []hit {
			asked := p.Rules.Brake == policy.BrakeOn || p.Rules.Brake == policy.BrakeAlways
			return when(asked && !p.nginx() && !p.gateway(), "Canary spec.provider", fmt.Sprintf("the policy asks for the brake, which the gatekeeper does not have with the provider %q: only Flagger's own rollback works", p.provider()), "set brake: off, or use nginx or gatewayapi:v1")
		}},
	}
}

func gatewayChecks() []Check {
	return []Check{
		{"provider-gatewayapi", Error, "the provider gatewayapi without a version", "flagger-facts §5", func(p Patient) []hit {
			return when(p.provider() == "gatewayapi", "Canary spec.provider", "Flagger takes it for Istio", "write gatewayapi:v1")
		}},
		{"provider-unsaid", Info, "no provider", "flagger-facts §7.2", func(p Patient) []hit {
			return when(p.provider() == "", "Canary spec.provider", "the provider is whatever Flagger was installed with, which nobody can see in the Canary", "write the provider")
		}},
		{"gateway-refs", Error, "the Gateway API without gatewayRefs", "flagger-facts §5", func(p Patient) []hit {
			return when(p.gateway() && len(p.Canary.list("spec", "service", "gatewayRefs")) == 0, "Canary spec.service.gatewayRefs", "the HTTPRoute that Flagger makes hangs on no Gateway", "name the Gateway")
		}},
		{"gateway-hosts", Warn, "the Gateway API without hosts", "flagger-facts §5", func(p Patient) []hit {
			hosts, _ := p.Canary.at("spec", "service", "hosts").([]any)
			return when(p.gateway() && len(hosts) == 0, "Canary spec.service.hosts", "the HTTPRoute takes requests for every host of the Gateway", "name the hosts")
		}},
		{"gateway-mirror", Error, "mirror with step weights", "flagger-facts §5", func(p Patient) []hit {
			bad := p.gateway() && p.Canary.yes("spec", "analysis", "mirror") && !p.Canary.has("spec", "analysis", "iterations")
			return when(bad, analysis+".mirror", "the Gateway API router mirrors only with iterations: here nothing is mirrored and the rollout never leaves its first step", "remove mirror, or use iterations")
		}},
		{"route-missing", Error, "an HTTPRoute that is not there", "flagger-facts §5", func(p Patient) []hit {
			return when(p.gateway() && p.settled() && p.missing("HTTPRoute", p.Route), "HTTPRoute "+p.apex(), "Flagger has made it and it is not there: no user comes in", "see whether Flagger runs and may write HTTPRoutes; it makes it again at its next look")
		}},
		{"route-unclaimed", Error, "an HTTPRoute that no controller has taken", "flagger-facts §5", func(p Patient) []hit {
			return when(p.Route != nil && len(p.parents()) == 0, "HTTPRoute "+p.apex()+" status.parents", "no Gateway serves it, so no user comes in; Flagger does not notice, and a release goes on without traffic", "look whether the Gateway of spec.service.gatewayRefs is there, has a class that a controller serves, and lets in routes of this namespace")
		}},
		{"route-refused", Error, "an HTTPRoute that a Gateway does not accept", "flagger-facts §5", func(p Patient) []hit {
			return p.refused("Accepted", "as long as it is so Flagger does nothing for this Canary, not even a rollback", "mend what the Gateway says; it may take a moment after a change")
		}},
		{"route-backends", Error, "an HTTPRoute whose backends a Gateway does not find", "Gateway API", func(p Patient) []hit {
			return p.refused("ResolvedRefs", "requests for that backend are answered with 500", "see whether the Services of the primary and the canary are there")
		}},
	}
}

func (p Patient) parents() []Object { return p.Route.list("status", "parents") }

// refused finds the Gateways that do not say yes to the route as it is now.
func (p Patient) refused(condition, so, change string) (hits []hit) {
	for i, parent := range p.parents() {
		for _, c := range parent.list("conditions") {
			switch {
			case c.Text("type") != condition:
			case c.Text("status") != "True":
				hits = append(hits, hit{fmt.Sprintf("HTTPRoute %s status.parents[%d]", p.apex(), i), fmt.Sprintf("the Gateway %s says that %s is %s (%s): %s", parent.Text("parentRef", "name"), condition, c.Text("status"), c.Text("message"), so), change})
			case c.number("observedGeneration") < p.Route.number("metadata", "generation"):
				hits = append(hits, hit{fmt.Sprintf("HTTPRoute %s status.parents[%d]", p.apex(), i), fmt.Sprintf("the Gateway %s has said nothing yet about %s of the newest version: %s", parent.Text("parentRef", "name"), condition, so), change})
			}
		}
	}
	return hits
}

func serviceChecks() []Check {
	return []Check{
		{"apex-foreign", Error, "an apex Service that Flagger did not make", "flagger-facts §4.5", func(p Patient) []hit {
			owned := slices.ContainsFunc(p.Apex.list("metadata", "ownerReferences"), func(o Object) bool { return o.Text("kind") == "Canary" && o.Text("name") == p.Canary.name() })
			// One that a chart gave up when its service was adopted: Helm leaves it alone, and Flagger writes its selector.
			kept := p.Apex.Text("metadata", "annotations", "helm.sh/resource-policy") == "keep"
			return when(p.Apex != nil && !owned && !kept, "Service "+p.apex()+" metadata.ownerReferences", "somebody else makes this Service, and each time they apply it users go to the target's pods, unjudged, until Flagger's next look", "take it out of the chart; Flagger makes it")
		}},
		{"apex-selector", Error, "an apex Service that does not select the primary", "flagger-facts §4.5", func(p Patient) []hit {
			selects := false
			for _, v := range p.Apex.object("spec", "selector") {
				value, _ := v.(string)
				selects = selects || strings.HasSuffix(value, "-primary")
			}
			return when(p.Apex != nil && p.settled() && !selects, "Service "+p.apex()+" spec.selector", "it selects the target's pods, so users meet versions that nobody judged", "find who writes the selector; Flagger sets it back at its next look")
		}},
		{"services-missing", Error, "one of the Services that Flagger makes is gone", "flagger-facts §4.5", func(p Patient) (hits []hit) {
			for name, o := range map[string]Object{p.apex(): p.Apex, p.apex() + "-primary": p.PrimaryService, p.apex() + "-canary": p.CanaryService} {
				if p.settled() && p.missing("Service", o) {
					hits = append(hits, hit{"Service " + name, "Flagger has made it and it is not there: a part of the traffic goes nowhere", "see whether Flagger runs; it makes the Service again at its next look"})
				}
			}
			slices.SortFunc(hits, func(a, b hit) int { return strings.Compare(a.where, b.where) })
			return hits
		}},
	}
}

// weightKey is the annotation in which the nginx router keeps the canary's weight.
const weightKey = "nginx.ingress.kubernetes.io/canary-weight"

// weight is the canary's live weight in percent; that of an HTTPRoute stands in its last rule.
func (p Patient) weight() (weight float64, ok bool) {
	if !p.gateway() {
		_, err := fmt.Sscan(p.CanaryIngress.Text("metadata", "annotations", weightKey), &weight)
		return weight, err == nil
	}
	rules := p.Route.list("spec", "rules")
	if len(rules) == 0 {
		return 0, false
	}
	for _, backend := range rules[len(rules)-1].list("backendRefs") {
		if backend.Text("name") == p.apex()+"-canary" {
			return backend.number("weight"), true
		}
	}
	return 0, false
}

// settled reports whether Flagger has set everything up.
func (p Patient) settled() bool {
	return !slices.Contains([]string{"", "Initializing", "Terminating", "Terminated"}, p.phase())
}

// shared finds other Canaries of the namespace that refer to the same object.
func (p Patient) shared(ref, name, so string) (hits []hit) {
	for _, o := range p.Others {
		if name != "" && o.namespace() == p.Canary.namespace() && o.name() != p.Canary.name() && o.Text("spec", ref, "name") == name {
			hits = append(hits, hit{"Canary spec." + ref + ".name", "the Canary " + o.name() + " has it too: " + so, "give each Canary its own"})
		}
	}
	return hits
}
