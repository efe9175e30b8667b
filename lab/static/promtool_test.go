package static

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/embedded"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
)

// promtool must be content.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := askPromtool(t, args...); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func askPromtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), programs(t).Promtool, args...).CombinedOutput()
	return string(out), err
}

// programs are this machine's, or fetched to where the lab keeps its packages.
func programs(t *testing.T) packages.Programs {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, ".lab", "cache", "packages"))
	if err != nil {
		t.Fatal(err)
	}
	finder := packages.Finder{Dir: dir, Say: func(text string) { t.Log(text) }, Env: os.Getenv}
	if err := finder.Fetch(t.Context()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	found, _ := finder.Find()
	return found
}

// Distributions build Prometheus without Kubernetes' discovery, so what is checked is the configuration as the embedded
// engine has it: the same but for that.
func TestPrometheusTakesItsConfiguration(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(authority, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	adapted, err := embedded.AdaptPrometheus(text, "", embedded.Place{Discovery: "https://127.0.0.1:1/pods", Token: "secret", Authority: authority, Proxy: "socks5://127.0.0.1:1", Port: "9090"})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(root, "monitoring", "alert_rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	for name, text := range map[string][]byte{file: adapted, filepath.Join(filepath.Dir(file), "alert_rules.yaml"): rules} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", file)
}

// The backstop's query, as Flagger fills it in, against series made for each case in monitoring/tests.
func TestTheBackstopFailsOnlyWhatIsBad(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "flagger", "metric-template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	query := dig[string](t, documents(t, text)[0], "spec", "query")
	value := func(v string) func() string { return func() string { return v } }
	filled, err := template.New("query").Option("missingkey=error").Funcs(template.FuncMap{
		"namespace": value("demo"), "ingress": value("podinfo"), "target": value("podinfo"), "interval": value("1m"),
		"variables": func() map[string]string { return map[string]string{"minRequests": "50"} },
	}).Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	var expr bytes.Buffer
	if err := filled.Execute(&expr, nil); err != nil {
		t.Fatal(err)
	}
	rules, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{
		"name": "backstop", "rules": []any{map[string]any{"record": "backstop", "expr": expr.String()}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile(filepath.Join(root, "monitoring", "tests", "backstop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"rules.yaml": rules, "backstop.yaml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "test", "rules", filepath.Join(dir, "backstop.yaml"))
}
