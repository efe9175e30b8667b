package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReportCommand(t *testing.T) {
	door := http.NewServeMux()
	door.HandleFunc("GET /api/v1/rollouts", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("canary") == "demo/podinfo" && r.FormValue("limit") == "2" {
			fmt.Fprint(w, `{"rollouts":[{"id":"new"},{"id":"old"}],"total":7}`)
			return
		}
		fmt.Fprint(w, `{"rollouts":[],"total":0}`)
	})
	door.HandleFunc("GET /api/v1/rollouts/{id}/{part}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "nobody" {
			http.Error(w, `{"error":"rollout not found"}`, http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "%s of %s\n", r.PathValue("part"), r.PathValue("id"))
	})
	server := httptest.NewServer(door)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "report.md")
	for args, want := range map[string]string{
		"old":                            "report.md of old\n",
		"old --output json":              "tape of old\n",
		"old --output svg":               "chart.svg of old\n",
		"../x":                           "report.md of ../x\n",
		"--canary demo/podinfo --last 2": "report.md of old\n\nreport.md of new\n",
	} {
		out := &strings.Builder{}
		if err := run(t.Context(), append([]string{"report", "--server", server.URL}, strings.Fields(args)...), out, out); err != nil || out.String() != want {
			t.Errorf("%s: %v: %q, want %q", args, err, out, want)
		}
	}
	out := &strings.Builder{}
	if err := run(t.Context(), []string{"report", "old", "--server", server.URL, "--file", file}, out, out); err != nil || out.String() != "" {
		t.Errorf("to a file: %v: %q", err, out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "report.md of old\n" {
		t.Errorf("the file has %q: %v", text, err)
	}
	for args, want := range map[string]string{
		"":                               "name one rollout",
		"old --canary demo/podinfo":      "name one rollout",
		"nobody":                         "rollout not found",
		"--canary demo/other":            "has had no rollout",
		"--canary demo/podinfo --last 0": "from 1 to 100",
		"--canary demo/podinfo --last 2 --output svg": "one at a time",
	} {
		if err := run(t.Context(), append([]string{"report", "--server", server.URL}, strings.Fields(args)...), out, out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
