package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDashboardsAreWhatTheCodeMakes(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"dashboards", "--check"}, &out, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
}

func TestCheckSaysWhichDashboardDiffers(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"dashboards", "--dir", dir}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"dashboards", "--check", "--dir", dir}, &out, &out); err != nil {
		t.Errorf("what was just written differs: %v", err)
	}
	file := filepath.Join(dir, "slo.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, ' '), 0o600); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), []string{"dashboards", "--check", "--dir", dir}, &out, &out)
	if err == nil || !strings.Contains(out.String(), file) || strings.Contains(out.String(), "service.json") {
		t.Errorf("got %v and %q, want an error that names slo.json alone", err, out.String())
	}
}

func TestThePageExplainsEveryPanel(t *testing.T) {
	page, err := os.ReadFile("../docs/dashboards.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("grafana_dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("found %v, %v; want three dashboards", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct{ Panels []struct{ Title string } }
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		for _, panel := range board.Panels {
			if !bytes.Contains(page, []byte(panel.Title)) {
				t.Errorf("docs/dashboards.md does not explain %q of %s", panel.Title, file)
			}
		}
	}
}
