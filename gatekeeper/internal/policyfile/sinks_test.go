package policyfile

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

func TestParseSinks(t *testing.T) {
	got, err := ParseSinks("sinks.yaml", []byte(`
repeat: 90m
slack: {api: "https://slack-gov.com/api/", approvers: [U1]}
sinks:
  - {name: hook, type: webhook, url: "https://a.example", secretEnv: S, on: [started, stuck], severity: warning, canaries: ["a/*"], template: "{{.Text}}"}
  - {name: bot, type: slack, tokenFile: /t, channel: C1}
  - {name: mail, type: shoutrrr, urlEnv: M}
`))
	want := sinks.Config{
		Repeat: 90 * time.Minute, Slack: sinks.Slack{API: "https://slack-gov.com/api/", Approvers: []string{"U1"}},
		Sinks: []sinks.Sink{
			{Name: "hook", Type: sinks.Webhook, URL: sinks.Secret{Value: "https://a.example"}, Secret: sinks.Secret{Env: "S"}, On: []rollout.Happening{rollout.HasStarted, rollout.Happening(rollout.Stuck)}, Severity: rollout.Warning, Canaries: []string{"a/*"}, Template: "{{.Text}}"},
			{Name: "bot", Type: sinks.SlackApp, Token: sinks.Secret{File: "/t"}, Channel: "C1"},
			{Name: "mail", Type: sinks.Shoutrrr, URL: sinks.Secret{Env: "M"}},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v)\nwant %+v", got, err, want)
	}
	if got, err := ParseSinks("empty.yaml", nil); err != nil || !reflect.DeepEqual(got, sinks.Default()) {
		t.Errorf("an empty file: %+v %v", got, err)
	}
}

// The document's example is one that works, for the parser and for editors.
func TestTheDocumentedSinksAreGood(t *testing.T) {
	text, err := os.ReadFile("../../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	if c, err := ParseSinks("docs", []byte(example)); err != nil || len(c.Sinks) != 5 {
		t.Errorf("%d sinks, %v", len(c.Sinks), err)
	}
	for _, draft := range []*jsonschema.Draft{jsonschema.Draft2020, jsonschema.Draft7} {
		if err := compiled(t, draft, SinksSchema).Validate(asJSON(t, example)); err != nil {
			t.Error(err)
		}
	}
}

func TestSinksThatAreWrongAreNamedByTheirLine(t *testing.T) {
	schema := compiled(t, jsonschema.Draft7, SinksSchema)
	for name, c := range map[string]struct {
		text, want string
		schema     bool
	}{
		"no YAML":                   {"sinks: [", "s.yaml:1: ", false},
		"an unknown field":          {"sinks:\n  - {name: a, type: webhook, host: x}\n", `s.yaml:2: unknown field "host"`, true},
		"a token in the open":       {"sinks:\n  - {name: a, type: slack, token: xoxb}\n", "tokenFile or tokenEnv", true},
		"a secret in the open":      {"sinks:\n  - {name: a, type: webhook, secret: whsec}\n", "secretFile or secretEnv", true},
		"a type that is none":       {"sinks:\n  - name: a\n    type: pigeon\n", `s.yaml:3: sinks[0].type: "pigeon"`, true},
		"a happening that is none":  {"sinks:\n  - {name: a, type: webhook, url: \"http://x\", on: [ended]}\n", "s.yaml:2: sinks[0].on[0]", true},
		"a webhook to nowhere":      {"repeat: 1h\nsinks:\n  - {name: a, type: webhook}\n", "s.yaml:3: sinks[0]: a sink of type webhook needs url", false},
		"a template that is broken": {"sinks:\n  - name: a\n    type: webhook\n    url: http://x\n    template: \"{{.Nothing}}\"\n", "s.yaml:5: sinks[0].template", false},
		"too many":                  {"sinks:" + strings.Repeat("\n  - {name: a, type: webhook}", 51), "at most 50", true},
	} {
		if _, err := ParseSinks("s.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if c.schema && schema.Validate(asJSON(t, c.text)) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}
