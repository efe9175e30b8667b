package policyfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// full has every field, in both of YAML's styles.
const full = `
name: careful
slo: {objective: 99.9, good: [2xx, "404", 410]}
metrics: {requests: hits_total, status: code, duration: hit_seconds, match: {handler: api}}
failFast: {errorRate: 1, within: 10m, mode: guarded}
bake: {first: 2m, step: 30s}
evidence: {source: [pods, ingress], minRequests: 50, onTooLittle: fail, maxHold: 1h}
confidence: {falseRollback: 0.5, block: 1s, dispersion: 3}
ramp: {riskBurn: 3, miss: 1}
baseline: {margin: 0.2}
latency:
  quantile: 99
  max: 500ms
  worseBy: 25
budget:
  window: 30d
  minRemaining: 10
  perRollout: 1
gates:
  approval: both
  approvalTTL: 4h
  freeze:
    - {from: "Fri 16:00", to: "Mon 08:00", zone: Europe/Berlin, except: [hotfix]}
    - from: 2026-12-24 00:00
      to: 2027-01-02 00:00
      zone: UTC
  inFlight: namespace
  dependsOn: [database, other/backend]
  alerts: {severity: critical}
brake: always
notify:
  - {sink: team, on: [started, rolled-back]}
  - sink: ops
`

func fullRules() policy.Rules {
	return policy.Rules{
		Name:       "careful",
		SLO:        policy.SLO{Objective: 99.9, Good: []string{"2xx", "404", "410"}},
		Metrics:    policy.Metrics{Requests: "hits_total", Status: "code", Duration: "hit_seconds", Match: map[string]string{"handler": "api"}},
		FailFast:   policy.FailFast{ErrorRate: 1, Within: 10 * time.Minute, Mode: policy.Guarded},
		Bake:       policy.Bake{First: 2 * time.Minute, Step: 30 * time.Second},
		Evidence:   policy.Evidence{Source: []policy.Source{policy.Pods, policy.Ingress}, MinRequests: 50, OnTooLittle: policy.RollBack, MaxHold: time.Hour},
		Confidence: policy.Confidence{FalseRollback: 0.5, Block: time.Second, Dispersion: 3},
		Ramp:       policy.Ramp{RiskBurn: 3, Miss: 1},
		Baseline:   policy.Baseline{Margin: 0.2},
		Latency:    &policy.Latency{Quantile: 99, Max: 500 * time.Millisecond, WorseBy: 25},
		Budget:     &policy.Budget{Window: 30 * 24 * time.Hour, MinRemaining: 10, PerRollout: 1},
		Gates: policy.GateRules{
			Approval: policy.ApproveBoth, ApprovalTTL: 4 * time.Hour,
			Freeze: []policy.Freeze{
				{From: "Fri 16:00", To: "Mon 08:00", Zone: "Europe/Berlin", Except: []string{"hotfix"}},
				{From: "2026-12-24 00:00", To: "2027-01-02 00:00", Zone: "UTC"},
			},
			InFlight: policy.OnePerSpace, DependsOn: []string{"database", "other/backend"}, Alerts: map[string]string{"severity": "critical"},
		},
		Brake:  policy.BrakeAlways,
		Notify: []policy.Notify{{Sink: "team", On: []rollout.Happening{rollout.HasStarted, rollout.Happening(rollout.RolledBack)}}, {Sink: "ops"}},
	}
}

func TestParse(t *testing.T) {
	got, err := ParseFile("careful.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, fullRules()) {
		t.Errorf("got %+v, want %+v", got, fullRules())
	}
}

// What is written as JSON is a document again: nothing is lost on the way, and JSON is YAML.
func TestJSONIsTheWholeDocument(t *testing.T) {
	for _, rules := range []policy.Rules{policy.Default(), fullRules()} {
		text, err := JSON(rules)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseFile("resolved", text)
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		var written map[string]any
		if err := json.Unmarshal(text, &written); err != nil || written["bake"].(map[string]any)["first"] == "" {
			t.Errorf("not JSON (%v):\n%s", err, text)
		}
		if !reflect.DeepEqual(got, rules) {
			t.Errorf("got %+v, want %+v", got, rules)
		}
	}
}

