package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

var now = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// rules are those of design §5.3.
func rules() policy.Rules {
	return policy.Rules{
		Name:       "default",
		SLO:        policy.SLO{Objective: 99.5, Good: []string{"2xx"}},
		FailFast:   policy.FailFast{ErrorRate: 2, Within: 5 * time.Minute, Mode: policy.Literal},
		Bake:       policy.Bake{First: 5 * time.Minute, Step: time.Minute},
		Evidence:   policy.Evidence{MinRequests: 300, MaxHold: 30 * time.Minute},
		Confidence: policy.Confidence{FalseRollback: 1, Block: 2 * time.Second, Dispersion: 1},
		Ramp:       policy.Ramp{RiskBurn: 2, Miss: 5},
	}
}

// healthy is a service of our chart after a release. testdata/chart.json is what the chart podinfo-like renders with its
// own values, and flagger/metric-template.yaml; lab's static tests hold it to them. What Flagger makes is added here.
func healthy(t *testing.T) Patient {
	t.Helper()
	text, err := os.ReadFile("testdata/chart.json")
	if err != nil {
		t.Fatal(err)
	}
	var chart map[string]Object
	if err := json.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Canary", "Deployment", "Ingress"} {
		set(chart[kind], "demo", "metadata", "namespace")
	}
	canary := chart["Canary"]
	set(canary, object(t, `{"phase": "Succeeded", "canaryWeight": 0, "conditions": [{"type": "Promoted", "status": "True", "lastTransitionTime": "2026-03-02T10:00:00Z"}]}`), "status")
	set(canary, "2026-03-01T10:00:00Z", "metadata", "creationTimestamp")
	set(chart["Deployment"], []any{map[string]any(object(t, `{"manager": "flagger", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}`))}, "metadata", "managedFields")
	service := func(name, selects string) Object {
		return object(t, fmt.Sprintf(`{"metadata": {"name": %q, "ownerReferences": [{"kind": "Canary", "name": "podinfo"}]}, "spec": {"selector": {"app.kubernetes.io/name": %q}}}`, name, selects))
	}
	return Patient{
		Canary: canary, Target: chart["Deployment"], Ingress: chart["Ingress"],
		Primary:        object(t, `{"metadata": {"name": "podinfo-primary"}, "spec": {"replicas": 2}, "status": {"availableReplicas": 2}}`),
		Apex:           service("podinfo", "podinfo-primary"),
		PrimaryService: service("podinfo-primary", "podinfo-primary"),
		CanaryService:  service("podinfo-canary", "podinfo"),
		CanaryIngress:  object(t, `{"metadata": {"name": "podinfo-canary", "annotations": {"nginx.ingress.kubernetes.io/canary-weight": "0"}}}`),
		Templates:      map[string]Object{"flagger-system/backstop": chart["MetricTemplate"]},
		Others:         []Object{canary, object(t, `{"metadata": {"namespace": "demo", "name": "shop"}, "spec": {"targetRef": {"name": "shop"}, "ingressRef": {"name": "shop"}}}`)},
		TargetSince:    now.Add(-3 * time.Hour),
		Now:            now, Rules: rules(), Policies: []string{"default"},
		GatekeeperURL: "http://gatekeeper:8081", Rate: 50, RateKnown: true,
	}
}

