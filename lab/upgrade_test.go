package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpgradeNeedsTheFirstVersionAndACluster(t *testing.T) {
	shallow := map[string]string{"git": "exit 1", "helm": ""}
	text, err := call(t, shallow, "upgrade", "--engine", "existing", "--tag", "1")
	if err != nil || !strings.Contains(text, "SKIPPED: version 0.1.0 is commit ") || !strings.Contains(text, "git fetch --unshallow") {
		t.Errorf("a shallow clone: %q %v", text, err)
	}
	if _, err := call(t, shallow, "upgrade", "--engine", "embedded"); exitCode(err) != 2 || !strings.Contains(err.Error(), "--engine kind or existing") {
		t.Errorf("without a cluster: %v", err)
	}
}

func TestFirstRelease(t *testing.T) {
	for text, want := range map[string]string{
		"# Changes\n\n## 0.2.0 (commit 89abcde)\n\n- a\n\n## 0.1.0 (commit 0123abc)\n\nThe first.\n": "0.1.0 0123abc",
		"## 0.3.0\n\n## 0.1.0 - 2026-11-23 (commit 0123abc)\n":                                       "0.1.0 0123abc",
		"## 0.2.0\n\n- 0.1.0 (commit 0123abc)\n":                                                     " ",
	} {
		file := filepath.Join(t.TempDir(), "CHANGELOG.md")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		version, commit, err := firstRelease(file)
		if got := version + " " + commit; got != want || (err == nil) != (want != " ") {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