func TestParseKeepsDefaultsForWhatIsLeftOut(t *testing.T) {
	got, err := ParseFile("default.yaml", []byte("name: default\nbake: {step: 10s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Default()
	want.Bake.Step = 10 * time.Second
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Helm reads YAML 1.1, in which off and on are booleans, and hands them on as such.
func TestBrakeInAllItsSpellings(t *testing.T) {
	for written, want := range map[string]policy.Brake{
		"off": policy.BrakeOff, `"off"`: policy.BrakeOff, "false": policy.BrakeOff,
		"on": policy.BrakeOn, `"on"`: policy.BrakeOn, "true": policy.BrakeOn, "always": policy.BrakeAlways,
	} {
		got, err := ParseFile("x.yaml", []byte("name: x\nbrake: "+written+"\n"))
		if err != nil || got.Brake != want {
			t.Errorf("brake: %s is %q (%v), want %q", written, got.Brake, err, want)
		}
	}
}

// bad documents, each with where and why it is wrong. schema says whether the JSON schema refuses it too.
var bad = map[string]struct {
	text   string
	want   []string
	schema bool
}{
	"no YAML":                                 {"name: x\nslo: {objective: 99\n", []string{"x.yaml:2: "}, false},
	"an empty document":                       {"", []string{`x.yaml:1: name: ""`}, true},
	"two documents":                           {"name: x\n---\nname: y\n", []string{"x.yaml:3: a second document"}, false},
	"an unknown field":                        {"name: x\nslo: {objektive: 99}\n", []string{`x.yaml:2: unknown field "objektive"`, "policy schema"}, true},
	"a field of a later version":              {"name: x\nscaling: []\n", []string{"x.yaml:2: ", "scaling"}, true},
	"news that nobody makes":                  {"name: x\nnotify:\n  - {sink: team, on: [started, ended]}\n", []string{`x.yaml:3: notify[0].on[1]: "ended" is none of started`}, true},
	"news to nobody":                          {"name: x\nnotify: [{on: [started]}]\n", []string{`x.yaml:2: notify[0].sink: ""`}, true},
	"a sink twice":                            {"name: x\nnotify: [{sink: a}, {sink: a}]\n", []string{`notify[1].sink: "a" is there twice`}, false},
	"a field twice":                           {"name: x\nname: y\n", []string{"x.yaml:2: "}, false},
	"a word for a number":                     {"name: x\nslo:\n  objective: high\n", []string{`x.yaml:3: "high" is not a number`}, true},
	"a negative count":                        {"name: x\nevidence:\n  minRequests: -1\n", []string{"x.yaml:3: -1 is not a whole number"}, true},
	"half a request":                          {"name: x\nevidence:\n  minRequests: 0.5\n", []string{"x.yaml:3: "}, true},
	"a list for a block":                      {"name: x\nslo:\n  - 99\n", []string{"x.yaml:3: a list stands where a block of fields is wanted"}, true},
	"a word for a list":                       {"name: x\nslo:\n  good: 2xx\n", []string{"x.yaml:3: a single value stands where a list is wanted"}, true},
	"a word for a duration":                   {"name: x\nbake:\n  first: soon\n", []string{"x.yaml:3: soon is not a duration such as"}, true},
	"a number for a duration":                 {"name: x\nbake:\n  step: 5\n", []string{"x.yaml:3: 5 is not a duration"}, true},
	"a negative duration":                     {"name: x\nbake: {first: -1s}\n", []string{"x.yaml:2: -1s is not a duration"}, true},
	"a list for the brake":                    {"name: x\nbrake: [on]\n", []string{"x.yaml:2: [on] is none of"}, true},
	"a block for a status":                    {"name: x\nslo: {good: [{a: b}]}\n", []string{"x.yaml:2: "}, true},
	"a block for a list":                      {"name: x\ngates: {dependsOn: {a: b}}\n", []string{"x.yaml:2: a block of fields stands where a list is wanted"}, true},
	"a list for a name":                       {"name: [x]\n", []string{`x.yaml:1: "[" is not text`}, true},
	"no name":                                 {"slo: {objective: 99}\n", []string{`x.yaml:1: name: ""`}, true},
	"a name that no label may have":           {"name: My Policy\n", []string{`x.yaml:1: name: "My Policy"`}, true},
	"an objective over 100":                   {"name: x\nslo: {objective: 995}\n", []string{"x.yaml:2: slo.objective: 995"}, true},
	"an objective of 100":                     {"name: x\nslo: {objective: 100}\n", []string{"x.yaml:2: slo.objective: 100 leaves no error rate"}, true},
	"an objective that is no number":          {"name: x\nslo: {objective: .nan}\n", []string{"x.yaml:2: slo.objective: NaN"}, false},
	"nothing is good":                         {"name: x\nslo: {good: []}\n", []string{"x.yaml:2: slo.good: empty"}, true},
	"a status that is none":                   {"name: x\nslo:\n  good:\n    - 2xx\n    - 2x\n", []string{`x.yaml:5: slo.good[1]: "2x"`}, true},
	"a code that is none":                     {"name: x\nslo: {good: [999]}\n", []string{`x.yaml:2: slo.good[0]: "999"`}, true},
	"a metric that can have no such name":     {"name: x\nmetrics: {requests: http-requests}\n", []string{"x.yaml:2: metrics.requests"}, true},
	"a label that can have no such name":      {"name: x\nmetrics: {status: a:b}\n", []string{"x.yaml:2: metrics.status"}, true},
	"a histogram without a name":              {"name: x\nmetrics: {duration: \"\"}\n", []string{"x.yaml:2: metrics.duration"}, true},
	"a label to match that is none":           {"name: x\nmetrics: {match: {a-b: c}}\n", []string{"x.yaml:2: metrics.match"}, true},
	"a limit of 0 fails every release":        {"name: x\nfailFast: {errorRate: 0}\n", []string{"x.yaml:2: failFast.errorRate"}, true},
	"a window of a year":                      {"name: x\nfailFast: {within: 365d}\n", []string{"x.yaml:2: failFast.within: 365d is not a duration from 1s to 1d"}, false},
	"a mode that is none":                     {"name: x\nfailFast: {mode: lax}\n", []string{`x.yaml:2: failFast.mode: "lax" is none of literal, guarded, strict`}, true},
	"a bake time of a week":                   {"name: x\nbake:\n  first: 5m\n  step: 1w\n", []string{"x.yaml:4: bake.step: 7d"}, false},
	"a source that is none":                   {"name: x\nevidence: {source: [pods, dice]}\n", []string{`x.yaml:2: evidence.source[1]: "dice"`}, true},
	"a source twice":                          {"name: x\nevidence: {source: [pods, pods]}\n", []string{`evidence.source[1]: "pods" is there twice`}, true},
	"a canary judged on nothing":              {"name: x\nevidence: {minRequests: 0}\n", []string{"x.yaml:2: evidence.minRequests: 0"}, true},
	"more requests than Helm can write":       {"name: x\nevidence: {minRequests: 1000000}\n", []string{"x.yaml:2: evidence.minRequests: 1000000"}, true},
	"neither hold nor fail":                   {"name: x\nevidence: {onTooLittle: pray}\n", []string{"evidence.onTooLittle"}, true},
	"no time to hold":                         {"name: x\nevidence: {maxHold: 0s}\n", []string{"evidence.maxHold: 0s"}, false},
	"certainty":                               {"name: x\nconfidence: {falseRollback: 0}\n", []string{"confidence.falseRollback"}, true},
	"one false rollback in five":              {"name: x\nconfidence: {falseRollback: 20}\n", []string{"confidence.falseRollback"}, true},
	"a bet every millisecond":                 {"name: x\nconfidence: {block: 1ms}\n", []string{"confidence.block: 1ms is not a duration from 500ms to 1m"}, false},
	"clusters of less than one":               {"name: x\nconfidence: {dispersion: 0.5}\n", []string{"confidence.dispersion"}, true},
	"less risk than the objective itself":     {"name: x\nramp: {riskBurn: 0.5}\n", []string{"ramp.riskBurn"}, true},
	"a bound that is wrong half the time":     {"name: x\nramp: {miss: 50}\n", []string{"ramp.miss"}, true},
	"a negative margin":                       {"name: x\nbaseline: {margin: -1}\n", []string{"baseline.margin"}, true},
	"latency without a quantile":              {"name: x\nlatency: {max: 1s}\n", []string{"x.yaml:2: latency.quantile: 0"}, true},
	"latency without a limit":                 {"name: x\nlatency: {quantile: 99}\n", []string{"x.yaml:2: latency: sets no limit"}, true},
	"the quantile 100":                        {"name: x\nlatency: {quantile: 100, max: 1s}\n", []string{"latency.quantile: 100"}, true},
	"a limit of an hour":                      {"name: x\nlatency: {quantile: 99, max: 1h}\n", []string{"latency.max: 1h"}, false},
	"a negative comparison":                   {"name: x\nlatency: {quantile: 99, worseBy: -1}\n", []string{"latency.worseBy"}, true},
	"a budget without a window":               {"name: x\nbudget: {minRemaining: 10}\n", []string{"x.yaml:2: budget.window: 0s"}, true},
	"a budget without a limit":                {"name: x\nbudget: {window: 30d}\n", []string{"x.yaml:2: budget: sets no limit"}, true},
	"a budget of a minute":                    {"name: x\nbudget: {window: 1m, minRemaining: 10}\n", []string{"budget.window: 1m is not a duration from 1h to 90d"}, false},
	"more than all must be left":              {"name: x\nbudget: {window: 30d, minRemaining: 101}\n", []string{"budget.minRemaining"}, true},
	"less than nothing per rollout":           {"name: x\nbudget: {window: 30d, perRollout: -1}\n", []string{"budget.perRollout"}, true},
	"an approval of something else":           {"name: x\ngates: {approval: yes please}\n", []string{"gates.approval"}, true},
	"an approval for a second":                {"name: x\ngates: {approval: both, approvalTTL: 1s}\n", []string{"gates.approvalTTL"}, false},
	"a freeze without an end":                 {"name: x\ngates: {freeze: [{from: Fri 16:00, zone: UTC}]}\n", []string{`x.yaml:2: gates.freeze[0].to: ""`}, true},
	"a freeze without a zone":                 {"name: x\ngates: {freeze: [{from: Fri 16:00, to: Mon 08:00}]}\n", []string{"gates.freeze[0].zone"}, true},
	"a zone that is none":                     {"name: x\ngates:\n  freeze:\n    - from: Fri 16:00\n      to: Mon 08:00\n      zone: Europe/Bonn\n", []string{`x.yaml:6: gates.freeze[0].zone: "Europe/Bonn"`}, false},
	"the zone of whatever machine it is":      {"name: x\ngates: {freeze: [{from: Fri 16:00, to: Mon 08:00, zone: Local}]}\n", []string{"gates.freeze[0].zone"}, false},
	"a weekday that is none":                  {"name: x\ngates: {freeze: [{from: Freitag 16:00, to: Mon 08:00, zone: UTC}]}\n", []string{`gates.freeze[0].from: "Freitag 16:00"`}, true},
	"the hour 25":                             {"name: x\ngates: {freeze: [{from: Fri 25:00, to: Mon 08:00, zone: UTC}]}\n", []string{"gates.freeze[0].from"}, false},
	"the 30th of February":                    {"name: x\ngates: {freeze: [{from: 2026-02-30 00:00, to: 2026-03-01 00:00, zone: UTC}]}\n", []string{"gates.freeze[0].from"}, false},
	"a week to a date":                        {"name: x\ngates: {freeze: [{from: Fri 16:00, to: 2026-12-24 00:00, zone: UTC}]}\n", []string{"gates.freeze[0].to"}, false},
	"a freeze that ends before it begins":     {"name: x\ngates: {freeze: [{from: 2026-12-24 00:00, to: 2026-12-23 00:00, zone: UTC}]}\n", []string{"gates.freeze[0].to"}, false},
	"a week that ends when it begins":         {"name: x\ngates: {freeze: [{from: Fri 16:00, to: Fri 16:00, zone: UTC}]}\n", []string{"gates.freeze[0].to"}, false},
	"an exception without a name":             {"name: x\ngates: {freeze: [{from: Fri 16:00, to: Mon 08:00, zone: UTC, except: [\"\"]}]}\n", []string{"gates.freeze[0].except[0]"}, true},
	"one at a time in what":                   {"name: x\ngates: {inFlight: planet}\n", []string{"gates.inFlight"}, true},
	"a dependency that can have no such name": {"name: x\ngates: {dependsOn: [a/b/c]}\n", []string{"gates.dependsOn[0]"}, true},
	"a dependency twice":                      {"name: x\ngates: {dependsOn: [a, a]}\n", []string{"gates.dependsOn[1]"}, true},
	"an alert label without a value":          {"name: x\ngates: {alerts: {severity: \"\"}}\n", []string{"gates.alerts"}, true},
	"a brake that is none":                    {"name: x\nbrake: hard\n", []string{`x.yaml:2: brake: "hard" is none of off, on, always`}, true},
	"all that is out of range at once":        {"name: x\nslo:\n  objective: 0\nramp:\n  miss: 0\n", []string{"x.yaml:3: slo.objective", "x.yaml:5: ramp.miss"}, true},
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFile("x.yaml", []byte(c.text))
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not contain %q", err, want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, c := range bad {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := ParseFile("x.yaml", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.yaml:") {
				t.Errorf("the error does not say where: %v", err)
			}
			return
		}
		resolved, err := JSON(rules)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFile("resolved", resolved); err != nil {
			t.Errorf("a good document is written as a bad one: %v\n%s", err, resolved)
		}
	})
}

func TestLoad(t *testing.T) {
	got, err := Load(fstest.MapFS{"a.yaml": {Data: []byte("name: a\n")}, "notes.txt": {Data: []byte("not a policy")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["a"].Name != "a" || got["default"].Name != "default" {
		t.Errorf("got %v", got)
	}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"two policies with one name":    {fstest.MapFS{"a.yaml": {Data: []byte("name: x\n")}, "b.yaml": {Data: []byte("name: x\n")}}, "b.yaml"},
		"a bad one is named with line":  {fstest.MapFS{"a.yaml": {Data: []byte("name: x\nbrake: 7\n")}}, "a.yaml:2: "},
		"an empty file is not a policy": {fstest.MapFS{"a.yaml": {}}, "a.yaml:1: name"},
	} {
		if _, err := Load(c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not contain %q", name, err, c.want)
		}
	}
}

// The chart spells the default out for people to change; it must be the same policy as none at all.
func TestTheChartsDefaultIsTheDefault(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Policies map[string]map[string]any `yaml:"policies"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	written := values.Policies["default"]
	written["name"] = "default"
	document, err := yaml.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseFile("values.yaml", document)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, policy.Default()) {
		t.Errorf("got %+v, want %+v", got, policy.Default())
	}
}
