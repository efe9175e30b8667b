package static

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// The two configurations: with and without Slack.
var alertmanagers = []string{"monitoring/alertmanager.yaml", "monitoring/slack/alertmanager.yaml"}

// alertmanagerPrograms are Alertmanager and amtool, built where the embedded engine has them.
func alertmanagerPrograms(t *testing.T) (server, amtool string) {
	t.Helper()
	folder := filepath.Join(root, ".lab", "cache", "bin", runtime.GOOS+"-"+runtime.GOARCH)
	if out, err := exec.CommandContext(t.Context(), filepath.Join(root, "hack", "alertmanager"), folder).CombinedOutput(); err != nil {
		t.Fatalf("build Alertmanager: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "alertmanager", "deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	image := dig[string](t, documents(t, text)[0], "spec", "template", "spec", "containers", 0, "image")
	_, version, _ := strings.Cut(image, ":v")
	return filepath.Join(folder, "alertmanager-"+version), filepath.Join(folder, "amtool-"+version)
}

func amtool(t *testing.T, args ...string) {
	t.Helper()
	_, tool := alertmanagerPrograms(t)
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Errorf("amtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertmanagerTakesItsConfigurations(t *testing.T) {
	for _, file := range alertmanagers {
		amtool(t, "check-config", filepath.Join(root, file))
	}
}

// What is added for Slack is a way to reach people: who is told of what must not depend on it.
func TestSlackChangesOnlyHowPeopleAreReached(t *testing.T) {
	var configs []map[string]any
	for _, file := range alertmanagers {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, documents(t, text)[0])
	}
	people := dig[map[string]any](t, configs[1], "receivers", 0)
	if dig[string](t, people, "slack_configs", 0, "api_url_file") != "/etc/alertmanager/secrets/slack-url" {
		t.Error("Slack's address is a secret and is read from the Secret's file")
	}
	delete(people, "slack_configs")
	if !reflect.DeepEqual(configs[0], configs[1]) {
		t.Errorf("without slack_configs the two must be one, but %s is\n%v\nand %s\n%v", alertmanagers[0], configs[0], alertmanagers[1], configs[1])
	}
}

// alertRules are the labels of all alerts in the rules, each with its name.
func alertRules(t *testing.T) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "monitoring", "alert_rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]string
	for _, group := range dig[[]any](t, documents(t, text)[0], "groups") {
		for _, rule := range dig[[]any](t, group, "rules") {
			rule := dig[map[string]any](t, rule)
			name, isAlert := rule["alert"].(string)
			if !isAlert {
				continue
			}
			labels := map[string]string{"alertname": name}
			for key := range dig[map[string]any](t, rule, "labels") {
				labels[key] = dig[string](t, rule, "labels", key)
			}
			all = append(all, labels)
		}
	}
	return all
}

func TestEveryAlertFindsItsReceivers(t *testing.T) {
	cases := append(
		alertRules(t),
		map[string]string{"alertname": "Any", "severity": "critical", "canary": "podinfo"},
		map[string]string{"alertname": "Any", "severity": "warning"},
		map[string]string{"alertname": "Any"},
	)
	for _, labels := range cases {
		want := "people"
		if labels["severity"] == "critical" {
			want = "gatekeeper,people"
		}
		for _, file := range alertmanagers {
			args := []string{"config", "routes", "test", "--config.file=" + filepath.Join(root, file), "--verify.receivers=" + want}
			for name, value := range labels {
				if !strings.Contains(value, "{{") { // filled in when it fires; no route reads such a label
					args = append(args, name+"="+value)
				}
			}
			amtool(t, args...)
		}
	}
}

// An alert that has another name by now would quietly not be silenced.
func TestWhatIsSilencedIsInTheRules(t *testing.T) {
	known := map[string]bool{}
	for _, labels := range alertRules(t) {
		known[labels["alertname"]], known[labels["tier"]] = true, true
	}
	text, err := os.ReadFile(filepath.Join(root, alertmanagers[0]))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, rule := range dig[[]any](t, documents(t, text)[0], "inhibit_rules") {
		for _, side := range []string{"source_matchers", "target_matchers"} {
			for _, matcher := range dig[[]any](t, rule, side) {
				label, value, _ := strings.Cut(dig[string](t, matcher), "=")
				if label == "severity" {
					continue
				}
				for name := range strings.SplitSeq(strings.Trim(value, `~"`), "|") {
					named++
					if !known[name] {
						t.Errorf("no rule makes an alert with %s %s", label, name)
					}
				}
			}
		}
	}
	if named == 0 {
		t.Error("no matcher was found: this test looks in the wrong place")
	}
}

// told is what one message to the gatekeeper says.
type told struct {
	authorization string
	alerts        []string // their names and tiers
}

// gatekeeperDoor takes what Alertmanager sends to the gatekeeper.
func gatekeeperDoor(t *testing.T) (url string, messages <-chan told) {
	t.Helper()
	heard := make(chan told, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method+" "+r.URL.Path != "POST /api/v1/alerts" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		message := told{authorization: r.Header.Get("Authorization")}
		for _, a := range body.Alerts {
			message.alerts = append(message.alerts, a.Status+" "+a.Labels["alertname"]+a.Labels["tier"])
		}
		slices.Sort(message.alerts)
		heard <- message
	}))
	t.Cleanup(server.Close)
	return server.URL, heard
}

