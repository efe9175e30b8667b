package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestTheRulesAreMadeFromTheirSource(t *testing.T) {
	if err := run(t.Context(), []string{"rules", "--check"}, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestACheckSaysWhichFileDiffersAndWritesNothing(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "operator"), 0o755); err != nil {
		t.Fatal(err)
	}
	generate := func(args ...string) error {
		return run(t.Context(), append([]string{"rules", "--folder", folder}, args...), io.Discard, io.Discard)
	}
	if err := generate("--check"); err == nil || strings.Count(err.Error(), "make rules") != 2 {
		t.Errorf("without files a check says %v", err)
	}
	if err := generate(); err != nil {
		t.Fatal(err)
	}
	if err := generate("--check"); err != nil {
		t.Errorf("what was just made is said to differ: %v", err)
	}
	file := filepath.Join(folder, "alert_rules.yaml")
	if err := os.WriteFile(file, []byte("groups: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := generate("--check"); err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "prometheusrule") {
		t.Errorf("a check of a changed file says %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "groups: []\n" {
		t.Errorf("the check wrote %q, %v", text, err)
	}
}

type file struct {
	Groups []struct {
		Name, Interval string
		Rules          []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	Labels              map[string]string
}

func parse(t *testing.T, text []byte) file {
	t.Helper()
	var parsed file
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parseFile(t *testing.T, name string) file {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func (f file) records() map[string]rule {
	all := map[string]rule{}
	for _, group := range f.Groups {
		for _, r := range group.Rules {
			if r.Record != "" {
				all[group.Name+"/"+r.Record] = r
			}
		}
	}
	return all
}

// What reads Sloth's records finds ours: the same groups, names and labels. Only the labels that say who made them and
// from what have other values.
func TestTheRecordsAreNamedAsSlothsAre(t *testing.T) {
	ours, sloths := demoRules(t), parseFile(t, filepath.Join("testdata", "sloth.yaml"))
	origin := []string{"sloth_mode", "sloth_spec", "sloth_version"}
	if n := len(sloths.records()); n != 15 {
		t.Fatalf("Sloth has %d records", n)
	}
	for name, theirs := range sloths.records() {
		our, there := ours.records()[name]
		if !there {
			t.Errorf("there is no %s", name)
			continue
		}
		if got, want := slices.Sorted(maps.Keys(our.Labels)), slices.Sorted(maps.Keys(theirs.Labels)); !slices.Equal(got, want) {
			t.Errorf("%s has the labels %v, Sloth's %v", name, got, want)
		}
		for label, want := range theirs.Labels {
			if got := our.Labels[label]; got != want && !slices.Contains(origin, label) {
				t.Errorf("%s has %s=%q, Sloth's %q", name, label, got, want)
			}
		}
	}
	for i, group := range sloths.Groups {
		if ours.Groups[i].Name != group.Name {
			t.Errorf("group %d is %s, Sloth's %s", i, ours.Groups[i].Name, group.Name)
		}
	}
	// Sloth has one alert for the two tiers of a kind; ours share its name and tell the tiers apart.
	alerts := sloths.Groups[2].Rules
	for i, our := range ours.Groups[2].Rules[:4] {
		theirs := alerts[i/2]
		if our.Alert != theirs.Alert || our.Labels["severity"] != theirs.Labels["severity"] || our.Labels["sloth_severity"] != theirs.Labels["sloth_severity"] {
			t.Errorf("alert %d is %s %v, Sloth's %s %v", i, our.Alert, our.Labels, theirs.Alert, theirs.Labels)
		}
		for _, window := range []string{our.Labels["long"], our.Labels["short"]} {
			if !strings.Contains(theirs.Expr, "ratio_rate"+window+"{") {
				t.Errorf("Sloth's %s has no window of %s", theirs.Labels["sloth_severity"], window)
			}
		}
	}
}

// Compiling Sloth takes minutes, so what it gave is kept; SLOTH=<its program> compares, SLOTH_UPDATE=1 beside it keeps anew.
func TestSlothStillGivesWhatIsKept(t *testing.T) {
	program := os.Getenv("SLOTH")
	if program == "" {
		t.Skip("SLOTH is not set to the program that go install github.com/slok/sloth/cmd/sloth@v0.16.0 makes")
	}
	kept := filepath.Join("testdata", "sloth.yaml")
	got, err := exec.CommandContext(t.Context(), program, "generate", "--no-log", "-i", filepath.Join("testdata", "sloth-spec.yaml")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SLOTH_UPDATE") != "" {
		if err := os.WriteFile(kept, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, want) {
		t.Errorf("Sloth gives something else, %v", err)
	}
}

func TestProofsHaveShorterWindowsUnderTheirRealNames(t *testing.T) {
	var printed bytes.Buffer
	folder := t.TempDir() // nothing may be written, so that there is no folder operator does not matter
	accelerate := func(n string, more ...string) error {
		args := append([]string{"rules", "--slo", demo, "--folder", folder, "--accelerate=" + n}, more...)
		return run(t.Context(), args, &printed, io.Discard)
	}
	if err := accelerate("30"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("%d files were written, %v", len(entries), err)
	}
	quick, ours := parse(t, printed.Bytes()), demoRules(t)
	if quick.Groups[0].Interval != "5s" {
		t.Errorf("the objectives are evaluated every %s", quick.Groups[0].Interval)
	}
	for i, group := range ours.Groups {
		for j, want := range group.Rules {
			got := quick.Groups[i].Rules[j]
			if got.Record != want.Record || got.Alert != want.Alert || !maps.Equal(got.Labels, want.Labels) {
				t.Errorf("%s%s is %s%s %v", want.Record, want.Alert, got.Record, got.Alert, got.Labels)
			}
		}
	}
	group := quick.Groups[0].Name + "/"
	for record, want := range map[string]string{
		"slo:sli_total:rate": "[10s]", "slo:sli_total:rate5m": "[10s]", "slo:sli_total:rate1h": "[2m]", "slo:sli_error:ratio_rate1d": "[48m]",
		"slo:sli_error:ratio_rate30d": "[1d]", "slo:sli_total:rate1d": "* 5 / 2880",
	} {
		if got := quick.records()[group+record].Expr; !strings.Contains(got, want) {
			t.Errorf("%s is %s, want %s in it", record, got, want)
		}
	}
	if got := quick.Groups[2].Rules[0].Expr; !strings.Contains(got, "* 120 >= 200") {
		t.Errorf("the guard of the quick page is in %s", got)
	}
	// To a file they go as a whole. 31 times shorter, 5 minutes would not have two scrapes: what was there stays.
	file := filepath.Join(folder, "rules.yaml")
	if err := accelerate("30", "--out", file); err != nil {
		t.Error(err)
	}
	for _, n := range []string{"31", "0", "-1"} {
		if err := accelerate(n, "--out", file); err == nil {
			t.Errorf("--accelerate %s --out is taken", n)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !bytes.Equal(text, printed.Bytes()) {
		t.Errorf("the file has not what is printed: %v\n%s", err, text)
	}
}

// demo is the demo's objective, which stays as it is when slo.yaml gets other services, periods and scrapes.
var demo = filepath.Join("tests", "slo.yaml")

func demoRules(t *testing.T) file {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "operator"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"rules", "--slo", demo, "--folder", folder}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return parseFile(t, filepath.Join(folder, "alert_rules.yaml"))
}
