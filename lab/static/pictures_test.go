package static

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The pictures of the dashboards have tests of their own, of Node.js, which draw recorded answers in Chromium.
func TestPicturesAreDrawn(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node.js is not on this machine: ", err)
	}
	folder := filepath.Join(root, "monitoring", "pictures")
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		t.Skip("the packages are not there, npm ci in monitoring/pictures fetches them: ", err)
	}
	cmd := exec.CommandContext(t.Context(), node, "--test")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	}
}
