package sh

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	for name, c := range map[string]struct {
		cmd  Cmd
		want string
	}{
		"standard output only, without what goes to standard error": {Command("sh", "-c", "echo out; echo err >&2"), "out\n"},
		"the environment given is added to ours":                    {Cmd{Name: "sh", Args: []string{"-c", `echo "$PATH" | wc -l; echo $A`}, Env: []string{"A=b c"}}, "1\nb c\n"},
		"the folder given is where it runs":                         {Cmd{Name: "pwd", Dir: "/"}, "/\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.cmd.Output(t.Context())
			if err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestFailureExplainsItself(t *testing.T) {
	cmd := Cmd{Name: "sh", Args: []string{"-c", "echo it broke >&2; exit 3"}, Env: []string{"TAR=a b.tar"}}
	err := cmd.Run(t.Context())
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %T, want *Error", err)
	}
	if want := `TAR='a b.tar' sh -c 'echo it broke >&2; exit 3'`; failed.Command != want {
		t.Errorf("command is %s, want %s", failed.Command, want)
	}
	if n := strings.Count(err.Error(), "\nit broke"); n != 1 {
		t.Errorf("output must stand in the error once, on a line of its own, not %d times: %s", n, err)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit code must be found inside, got %v", err)
	}
}

func TestContextInterrupts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := Command("sleep", "60").Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s to end", took)
	}
}

func TestString(t *testing.T) {
	for name, c := range map[string]struct {
		cmd  Cmd
		want string
	}{
		"plain words stay plain":              {Command("kubectl", "get", "ns/demo"), "kubectl get ns/demo"},
		"spaces and dollars are quoted":       {Command("sh", "-c", "echo $A"), "sh -c 'echo $A'"},
		"a quote inside quotes survives":      {Command("echo", "it's"), `echo 'it'\''s'`},
		"an empty word is still a word":       {Command("echo", ""), "echo ''"},
		"a folder becomes a subshell":         {Cmd{Name: "go", Args: []string{"build"}, Dir: "app"}, "(cd app && go build)"},
		"only the value of a variable quoted": {Cmd{Name: "env", Env: []string{"A=b c"}}, "A='b c' env"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.cmd.String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestNeed(t *testing.T) {
	advice := map[string]string{"no-such-program": "https://example.org", "no-other-program": "a package"}
	if err := Need(advice, "sh"); err != nil {
		t.Errorf("sh is there: %v", err)
	}
	err := Need(advice, "sh", "no-such-program", "no-other-program")
	for _, want := range []string{"no-such-program", "https://example.org", "no-other-program", "a package"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error must name %q: %v", want, err)
		}
	}
}

func TestAProgramIsFoundAndInterrupted(t *testing.T) {
	ended := make(chan error, 1)
	var out strings.Builder
	go func() { ended <- Command("sleep", "1234.5").Stream(t.Context(), &out) }()
	pid, err := 0, error(nil)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if pid, err = Running("sleep", "1234.5"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Interrupt(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := ExitCode(<-ended); err == nil {
		t.Error("one that was interrupted has an exit code")
	}
	if _, err := Running("sleep", "1234.5"); err == nil {
		t.Error("it still runs")
	}
	if code, err := ExitCode(Command("sh", "-c", "exit 7").Run(t.Context())); code != 7 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}
