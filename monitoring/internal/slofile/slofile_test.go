package slofile

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

func TestWhatIsLeftOutHasItsDefault(t *testing.T) {
	got, err := Parse("slo.yaml", []byte("scrape: 5s\nservices:\n  - {namespace: demo, canary: podinfo, objective: 99.5}\n"))
	want := slo.Spec{Scrape: 5 * time.Second, Services: []slo.Service{{
		Namespace: "demo", Canary: "podinfo", Objective: 99.5, Name: "availability", Period: 30 * 24 * time.Hour, Source: slo.Ingress, Good: []string{"2xx"},
	}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestErrorsSayWhichLineIsWrong(t *testing.T) {
	const head = "scrape: 5s\nservices:\n  - namespace: demo\n    canary: podinfo\n"
	for text, want := range map[string]string{
		head + "    objective: 99.5\n    objectve: 99\n":                                                      "slo.yaml:6: ",
		head + "    objective: many\n":                                                                        "slo.yaml:5: ",
		head + "    objective: 120\n":                                                                         "slo.yaml:5: services[0].objective: ",
		head + "    objective: 99.5\n    period: a month\n":                                                   "slo.yaml:6: services[0].period: ",
		head + "    objective: 99.5\n    good: [2xx, fine]\n":                                                 "slo.yaml:6: services[0].good: ",
		head + "    objective: 99.5\n    errors: rate(x[5m])\n    total: rate(y[{{window}}])\n":               "slo.yaml:6: services[0].errors: ",
		head + "    objective: 99.5\n    labels:\n      my-team: x\n":                                         `slo.yaml:7: services[0].labels: "my-team" is no name`,
		head + "    objective: 99.5\n    labels: {__team: x}\n":                                               `slo.yaml:6: services[0].labels: "__team" is no name`,
		head + "    objective: 99.5\n    labels: {team: \"{{ $labels.nobody | nothing }}\"}\n":                "slo.yaml:6: services[0].labels: team has a template",
		head + "    objective: 99.5\n    errors: rate(y[{{window}}]\n    total: rate(y[{{window}}])\n":        "slo.yaml:6: services[0].errors: this is no PromQL",
		head + "    objective: 99.5\n    errors: rate(y[{{window}}])\n    total: y[{{window}}]\n":             "slo.yaml:7: services[0].total: the query gives a range vector",
		head + "    objective: 99.5\n    errors: rate(y[{{window}}])\n    total: 'rate(y[{{window}}]) # y'\n": "slo.yaml:7: services[0].total: a query must not end with a comment",
		head + "    objective: 99.5\n    period: 3d\n":                                                        "slo.yaml:6: services[0].period: ",
		"services: [\n": "slo.yaml:1: ",
		"scrape: 5s\n":  "slo.yaml:1: services: ",
	} {
		if _, err := Parse("slo.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q gives %v, want %s", text, err, want)
		}
	}
}

func TestAllThatIsOutOfRangeIsNamedAtOnce(t *testing.T) {
	_, err := Parse("slo.yaml", []byte("scrape: 5s\nservices:\n  - {namespace: demo, canary: podinfo, objective: 120, minRequests: -1}\n"))
	if err == nil || strings.Count(err.Error(), "slo.yaml:3: ") != 2 {
		t.Errorf("got %v", err)
	}
}
