package main

import (
	"bytes"
	"errors"
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
	for _, name := range []string{"LAB_ENGINE", "LAB_IMAGE_COMMAND", "LAB_TAG", "LAB_ROOT", "LAB_STATE", "FLAGGER_CHART", "INGRESS_NGINX_CHART"} {
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
	all := map[string]string{"git": "exit 1", "docker": "", "kind": "", "kubectl": "", "helm": ""}
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
		"an engine that is not built yet is refused in clear words": {all, []string{"up", "--engine", "embedded"}, []string{"embedded is not built yet", "kind"}, 2},
		"an engine that does not exist is a wrong call":             {all, []string{"up", "--engine", "minikube"}, []string{"--engine"}, 2},
		"a command that does not exist is a wrong call":             {all, []string{"fly"}, []string{"fly", "lab --help"}, 2},
		"a scenario that does not exist is a wrong call":            {all, []string{"prove", "--engine", "kind", "--only", "9"}, []string{"numbered 1 to 5"}, 2},
		"auto without Docker says what to do":                       {without("docker", "echo no daemon; exit 1"), []string{"up"}, []string{"--engine existing", "no daemon"}, 1},
		"a missing helm is named with where to get it":              {without("helm", ""), []string{"up", "--engine", "kind"}, []string{"helm is not on the PATH", "https://helm.sh"}, 1},
		"kind needs kind": {without("kind", ""), []string{"up", "--engine", "kind"}, []string{"kind is not on the PATH"}, 1},
		"existing needs neither kind nor Docker, but a tag":         {without("kind", ""), []string{"up", "--engine", "existing"}, []string{"--tag"}, 1},
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
