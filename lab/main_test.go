package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs the program with a PATH of stubs only: programs that are not among them are missing.
func call(t *testing.T, stubs map[string]string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, body := range stubs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for _, name := range []string{"LAB_ENGINE", "LAB_IMAGE_COMMAND", "LAB_TAG", "LAB_ROOT", "LAB_STATE", "LAB_CACHE", "FLAGGER_CHART", "INGRESS_NGINX_CHART"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), append(args, "--root", "..", "--state", filepath.Join(dir, "state")), &stdout, &stderr)
	return stdout.String(), err
}

func TestCalls(t *testing.T) {
	all := map[string]string{"git": "exit 1", "docker": "", "kind": "", "helm": ""}
	without := func(name, body string) map[string]string {
		some := map[string]string{}
		for k, v := range all {
			some[k] = v
		}
		delete(some, name)
		if body != "" {
			some[name] = body
		}
		return some
	}
	for name, c := range map[string]struct {
		stubs map[string]string
		args  []string
		fail  []string
		code  int
	}{
		"embedded builds programs, so it needs Go":         {all, []string{"up", "--engine", "embedded"}, []string{"go is not on the PATH", "https://go.dev"}, 1},
		"an engine that does not exist is a wrong call":    {all, []string{"up", "--engine", "minikube"}, []string{"--engine"}, 2},
		"a command that does not exist is a wrong call":    {all, []string{"fly"}, []string{"fly", "lab --help"}, 2},
		"a scenario that does not exist is a wrong call":   {all, []string{"prove", "--engine", "kind", "--only", "12"}, []string{"numbered 1 to 11"}, 2},
		"the embedded engine has no Gateway":               {all, []string{"prove", "--engine", "embedded", "--provider", "gatewayapi:v1"}, []string{"the embedded engine has NGINX alone"}, 2},
		"auto without Docker means embedded":               {without("docker", "echo no daemon; exit 1"), []string{"up"}, []string{"go is not on the PATH"}, 1},
		"auto with Docker but without kind means embedded": {without("kind", ""), []string{"up"}, []string{"go is not on the PATH"}, 1},
		"a missing helm is named with where to get it":     {without("helm", ""), []string{"up", "--engine", "kind"}, []string{"helm is not on the PATH", "https://helm.sh"}, 1},
		"kind needs kind": {without("kind", ""), []string{"up", "--engine", "kind"}, []string{"kind is not on the PATH"}, 1},
		"existing needs neither kind nor Docker, but a tag":         {without("kind", ""), []string{"up", "--engine", "existing", "--kubeconfig", answering(t)}, []string{"--tag"}, 1},
		"existing with an image command needs Go to build binaries": {all, []string{"up", "--engine", "existing", "--image-command", "true"}, []string{"go is not on the PATH"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, c.stubs, c.args...)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range c.fail {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error has no %q: %v", want, err)
				}
			}
			if got := exitCode(err); got != c.code {
				t.Errorf("exit code is %d, want %d", got, c.code)
			}
		})
	}
}

// answering is a kubeconfig for something that says of itself that it is ready.
func answering(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: "%s"}}], contexts: [{name: x, context: {cluster: x}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAutoSaysWhichEngineItTakes(t *testing.T) {
	for name, c := range map[string]struct {
		docker, want string
	}{
		"kind where Docker answers":  {"exit 0", "engine: kind"},
		"embedded where it does not": {"exit 1", "engine: embedded, because no Docker answers"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := call(t, map[string]string{"git": "exit 1", "docker": c.docker, "kind": "exit 1", "helm": ""}, "up")
			if err == nil || !strings.Contains(out, c.want) {
				t.Errorf("got %v, printed %q, want %q", err, out, c.want)
			}
		})
	}
}

func TestOtherFoldersAreRefused(t *testing.T) {
	t.Setenv("LAB_ROOT", t.TempDir())
	err := run(t.Context(), []string{"down"}, &bytes.Buffer{}, &bytes.Buffer{})
	if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "--root") {
		t.Errorf("got %v", err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	if out, err := call(t, nil, "version"); err != nil || out != "lab dev (none)\n" {
		t.Errorf("got %q, %v", out, err)
	}
	out, err := call(t, nil, "--help")
	for _, want := range []string{"up ", "demo ", "prove ", "logs ", "down ", "--image-command", "$FLAGGER_CHART"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("help has no %q: %v\n%s", want, err, out)
		}
	}
}

func TestViewsAreForPeopleAndWhereImagesCanBePulled(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		command, engine string
		asked           *bool
		want            bool
	}{
		{"up", "kind", nil, true},
		{"demo", "kind", nil, true},
		{"demo", "kind", &no, false},
		{"prove", "kind", &yes, false}, // nobody looks, and the proof wants the spans itself
		{"up", "existing", nil, false},
		{"up", "existing", &yes, true},
		{"up", "embedded", &yes, false},
	} {
		if got := (&cli{Views: c.asked}).views(c.command, c.engine); got != c.want {
			t.Errorf("%+v: views are %v", c, got)
		}
	}
}
