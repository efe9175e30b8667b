package static

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// runbooks is docs/operations.md, whose sections of the third level are one for each alert.
func runbooks(t *testing.T) string { return read(t, filepath.Join(root, "docs", "operations.md")) }

// shipped are the rules that are applied.
var shipped = filepath.Join(root, "monitoring", "alert_rules.yaml")

// namedRules are the names of what a file of rules records, and the address of each alert's runbook.
func namedRules(t *testing.T, rules string) (records []string, alerts map[string]string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Record, Alert string
				Annotations   map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, rules)), &file); err != nil {
		t.Fatal(err)
	}
	alerts = map[string]string{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				alerts[rule.Alert] = rule.Annotations["runbook_url"]
			} else {
				records = append(records, rule.Record)
			}
		}
	}
	if len(records) == 0 || len(alerts) == 0 {
		t.Fatalf("there are %d records and %d alerts", len(records), len(alerts))
	}
	return records, alerts
}

func TestEveryAlertHasItsRunbook(t *testing.T) {
	_, alerts := namedRules(t, shipped)
	var sections []string
	for _, heading := range regexp.MustCompile(`(?m)^### (\S+)$`).FindAllStringSubmatch(runbooks(t), -1) {
		sections = append(sections, heading[1])
	}
	if got, want := sorted(sections), slices.Sorted(maps.Keys(alerts)); !slices.Equal(got, want) {
		t.Errorf("docs/operations.md has sections for %v, want one for each of %v", got, want)
	}
	for alert, runbook := range alerts {
		page, anchor, _ := strings.Cut(runbook, "#")
		if !strings.HasSuffix(page, "/blob/main/docs/operations.md") || anchor != strings.ToLower(alert) {
			t.Errorf("the runbook of %s is %q", alert, runbook)
		}
	}
}

// With --help behind it a command does nothing, but its name, arguments and flags are read.
func TestTheRunbooksCommandsParse(t *testing.T) {
	gatekeeper, dir := build(t, "gatekeeper"), t.TempDir()
	for _, file := range []string{"FILE", "new.yaml"} { // which some of them name
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sections, _, _ := strings.Cut(runbooks(t), "\n## Install\n") // what is read at night
	commands := regexp.MustCompile("(?m)(?:^|`|/)gatekeeper ([a-z][^`#|\n]*)").FindAllStringSubmatch(sections, -1)
	if len(commands) < 10 {
		t.Fatalf("only %d commands were found", len(commands))
	}
	for _, command := range commands {
		args := append(shellWords(command[1]), "--help")
		help := exec.CommandContext(t.Context(), gatekeeper, args...)
		help.Dir = dir
		if out, err := help.CombinedOutput(); err != nil {
			t.Errorf("gatekeeper %s: %v\n%s", command[1], err, out)
		}
	}
}

// shellWords splits a simple command; a text in double quotes is one word.
func shellWords(command string) []string {
	var words []string
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(command, -1) {
		words = append(words, strings.Trim(word, `"`))
	}
	return words
}

// A page that names a panel names one that is on a dashboard.
func TestTheRunbooksPanelsExist(t *testing.T) {
	titles := regexp.MustCompile(`"title": "([^"]+)"`)
	has := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "monitoring", "grafana_dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are %d dashboards: %v", len(files), err)
	}
	for _, file := range files {
		for _, title := range titles.FindAllStringSubmatch(read(t, file), -1) {
			has[title[1]] = true
		}
	}
	named := regexp.MustCompile(`panels? ((?:\*[^*]+\*(?: \([^)]*\))?(?:,? and |, )?)+)`).FindAllStringSubmatch(runbooks(t), -1)
	if len(named) == 0 {
		t.Fatal("no panel was found")
	}
	for _, list := range named {
		for _, panel := range regexp.MustCompile(`\*([^*]+)\*`).FindAllStringSubmatch(list[1], -1) {
			if !has[panel[1]] {
				t.Errorf("docs/operations.md names the panel %q, which no dashboard has", panel[1])
			}
		}
	}
}

// docs/slo.md has every record and alert, windows apart.
func TestThePageOfObjectivesNamesEveryRule(t *testing.T) {
	records, alerts := namedRules(t, shipped)
	namesAreOn(t, "slo.md", records, alerts)
}

func namesAreOn(t *testing.T, name string, records []string, alerts map[string]string) {
	t.Helper()
	page := read(t, filepath.Join(root, "docs", name))
	window := regexp.MustCompile(`rate\d+[smhd]$`)
	for _, rule := range append(records, slices.Collect(maps.Keys(alerts))...) {
		if !strings.Contains(page, "`"+rule+"`") && !strings.Contains(page, "`"+window.ReplaceAllString(rule, "rate<window>")+"`") {
			t.Errorf("docs/%s does not name %s", name, rule)
		}
	}
}

// Taken back by hand, traffic is back in each rule, also that of users who were bound to the canary by a cookie.
func TestTheRunbookTakesTheTrafficOfEveryRuleBack(t *testing.T) {
	jq, err := exec.LookPath("jq")
	if err != nil {
		t.Skip("needs jq, which the runbook's command runs")
	}
	_, program, _ := strings.Cut(runbooks(t), "get httproute podinfo -o json |\n     jq '")
	program, _, _ = strings.Cut(program, "'")
	command := exec.CommandContext(t.Context(), jq, "-c", program)
	command.Stdin = strings.NewReader(`{"spec":{"rules":[{"backendRefs":[{"name":"podinfo-primary","weight":0},{"name":"podinfo-canary","weight":100}]},
		{"backendRefs":[{"name":"podinfo-canary","weight":40},{"name":"podinfo-primary","weight":60}]},{"backendRefs":[{"name":"other","weight":7}]},{"filters":[]}]}}`)
	out, err := command.CombinedOutput()
	const want = `{"spec":{"rules":[{"backendRefs":[{"name":"podinfo-primary","weight":100},{"name":"podinfo-canary","weight":0}]},` +
		`{"backendRefs":[{"name":"podinfo-canary","weight":0},{"name":"podinfo-primary","weight":100}]},{"backendRefs":[{"name":"other","weight":7}]},{"filters":[]}]}}` + "\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, the rules become\n%s want\n%s", err, out, want)
	}
}
