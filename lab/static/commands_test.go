package static

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/recipe"
)

// Which commands of documents are run, and that all name what there is. make provedocs runs them.
func TestCommandsInDocumentsNameWhatThereIs(t *testing.T) {
	targets := makeTargets(t)
	helps := map[string]func([]string) (string, error){}
	for _, program := range []string{"gatekeeper", "lab", "loadgen"} {
		helps[program] = helper(t, build(t, program))
	}
	for name := range books(t) {
		source, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := recipe.Blocks(source)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, b := range blocks {
			commands, err := recipe.Commands(b.Text)
			if err != nil {
				t.Errorf("%s:%d: %v", name, b.Line, err)
			}
			for _, c := range commands {
				if unknown := unknown(t, c, targets, helps); len(unknown) > 0 {
					t.Errorf("%s:%d: %s does not have %q", name, b.Line+c.Line-1, c.Name, unknown)
				}
			}
		}
		for _, span := range recipe.Spans(source) {
			commands, err := recipe.Commands(span)
			if err != nil || len(commands) == 0 || commands[0].Name == span {
				continue // words, not a command
			}
			if unknown := unknown(t, commands[0], targets, helps); len(unknown) > 0 {
				t.Errorf("%s: in `%s` %s does not have %q", name, span, commands[0].Name, unknown)
			}
		}
	}
}

// helper asks a program for its help, once for each subcommand.
func helper(t *testing.T, program string) func([]string) (string, error) {
	known := map[string]string{}
	return func(sub []string) (string, error) {
		key := strings.Join(sub, " ")
		if text, is := known[key]; is {
			return text, nil
		}
		out, err := exec.CommandContext(t.Context(), program, append(slices.Clone(sub), "--help")...).CombinedOutput()
		known[key] = string(out)
		return known[key], err
	}
}

func makeTargets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, found[1])
	}
	return all
}

// unknown is what a command names that its program does not have; nothing for programs that are not ours.
func unknown(t *testing.T, c recipe.Command, targets []string, helps map[string]func([]string) (string, error)) []string {
	t.Helper()
	if c.Name == "make" {
		return slices.DeleteFunc(slices.Clone(c.Args), func(arg string) bool {
			return strings.Contains(arg, "=") || strings.HasPrefix(arg, "-") || slices.Contains(targets, arg)
		})
	}
	help, ours := helps[c.Name]
	if !ours {
		return nil
	}
	missing, err := recipe.Unknown(c.Args, help)
	if err != nil {
		t.Fatalf("ask %s for its help: %v", c.Name, err)
	}
	return missing
}
