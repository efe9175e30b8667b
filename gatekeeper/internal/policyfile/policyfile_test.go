package policyfile

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

func TestParse(t *testing.T) {
	full := `
name: careful
slo: {objective: 99.9, good: [2xx, "404"]}
failFast: {errorRate: 1, within: 10m}
bake: {first: 2m, step: 30s}
evidence: {minRequests: 50, maxHold: 1h}
`
	got, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Rules{
		Name:     "careful",
		SLO:      policy.SLO{Objective: 99.9, Good: []string{"2xx", "404"}},
		FailFast: policy.FailFast{ErrorRate: 1, Within: 10 * time.Minute},
		Bake:     policy.Bake{First: 2 * time.Minute, Step: 30 * time.Second},
		Evidence: policy.Evidence{MinRequests: 50, MaxHold: time.Hour},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseKeepsDefaultsForWhatIsLeftOut(t *testing.T) {
	got, err := Parse([]byte("name: default\nbake: {step: 10s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Default()
	want.Bake.Step = 10 * time.Second
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field, with its line":         {"name: x\nslo: {objektive: 99}\n", "2 | slo: {objektive: 99}"},
		"a wrong type, with its line":             {"name: x\nslo:\n  objective: high\n", "3 |   objective: high"},
		"a duration that is none":                 {"name: x\nbake:\n  first: soon\n", `"soon" is not a duration`},
		"a policy without a name":                 {"slo: {objective: 99}\n", "name: missing"},
		"an objective over 100":                   {"name: x\nslo: {objective: 995}\n", "slo.objective: 995"},
		"a status that is none":                   {"name: x\nslo: {good: [2x]}\n", `slo.good: "2x"`},
		"a negative bake time":                    {"name: x\nbake: {first: -1s}\n", "bake:"},
		"a canary judged on nothing":              {"name: x\nevidence: {minRequests: 0}\n", "evidence.minRequests"},
		"a limit of 0 that fails every release":   {"name: x\nfailFast: {errorRate: 0}\n", "failFast.errorRate"},
		"a field of a later version, not a guess": {"name: x\nbrake: on\n", "brake"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not contain %q", err, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	got, err := Load(fstest.MapFS{"a.yaml": {Data: []byte("name: a\n")}, "notes.txt": {Data: []byte("not a policy")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["a"].Name != "a" || got["default"].Name != "default" {
		t.Errorf("got %v", got)
	}
	_, err = Load(fstest.MapFS{"a.yaml": {Data: []byte("name: x\n")}, "b.yaml": {Data: []byte("name: x\n")}})
	if err == nil || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("two policies with one name: %v", err)
	}
}