// startAlertmanager starts this machine's Alertmanager with our configuration and the gatekeeper at a URL. It returns the base
// URL of its API.
func startAlertmanager(t *testing.T, gatekeeper, token string) string {
	t.Helper()
	program, _ := alertmanagerPrograms(t)
	text, err := os.ReadFile(filepath.Join(root, alertmanagers[0]))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := strings.NewReplacer("http://gatekeeper.rollout-system:8081", gatekeeper, "/etc/alertmanager/secrets/", dir+"/").Replace(string(text))
	for name, text := range map[string]string{"alertmanager.yaml": config, "gatekeeper-token": token} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.CommandContext(t.Context(), program, "--config.file="+dir+"/alertmanager.yaml", "--storage.path="+dir,
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("start Alertmanager: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed, so always an error
	})
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if _, address, found := strings.Cut(lines.Text(), `msg="Listening on" address=`); found {
			go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
			return "http://" + address
		}
	}
	t.Fatalf("Alertmanager ended without saying where it listens:\n%s", said.String())
	return ""
}

func fire(t *testing.T, alertmanager string, alerts ...map[string]string) {
	t.Helper()
	var all []map[string]any
	for _, labels := range alerts {
		all = append(all, map[string]any{"labels": labels})
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, alertmanager+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("Alertmanager does not take alerts: %s", response.Status)
	}
}

// inhibited are the alerts that another one silences, by name and tier with the SLO.
func inhibited(t *testing.T, alertmanager string) []string {
	t.Helper()
	var alerts []struct {
		Labels map[string]string
		Status struct{ InhibitedBy []string }
	}
	if err := json.Unmarshal(get(t, alertmanager+"/api/v2/alerts"), &alerts); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range alerts {
		if len(a.Status.InhibitedBy) > 0 {
			names = append(names, a.Labels["alertname"]+a.Labels["tier"]+a.Labels["sloth_id"])
		}
	}
	return sorted(names)
}

// A real Alertmanager tells the gatekeeper of what is critical, with the token, and silences what follows from it.
func TestThePageReachesTheGatekeeperAndSilencesTheTickets(t *testing.T) {
	burn := func(slo, tier, severity string) map[string]string {
		return map[string]string{"alertname": "ErrorBudgetBurn", "tier": tier, "severity": severity, "sloth_id": slo, "namespace": "demo", "canary": "podinfo"}
	}
	url, messages := gatekeeperDoor(t)
	alertmanager := startAlertmanager(t, url, "token-of-the-role-alerts")
	fire(
		t, alertmanager,
		burn("a", "page-quick", "critical"), burn("a", "page-slow", "critical"), burn("a", "ticket-quick", "warning"), burn("a", "ticket-slow", "warning"),
		burn("b", "ticket-quick", "warning"), burn("b", "ticket-slow", "warning"), burn("c", "ticket-slow", "warning"),
		map[string]string{"alertname": "GatekeeperAbsent", "severity": "warning"}, map[string]string{"alertname": "EvidenceBlind", "severity": "warning"},
		map[string]string{"alertname": "RolloutRolledBack", "severity": "warning"},
	)
	// It waits for nobody: the first message may have one alert alone, and the next both.
	pages := []string{"firing ErrorBudgetBurnpage-quick", "firing ErrorBudgetBurnpage-slow"}
	for deadline, got := time.After(30*time.Second), (told{}); !slices.Equal(got.alerts, pages); {
		select {
		case got = <-messages:
			if got.authorization != "Bearer token-of-the-role-alerts" || !slices.ContainsFunc(pages, func(page string) bool { return slices.Contains(got.alerts, page) }) || len(got.alerts) > 2 {
				t.Fatalf("the gatekeeper is told %+v", got)
			}
		case <-deadline:
			t.Fatalf("at last the gatekeeper is told %+v, want %q", got, pages)
		}
	}
	want := []string{"ErrorBudgetBurnticket-quicka", "ErrorBudgetBurnticket-slowa", "ErrorBudgetBurnticket-slowb", "EvidenceBlind"}
	if got := inhibited(t, alertmanager); !slices.Equal(got, want) {
		t.Errorf("silenced are %q, want %q", got, want)
	}
}
