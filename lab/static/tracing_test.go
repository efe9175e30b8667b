package static

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// One value, tracing.endpoint, turns traces on in each chart, and nothing is set without it.
func TestEveryChartSendsTracesToItsEndpoint(t *testing.T) {
	telemetry := func(r chart.Release) map[string]string {
		found := map[string]string{}
		for _, variable := range dig[[]any](t, render(t, r)["Deployment"][0], "spec", "template", "spec", "containers", 0, "env") {
			if name := dig[string](t, variable, "name"); strings.HasPrefix(name, "OTEL_") {
				found[name] = dig[string](t, variable, "value")
			}
		}
		return found
	}
	for _, name := range []string{"podinfo-like", "loadgen", "gatekeeper"} {
		if off := telemetry(chart.Release{Chart: name}); len(off) > 0 {
			t.Errorf("%s: without an endpoint it has %v", name, off)
		}
		set := telemetry(chart.Release{Chart: name, Namespace: "shop", Sets: []string{"tracing.endpoint=http://collector.example:4317", "tracing.protocol=grpc"}})
		for variable, want := range map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=shop",
		} {
			if set[variable] != want {
				t.Errorf("%s: %s is %q, want %q", name, variable, set[variable], want)
			}
		}
	}
	for _, name := range []string{"podinfo-like", "loadgen"} {
		set := telemetry(chart.Release{Chart: name, Sets: []string{"tracing.endpoint=http://collector.example:4318"}, JSON: []string{`tracing.samplerArg="0.25"`}})
		if set["OTEL_TRACES_SAMPLER"] != "parentbased_traceidratio" || set["OTEL_TRACES_SAMPLER_ARG"] != "0.25" {
			t.Errorf("%s samples by %s of %s", name, set["OTEL_TRACES_SAMPLER"], set["OTEL_TRACES_SAMPLER_ARG"])
		}
	}
}

// What a pipeline says of a release goes into the pod template, where the gatekeeper reads it (kube.revision there).
func TestThePodTemplateSaysWhatThePipelineTold(t *testing.T) {
	about := func(r chart.Release) map[string]string {
		r.Chart = "podinfo-like"
		found := map[string]string{}
		for key, value := range dig[map[string]any](t, render(t, r)["Deployment"][0], "spec", "template", "metadata", "annotations") {
			if name, ours := strings.CutPrefix(key, "rollout.monitoring/"); ours {
				found[name], _ = value.(string)
			}
		}
		return found
	}
	if got := about(chart.Release{}); len(got) > 0 {
		t.Errorf("a release of which nothing is told has %v", slices.Sorted(maps.Keys(got)))
	}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	want := map[string]string{"deploy-id": "run-7", "commit": "1f2e3d", "commit-time": "2026-01-02T03:04:05Z", "traceparent": parent, "drill": "true"}
	got := about(chart.Release{Sets: []string{"deployId=run-7", "commit=1f2e3d", "commitTime=2026-01-02T03:04:05Z", "traceparent=" + parent}, JSON: []string{"drill=true"}})
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for refused, says := range map[string]string{`traceparent="0af7651916cd43dd8448eb211c80319c"`: "traceparent", `drill="true"`: "drill"} {
		_, err := chart.Render(chart.Release{Name: "podinfo", Chart: filepath.Join(root, "helm", "podinfo-like"), JSON: []string{refused}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error that names %s", refused, err, says)
		}
	}
}

// Where people find a trace is a value of the gatekeeper's chart, and one that leads nowhere is refused before it is installed.
func TestTheChartSaysWherePeopleFindATrace(t *testing.T) {
	const template = "https://jaeger.example/trace/{trace_id}?uiEmbed=v0"
	with := func(url string) chart.Release {
		return chart.Release{Chart: "gatekeeper", JSON: []string{`traceUrl="` + url + `"`}}
	}
	found := ""
	for _, variable := range dig[[]any](t, render(t, with(template))["Deployment"][0], "spec", "template", "spec", "containers", 0, "env") {
		if dig[string](t, variable, "name") == "GATEKEEPER_TRACE_URL" {
			found = dig[string](t, variable, "value")
		}
	}
	if found != template {
		t.Errorf("GATEKEEPER_TRACE_URL is %q", found)
	}
	for _, wrong := range []string{"https://jaeger.example/trace/", "jaeger/{trace_id}", "https://jaeger.example/{trace_id})", "javascript:{trace_id}"} {
		release := with(wrong)
		release.Name, release.Chart = "gatekeeper", filepath.Join(root, "helm", "gatekeeper")
		if _, err := chart.Render(release); err == nil || !strings.Contains(err.Error(), "traceUrl") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
