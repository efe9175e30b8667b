package recipe

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fence stands for three backticks, which a Go string in backticks can not have.
func document(lines ...string) []byte {
	return []byte(strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "'''", "```"))
}

func TestBlocks(t *testing.T) {
	got, err := Blocks(document(
		"# One", "", "<!-- run: repo -->", "'''sh", "make build", "'''", "",
		"## Two", "", "<!-- run: cluster; exit 2 -->", "'''sh", "false", "'''", "",
		"1. In a list:", "", "   <!-- not run: needs Docker -->", "   '''sh", "   docker info", "   '''", "", "'''yaml", "a: make", "'''",
	))
	want := []Block{
		{Line: 5, Heading: "One", Text: "make build\n", Env: "repo"},
		{Line: 12, Heading: "Two", Text: "false\n", Env: "cluster", Exit: 2},
		{Line: 19, Heading: "Two", Text: "docker info\n", Reason: "needs Docker"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("blocks are %+v, %v\nwant %+v", got, err, want)
	}
}

func TestBlocksWithoutAMark(t *testing.T) {
	for name, lines := range map[string][]string{
		"no comment":                        {"'''sh", "make", "'''"},
		"another comment":                   {"<!-- run on repo -->", "'''sh", "make", "'''"},
		"a mark that is not the one before": {"<!-- run: repo -->", "", "text", "", "'''sh", "make", "'''"},
		"no reason":                         {"<!-- not run:  -->", "'''sh", "make", "'''"},
		"another language":                  {"<!-- run: repo -->", "'''console", "$ make", "'''"},
		"no language":                       {"'''", "kubectl get pods", "'''"},
	} {
		if _, err := Blocks(document(lines...)); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v, want a fault with its line", name, err)
		}
	}
	if _, err := Blocks(document("'''", "weight 10 %", "'''")); err != nil {
		t.Errorf("output without a language: %v", err)
	}
}

// The script is run, for what Bash makes of it counts.
func TestScript(t *testing.T) {
	for name, test := range map[string]struct {
		blocks []Block
		events string
		fails  bool
	}{
		"variables last from block to block": {[]Block{{Env: "x", Text: "a=1\n"}, {Env: "x", Text: "[ $a = 1 ]\n"}}, "begin 0 end 0 begin 1 end 1", false},
		"other environments are left out":    {[]Block{{Env: "y", Text: "false\n"}, {Reason: "no", Text: "false\n"}, {Env: "x", Text: "true\n"}}, "begin 2 end 2", false},
		"the first failure ends it":          {[]Block{{Env: "x", Text: "false\ntrue\n"}, {Env: "x", Text: "true\n"}}, "begin 0", true},
		"an exit code that is wanted":        {[]Block{{Env: "x", Exit: 2, Text: "false\nbash -c 'exit 2'\n"}, {Env: "x", Text: "true\n"}}, "begin 0 end 0 begin 1 end 1", false},
		"and one that does not come":         {[]Block{{Env: "x", Exit: 2, Text: "true\n"}}, "begin 0", true},
		"a port is waited for":               {[]Block{{Env: "x", Text: "true service port-forward svc/a 8081:people &\n"}}, "begin 0 await 8081 end 0", false},
		"a variable that is not set":         {[]Block{{Env: "x", Text: "echo \"$ROLLOUT_OF_NOBODY\"\n"}}, "begin 0", true},
	} {
		t.Run(name, func(t *testing.T) {
			events := filepath.Join(t.TempDir(), "events")
			script := "set -euo pipefail\nexec 3>" + events + "\nawait() { echo await $1 >&3; }\n(\n" + Script(test.blocks, "x") + ")\n"
			out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
			if (err != nil) != test.fails {
				t.Errorf("it ended with %v:\n%s", err, out)
			}
			text, err := os.ReadFile(events)
			if got := strings.Join(strings.Fields(string(text)), " "); err != nil || got != test.events {
				t.Errorf("events are %q, %v, want %q", got, err, test.events)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	got, err := Commands("a=$(build/lab version)\nloadgen run --rate 5 \\\n  \"http://x/\" | tee out # make nothing\n{ make build; } && echo done\n")
	var said []string
	for _, c := range got {
		said = append(said, c.Name+" "+strings.Join(c.Args, " "))
	}
	want := []string{"lab version", "loadgen run --rate 5 http://x/", "tee out", "make build", "echo done"}
	if err != nil || !slices.Equal(said, want) {
		t.Errorf("commands are %q, %v, want %q", said, err, want)
	}
	if _, err := Commands("helm upgrade <the one>\n"); err == nil {
		t.Error("a placeholder in angles is a redirection from nowhere, and passes")
	}
}

func TestUnknown(t *testing.T) {
	help := func(sub []string) (string, error) {
		return map[string]string{
			"":             "Usage: gatekeeper <command>\n\nFlags:\n  -h, --help    Show.\n\nCommands:\n  wait [flags]\n    Waits.\n  policy check <file> [flags]\n",
			"wait":         "Flags:\n  -n, --namespace=STRING    Where.\n      --[no-]settle         Or not.\n      --rate=50             Of --all.\n",
			"policy":       "Commands:\n  policy check <file>\n",
			"policy check": "Flags:\n      --output=\"text\"    How.\n",
		}[strings.Join(sub, " ")], nil
	}
	for line, want := range map[string][]string{
		"wait -n demo --rate 5 --no-settle": nil,
		"wait --rate=5 --all":               {"--all"},
		"weit --rate 5":                     {"weit"},
		"policy check FILE --output json":   nil,
		"--help":                            nil,
	} {
		if got, err := Unknown(strings.Fields(line), help); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %q %q are unknown, %v, want %q", line, got, err, want)
		}
	}
}
