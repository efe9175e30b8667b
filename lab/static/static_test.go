// Package static proves, without a cluster, that files of different folders agree with each other.
package static

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
)

// root is the repository.
const root = "../.."

// build makes the program of a module as it ships and returns its path.
func build(t *testing.T, module string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), module)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = filepath.Join(root, module)
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", module, err, out)
	}
	return binary
}

// startApp starts the app with more environment. It returns its base URL.
func startApp(t *testing.T, env ...string) string {
	t.Helper()
	app := exec.CommandContext(t.Context(), build(t, "app"), "serve")
	app.Env = append(os.Environ(), "APP_LISTEN=127.0.0.1:0", "REVISION=r1")
	app.Env = append(app.Env, env...)
	log, err := app.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Start(); err != nil {
		t.Fatalf("start app: %v", err)
	}
	t.Cleanup(func() {
		_ = app.Process.Kill()
		_ = app.Wait() // killed, so always an error
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
			return "http://" + line.Addr
		}
	}
	t.Fatal("the app ended without saying where it listens")
	return ""
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, response.Status, err)
	}
	return body
}

// documents reads all YAML documents in text.
func documents(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var docs []map[string]any
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc map[string]any
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatal(err)
		}
		if doc != nil {
			docs = append(docs, doc)
		}
	}
}

// render is a chart's objects, by kind, without its tests.
func render(t *testing.T, release chart.Release) map[string][]map[string]any {
	t.Helper()
	release.Name = release.Chart
	if release.Chart == "podinfo-like" {
		release.Name = "podinfo"
	}
	release.Chart = filepath.Join(root, "helm", release.Chart)
	rendered, err := chart.Render(release)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]map[string]any{}
	for _, doc := range documents(t, rendered.Objects) {
		kind, _ := doc["kind"].(string)
		kinds[kind] = append(kinds[kind], doc)
	}
	return kinds
}

// dig follows keys and list indexes into a document; it fails the test where they lead nowhere.
func dig[T any](t *testing.T, doc any, path ...any) T {
	t.Helper()
	at := doc
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := at.(map[string]any)
			at = m[key]
		case int:
			list, _ := at.([]any)
			if key >= len(list) {
				t.Fatalf("there is no %v in the document", path)
			}
			at = list[key]
		}
	}
	value, ok := at.(T)
	if !ok {
		t.Fatalf("%v is %T, not %T", path, at, value)
	}
	return value
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
