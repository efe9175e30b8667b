package static

import (
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// What the chart's values say of sinks is the gatekeeper's sinks file, and their secrets are files where it says they are.
func TestTheChartsSinksAreAFileForTheGatekeeper(t *testing.T) {
	objects := render(t, chart.Release{Chart: "gatekeeper", JSON: []string{
		`sinks=[{"name":"team","type":"slack","channel":"C1","tokenFile":"/etc/gatekeeper/secrets/slack-token","on":["waiting"]}]`,
		`notify={"repeat":"1h","slack":{"approvers":["U1"]}}`, `sinkSecrets={"existingSecret":"chat"}`, `publicUrl="https://gate.example"`,
	}})
	var file map[string]any
	for _, object := range objects["ConfigMap"] {
		if strings.HasSuffix(dig[string](t, object, "metadata", "name"), "-sinks") {
			file = documents(t, []byte(dig[string](t, object, "data", "sinks.yaml")))[0]
		}
	}
	if got := dig[string](t, file, "repeat"); got != "1h" {
		t.Errorf("repeat is %s", got)
	}
	if got := dig[string](t, file, "slack", "approvers", 0) + " " + dig[string](t, file, "slack", "api"); got != "U1 https://slack.com/api/" {
		t.Errorf("Slack is %s", got)
	}
	if got := dig[string](t, file, "sinks", 0, "tokenFile"); got != "/etc/gatekeeper/secrets/slack-token" {
		t.Errorf("the token is in %s", got)
	}
	pod := dig[map[string]any](t, objects["Deployment"][0], "spec", "template", "spec")
	mounts := map[string]string{}
	for _, m := range dig[[]any](t, pod, "containers", 0, "volumeMounts") {
		mounts[dig[string](t, m, "mountPath")] = dig[string](t, m, "name")
	}
	secret := ""
	for _, v := range dig[[]any](t, pod, "volumes") {
		if dig[string](t, v, "name") == mounts["/etc/gatekeeper/secrets"] {
			secret = dig[string](t, v, "secret", "secretName")
		}
	}
	env := map[string]string{}
	for _, e := range dig[[]any](t, pod, "containers", 0, "env") {
		if text, ok := e.(map[string]any)["value"].(string); ok {
			env[dig[string](t, e, "name")] = text
		}
	}
	if secret != "chat" || mounts["/etc/gatekeeper/sinks"] == "" || env["GATEKEEPER_SINKS"] != "/etc/gatekeeper/sinks/sinks.yaml" ||
		env["GATEKEEPER_PUBLIC_URL"] != "https://gate.example" || env["GATEKEEPER_SLACK_SIGNING_SECRET_FILE"] != "/etc/gatekeeper/secrets/slack-signing-secret" {
		t.Errorf("secret %q, mounts %v, environment %v", secret, mounts, env)
	}
}