func object(t *testing.T, text string) Object {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

// set writes a field, or removes it when v is nil.
func set(o Object, v any, path ...string) {
	m := map[string]any(o)
	for _, key := range path[:len(path)-1] {
		inner, ok := m[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			m[key] = inner
		}
		m = inner
	}
	if other, ok := v.(Object); ok {
		v = map[string]any(other)
	}
	if v == nil {
		delete(m, path[len(path)-1])
		return
	}
	m[path[len(path)-1]] = v
}

func found(p Patient) map[string][]Finding {
	byID := map[string][]Finding{}
	for _, f := range Examine(p) {
		byID[f.ID] = append(byID[f.ID], f)
	}
	return byID
}

// onGateway is the same service behind a Gateway, with the HTTPRoute that Flagger makes and the status that Traefik gives it.
func onGateway(t *testing.T) Patient {
	t.Helper()
	p := healthy(t)
	set(p.Canary, "gatewayapi:v1", "spec", "provider")
	set(p.Canary, nil, "spec", "ingressRef")
	set(p.Canary, []any{map[string]any{"name": "public", "namespace": "traefik"}}, "spec", "service", "gatewayRefs")
	set(p.Canary, []any{"podinfo.example"}, "spec", "service", "hosts")
	p.Ingress, p.CanaryIngress = nil, nil
	p.Route = object(t, `{"metadata": {"name": "podinfo", "generation": 4}, "spec": {"rules": [{"backendRefs": [{"name": "podinfo-primary", "weight": 100}, {"name": "podinfo-canary", "weight": 0}]}]},
		"status": {"parents": [{"parentRef": {"name": "public"}, "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 4}, {"type": "ResolvedRefs", "status": "True", "observedGeneration": 4}]}]}}`)
	return p
}

func TestTheChartsOwnCanaryIsHealthy(t *testing.T) {
	for name, p := range map[string]Patient{"nginx": healthy(t), "gatewayapi:v1": onGateway(t)} {
		for _, f := range Examine(p) {
			if f.Severity != Info {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// Each check finds its trap in a Canary that is well but for it, and says where and what to do.
func TestEveryCheckFindsItsTrap(t *testing.T) {
	hooks := func(p Patient, edit func(kind string, hook Object) bool) {
		var kept []any
		for _, h := range p.Canary.list("spec", "analysis", "webhooks") {
			if edit(h.Text("type"), h) {
				kept = append(kept, map[string]any(h))
			}
		}
		set(p.Canary, kept, "spec", "analysis", "webhooks")
	}
	without := func(kind string) func(*Patient) {
		return func(p *Patient) { hooks(*p, func(k string, _ Object) bool { return k != kind }) }
	}
	ofHook := func(kind, field string, v any) func(*Patient) {
		return func(p *Patient) {
			hooks(*p, func(k string, h Object) bool {
				if k == kind {
					set(h, v, field)
				}
				return true
			})
		}
	}
	canary := func(v any, path ...string) func(*Patient) {
		return func(p *Patient) { set(p.Canary, v, path...) }
	}
	metric := func(text string) func(*Patient) {
		return canary([]any{map[string]any(object(t, text))}, "spec", "analysis", "metrics")
	}
	gateway := func(p *Patient) { *p = onGateway(t) }
	condition := func(number int, field string, v any) func(*Patient) {
		return func(p *Patient) { set(p.parents()[0].list("conditions")[number], v, field) }
	}
	status := func(text string) func(*Patient) { return canary(object(t, text), "status") }
	rule := func(text string) func(*Patient) {
		return func(p *Patient) { set(p.Ingress, []any{map[string]any(object(t, text))}, "spec", "rules") }
	}
	const elsewhere = `{"host": "x.example", "http": {"paths": [{"backend": {"service": {"name": "other"}}}]}}`

	type trap struct {
		id    string
		spoil []func(*Patient)
		where string
	}
	one := func(id, where string, spoil ...func(*Patient)) trap { return trap{id, spoil, where} }
	traps := []trap{
		one("hook-missing", "webhooks", without("confirm-rollout")),
		one("hook-missing", "webhooks", without("confirm-traffic-increase")),
		one("hook-missing", "webhooks", without("confirm-promotion")),
		one("hook-missing", "webhooks", without("rollback")),
		one("hook-missing-record", "webhooks", without("pre-rollout")),
		one("hook-missing-record", "webhooks", without("rollout")),
		one("hook-missing-record", "webhooks", without("post-rollout")),
		one("hook-missing-record", "webhooks", without("event")),
		one("hook-url", "(step).url", ofHook("confirm-traffic-increase", "url", "http://g:8080/hooks/v1/rollout")),
		one("hook-url", "(abort).url", ofHook("rollback", "url", "http://g:8080/hooks/v1/confirm-rollout")),
		one("rollback-url", "(abort).url", ofHook("rollback", "url", "http://g:8080/healthz")),
		one("rollback-url", "(abort).url", ofHook("rollback", "url", "http://g:8080/hooks/v1/confirm-promotion")),
		one("hook-twice", "(promote)", ofHook("confirm-promotion", "url", "http://g:8080/hooks/v1/confirm-traffic-increase")),
		one("hook-loud", "(step).muteAlert", ofHook("confirm-traffic-increase", "muteAlert", false)),
		one("hook-secret", "(record).url", ofHook("post-rollout", "url", "http://g:8080/hooks/v1/post-rollout?api_token=abc")),
		one("hook-timeouts", "webhooks", ofHook("rollback", "timeout", "5s")),
		one("hook-timeouts", "webhooks", ofHook("rollout", "retries", float64(3))),
		one("policy-two", "policy", ofHook("event", "metadata", map[string]any{"policy": "careful"})),
		one("policy-unknown", "policy", func(p *Patient) { p.Policies = []string{"careful"} }),
		one("gatekeeper-silent", "http://gatekeeper:8081", func(p *Patient) { p.GatekeeperTrouble = "connection refused" }),

		one("metric-burst", "metrics[0]", canary(float64(6), "spec", "analysis", "threshold")),
		one("metric-window", "metrics[0]"),
		one("metric-builtin-name", "metrics[0]", metric(`{"name": "request-success-rate", "interval": "10s", "templateRef": {"name": "backstop", "namespace": "flagger-system"}}`)),
		one("metric-no-interval", "metrics[0]", metric(`{"name": "errors", "templateRef": {"name": "backstop", "namespace": "flagger-system"}}`)),
		one("metric-template", "metrics[0]", metric(`{"name": "errors", "interval": "10s", "templateRef": {"name": "none"}}`)),
		one("metric-variable", "templateVariables.minRequests", metric(`{"name": "errors", "interval": "10s", "templateRef": {"name": "backstop", "namespace": "flagger-system"}}`)),
		one("metric-duration-unit", "metrics[0]", metric(`{"name": "request-duration", "interval": "10s", "thresholdRange": {"max": 0.5}}`)),
		one("metric-mean", "metrics[0]", metric(`{"name": "request-duration", "interval": "10s", "thresholdRange": {"max": 500}}`)),
		one("metric-gateway", "metrics[0]", gateway, metric(`{"name": "request-duration", "interval": "10s", "thresholdRange": {"max": 500}}`)),
		one("metric-silence", "metrics[0]", metric(`{"name": "request-success-rate", "interval": "10s", "thresholdRange": {"min": 99}}`), canary(float64(3), "spec", "analysis", "threshold")),
		one("metric-none", "metrics", canary(nil, "spec", "analysis", "metrics")),
		one("interval-short", "interval", canary("5s", "spec", "analysis", "interval")),
		one("threshold-low", "threshold", canary(float64(2), "spec", "analysis", "threshold")),
		one("threshold-low", "threshold", canary(nil, "spec", "analysis", "threshold")),
		one("threshold-slow", "analysis", canary("60s", "spec", "analysis", "interval")),
		one("strategy", "analysis", canary(float64(10), "spec", "analysis", "stepWeight")),
		one("strategy", "analysis", canary(nil, "spec", "analysis", "stepWeights")),
		one("steps-order", "stepWeights", canary([]any{float64(10), float64(50), float64(25)}, "spec", "analysis", "stepWeights")),
		one("steps-order", "stepWeights", canary([]any{float64(10), float64(10)}, "spec", "analysis", "stepWeights")),
		one("steps-order", "stepWeights", canary([]any{float64(10), float64(110)}, "spec", "analysis", "stepWeights")),
		one("steps-max", "maxWeight", canary(float64(50), "spec", "analysis", "maxWeight")),
		one("skip-analysis", "skipAnalysis", canary(true, "spec", "skipAnalysis")),
		one("suspend", "suspend", canary(true, "spec", "suspend")),
		one("alert-severity", "alerts[0] (dev)", canary([]any{map[string]any(object(t, `{"name": "dev", "providerRef": {"name": "slack"}}`))}, "spec", "analysis", "alerts")),
		one("alert-provider", "alerts[0] (dev)", canary([]any{map[string]any(object(t, `{"name": "dev", "severity": "info", "providerRef": {"name": "slack"}}`))}, "spec", "analysis", "alerts")),

		one("ingress-ref", "ingressRef", canary(nil, "spec", "ingressRef")),
		one("ingress-missing", "ingressRef", func(p *Patient) { p.Ingress = nil }),
		one("ingress-host", "rules[0].host", rule(`{"http": {"paths": [{"backend": {"service": {"name": "podinfo"}}}]}}`)),
		one("ingress-host", "rules[0].host", rule(`{"host": "*.example", "http": {"paths": [{"backend": {"service": {"name": "podinfo"}}}]}}`)),
		one("ingress-backend", "backend", rule(elsewhere)),
		one("ingress-backend", "backend", canary("apex", "spec", "service", "name")),
		one("ingress-rule", "rules[0]", rule(`{"host": "x.example"}`)),
		one("ingress-shared", "ingressRef", func(p *Patient) { set(p.Others[1], "podinfo", "spec", "ingressRef", "name") }),
		one("target-shared", "targetRef", func(p *Patient) { set(p.Others[1], "podinfo", "spec", "targetRef", "name") }),
		one("nginx-mirror", "mirror", canary(true, "spec", "analysis", "mirror")),
		one("nginx-affinity", "sessionAffinity", canary(map[string]any{"cookieName": "c"}, "spec", "analysis", "sessionAffinity")),
		one("weight-unlisted", "canary-weight", status(`{"phase": "Progressing"}`), func(p *Patient) { set(p.CanaryIngress, "5", "metadata", "annotations", weightKey) }),
		one("weight-unlisted", "HTTPRoute podinfo", gateway, status(`{"phase": "Progressing"}`), func(p *Patient) {
			set(p.Route.list("spec", "rules")[0].list("backendRefs")[1], float64(5), "weight")
		}),
		one("brake-provider", "provider", canary("istio", "spec", "provider"), func(p *Patient) { p.Rules.Brake = policy.BrakeOn }),
		one("provider-gatewayapi", "provider", canary("gatewayapi", "spec", "provider")),
		one("provider-unsaid", "provider", canary(nil, "spec", "provider")),
		one("gateway-refs", "gatewayRefs", gateway, canary(nil, "spec", "service", "gatewayRefs")),
		one("gateway-hosts", "hosts", gateway, canary(nil, "spec", "service", "hosts")),
		one("gateway-mirror", "mirror", gateway, canary(true, "spec", "analysis", "mirror")),
		one("route-missing", "HTTPRoute podinfo", gateway, func(p *Patient) { p.Route = nil }),
		one("route-unclaimed", "status.parents", gateway, func(p *Patient) { set(p.Route, nil, "status") }),
		one("route-refused", "status.parents[0]", gateway, condition(0, "status", "False")),
		one("route-refused", "status.parents[0]", gateway, condition(0, "observedGeneration", float64(3))),
		one("route-backends", "status.parents[0]", gateway, condition(1, "status", "False")),
		one("apex-foreign", "ownerReferences", func(p *Patient) { set(p.Apex, nil, "metadata", "ownerReferences") }),
		one("apex-selector", "selector", func(p *Patient) { set(p.Apex, "podinfo", "spec", "selector", "app.kubernetes.io/name") }),
		one("services-missing", "Service podinfo-canary", func(p *Patient) { p.CanaryService = nil }),

		one("target-kind", "targetRef.kind", canary("DaemonSet", "spec", "targetRef", "kind")),
		one("target-missing", "targetRef.name", func(p *Patient) { p.Target = nil }),
		one("primary-missing", "podinfo-primary", func(p *Patient) { p.Primary = nil }),
		one("primary-not-ready", "podinfo-primary", func(p *Patient) { set(p.Primary, float64(1), "status", "availableReplicas") }),
		one("selector-label", "matchLabels", func(p *Patient) { set(p.Target, map[string]any{"team": "a"}, "spec", "selector", "matchLabels") }),
		one("replicas-set", "spec.replicas", func(p *Patient) {
			set(p.Target.list("metadata", "managedFields")[0], "helm", "manager")
		}),
		one("revert-on-deletion", "revertOnDeletion", canary(nil, "spec", "revertOnDeletion")),
		one("hpa-ref", "autoscalerRef", func(p *Patient) {
			p.Autoscalers = []Object{object(t, `{"metadata": {"name": "podinfo"}, "spec": {"scaleTargetRef": {"name": "podinfo"}}}`)}
		}),
		one("hpa-missing", "autoscalerRef", canary(map[string]any{"kind": "HorizontalPodAutoscaler", "name": "podinfo"}, "spec", "autoscalerRef")),
		one("deadline-long", "progressDeadlineSeconds", canary(float64(600), "spec", "progressDeadlineSeconds")),
		one("deadline-long", "progressDeadlineSeconds", canary(nil, "spec", "progressDeadlineSeconds")),
		one("pods-annotations", "annotations", func(p *Patient) { set(p.Target, nil, "spec", "template", "metadata", "annotations") }),
		one("pods-port", "ports", func(p *Patient) {
			set(p.Target, "9797", "spec", "template", "metadata", "annotations", "prometheus.io/port")
		}),
		one("deploy-id", "annotations"),
		one("unread", "AlertProvider", func(p *Patient) { p.Unread = map[string]string{"AlertProvider": "forbidden"} }),

		one("not-seen", "phase", canary(nil, "status")),
		one("promotion-failed", "canaryWeight", status(`{"phase": "Failed", "canaryWeight": 100}`)),
		one("failed-unseen", "phase", func(p *Patient) { p.TargetSince = now.Add(-time.Hour) },
			status(`{"phase": "Failed", "conditions": [{"type": "Promoted", "lastTransitionTime": "2026-03-02T10:00:00Z"}]}`)),
		one("waiting-long", "phase", status(`{"phase": "WaitingPromotion", "conditions": [{"type": "Promoted", "lastTransitionTime": "2026-03-02T10:00:00Z"}]}`)),

		one("traffic-low", "podinfo-primary", func(p *Patient) { p.Rate = .1 }),
		one("traffic", "podinfo-primary"),
		one("traffic-unknown", "podinfo-primary", func(p *Patient) { p.RateKnown, p.RateTrouble = false, "no pod answers" }),
	}
	tried := map[string]bool{}
	// These are the case for our own chart.
	always := []string{"metric-window", "deploy-id", "traffic"}
	for i, c := range traps {
		tried[c.id] = true
		t.Run(fmt.Sprintf("%s %d", c.id, i), func(t *testing.T) {
			well := healthy(t)
			if was := found(well)[c.id]; len(was) > 0 && !slices.Contains(always, c.id) {
				t.Fatalf("it is found before: %+v", was)
			}
			for _, spoil := range c.spoil {
				spoil(&well)
			}
			got := found(well)[c.id]
			if len(got) != 1 {
				t.Fatalf("%d findings, want 1: %+v", len(got), got)
			}
			if !strings.Contains(got[0].Where, c.where) {
				t.Errorf("where: %q, want %q in it", got[0].Where, c.where)
			}
			if got[0].Says == "" || got[0].Source == "" || got[0].Change == "" && !strings.HasPrefix(c.id, "traffic") {
				t.Errorf("it says too little: %+v", got[0])
			}
		})
	}
	for _, c := range Checks() {
		if !tried[c.ID] {
			t.Errorf("no case for %s", c.ID)
		}
	}
}

func TestWhatIsNoTrap(t *testing.T) {
	for name, c := range map[string]struct {
		id    string
		spoil func(*Patient)
	}{
		"a load hook beside the gatekeeper's of one type": {"hook-twice", func(p *Patient) {
			hooks, _ := p.Canary.at("spec", "analysis", "webhooks").([]any)
			hooks = append(hooks, map[string]any{"name": "load", "type": "pre-rollout", "url": "http://loadgen:8080/hooks/v1/load"})
			set(p.Canary, hooks, "spec", "analysis", "webhooks")
		}},
		"the load tester's rollback gate": {"rollback-url", func(p *Patient) {
			hooks, _ := p.Canary.at("spec", "analysis", "webhooks").([]any)
			hooks = append(hooks, map[string]any{"name": "gate", "type": "rollback", "url": "http://flagger-loadtester/rollback/check"})
			set(p.Canary, hooks, "spec", "analysis", "webhooks")
		}},
		"who made the target, until Flagger has scaled it": {"replicas-set", func(p *Patient) {
			set(p.Target.list("metadata", "managedFields")[0], "helm", "manager")
			set(p.Canary, "Initializing", "status", "phase")
		}},
		"kubectl scale, and the autoscaler": {"replicas-set", func(p *Patient) {
			set(p.Target.list("metadata", "managedFields")[0], "scale", "subresource")
			set(p.Target.list("metadata", "managedFields")[0], "kube-controller-manager", "manager")
		}},
		"templates that could not be read": {"metric-template", func(p *Patient) {
			p.Templates, p.Unread = nil, map[string]string{"MetricTemplate": "forbidden"}
		}},
		"a Service that a chart gave up": {"apex-foreign", func(p *Patient) {
			set(p.Apex, nil, "metadata", "ownerReferences")
			set(p.Apex, map[string]any{"helm.sh/resource-policy": "keep"}, "metadata", "annotations")
		}},
		"a failure after which nothing was pushed": {"failed-unseen", func(p *Patient) { set(p.Canary, "Failed", "status", "phase") }},
		"another Canary of that name elsewhere": {"target-shared", func(p *Patient) {
			set(p.Others[1], "podinfo", "spec", "targetRef", "name")
			set(p.Others[1], "elsewhere", "metadata", "namespace")
		}},
		"a listed weight": {"weight-unlisted", func(p *Patient) {
			set(p.Canary, "Progressing", "status", "phase")
			set(p.CanaryIngress, "25", "metadata", "annotations", weightKey)
		}},
		"a primary that was scaled to nothing on purpose": {"primary-not-ready", func(p *Patient) {
			set(p.Primary, float64(0), "spec", "replicas")
			set(p.Primary, nil, "status")
		}},
		"a new Canary": {"not-seen", func(p *Patient) {
			set(p.Canary, nil, "status")
			set(p.Canary, now.Add(-30*time.Second).Format(time.RFC3339), "metadata", "creationTimestamp")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy(t)
			c.spoil(&p)
			if got := found(p)[c.id]; len(got) > 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestErrorsComeFirst(t *testing.T) {
	p := healthy(t)
	p.Primary, p.Rate = nil, .1
	set(p.Canary, nil, "spec", "revertOnDeletion")
	var order []Severity
	for _, f := range Examine(p) {
		order = append(order, f.Severity)
	}
	if got := slices.Compact(order); !slices.Equal(got, []Severity{Error, Warn, Info}) {
		t.Errorf("order %v", order)
	}
}

// Objects come from people: nothing in them may end the doctor.
func TestNothingAtAllAndNonsense(t *testing.T) {
	Examine(Patient{})
	for _, path := range [][]string{
		{"spec"},
		{"status"},
		{"metadata"},
		{"spec", "analysis"},
		{"spec", "analysis", "webhooks"},
		{"spec", "analysis", "stepWeights"},
		{"spec", "analysis", "metrics"},
		{"spec", "analysis", "threshold"},
		{"spec", "analysis", "stepWeight"},
	} {
		for _, v := range []any{"x", float64(-1), []any{"x", nil}, map[string]any{"x": nil}, true} {
			p := healthy(t)
			set(p.Canary, v, path...)
			Examine(p)
		}
	}
}

// docs/doctor.md lists every check; this test writes what is missing there as the table it wants.
func TestTheDocumentListsEveryCheck(t *testing.T) {
	text, err := os.ReadFile("../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	ids := map[string]bool{}
	for _, c := range Checks() {
		if ids[c.ID] {
			t.Errorf("two checks are called %s", c.ID)
		}
		ids[c.ID] = true
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", c.ID, c.Severity, c.Finds, c.Source)
	}
	if !strings.Contains(string(text), table.String()) {
		t.Errorf("docs/doctor.md must have this table of %d checks:\n%s", len(slices.Collect(maps.Keys(ids))), table.String())
	}
}
