package static

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Docker is not everywhere; what can go wrong in a Dockerfile of ours is that the build lacks a folder. So the build stage is
// played: its COPY lines into an empty folder, as far as .dockerignore lets them, and the same go build there.
func TestImagesBuildFromWhatTheyCopy(t *testing.T) {
	ignore, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"app", "gatekeeper", "loadgen"} {
		t.Run(program, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, "Dockerfile."+program))
			if err != nil {
				t.Fatal(err)
			}
			image, workdir := t.TempDir(), "/"
			stage, _, _ := strings.Cut(string(text), "\nFROM gcr.io/")
			for line := range strings.Lines(stage) {
				words := strings.Fields(line)
				switch {
				case len(words) > 1 && words[0] == "WORKDIR":
					workdir = words[1]
				case len(words) > 2 && words[0] == "COPY":
					to := words[len(words)-1]
					if !path.IsAbs(to) {
						to = path.Join(workdir, to)
					}
					for _, from := range words[1 : len(words)-1] {
						folder, _, _ := strings.Cut(from, "/")
						if !slices.Contains(strings.Fields(string(ignore)), "!"+folder+"/") {
							t.Errorf("%s is copied, and .dockerignore keeps it from the builder", from)
						}
						give(t, from, filepath.Join(image, to))
					}
				}
			}
			build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(image, "program"), ".")
			build.Dir = filepath.Join(image, workdir)
			build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
			if out, err := build.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// give copies a file, or what is in a folder and no test, into the folder to.
func give(t *testing.T, from, to string) {
	t.Helper()
	source := filepath.Join(root, from)
	err := filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "build"):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		name, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		if name == "." { // a single file
			name = entry.Name()
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
