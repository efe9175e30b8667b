package static

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// The version stands in one place; make version writes it into the charts.
func TestEverythingHasTheVersionOfTheFileVERSION(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(text))
	charts, err := filepath.Glob(filepath.Join(root, "helm/*/Chart.yaml"))
	if err != nil || len(charts) < 4 {
		t.Fatalf("charts %v: %v", charts, err)
	}
	for _, file := range charts {
		var chart struct {
			Version      string `yaml:"version"`
			AppVersion   string `yaml:"appVersion"`
			Dependencies []struct {
				Name    string `yaml:"name"`
				Version string `yaml:"version"`
			} `yaml:"dependencies"`
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &chart); err != nil {
			t.Fatal(err)
		}
		if chart.Version != version || chart.AppVersion != version {
			t.Errorf("%s has version %s and appVersion %s, VERSION says %s: make version V=…", file, chart.Version, chart.AppVersion, version)
		}
		for _, dependency := range chart.Dependencies {
			if dependency.Version != version {
				t.Errorf("%s depends on %s %s, VERSION says %s: make version V=…", file, dependency.Name, dependency.Version, version)
			}
		}
	}
	changes, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	if first := regexp.MustCompile(`(?m)^## (\S+)`).FindSubmatch(changes); first == nil || string(first[1]) != version {
		t.Errorf("the first section of CHANGELOG.md is %q, VERSION says %s", first, version)
	}
}
