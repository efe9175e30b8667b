// Package sh runs a program under a context and, when it fails, returns the command to paste and what it printed.
package sh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// grace is how long a program may take to end after it was interrupted; then it is killed.
const grace = 10 * time.Second

// Cmd is one call of a program. The zero value of each field but Name is useful.
type Cmd struct {
	Name string
	Args []string
	Env  []string // KEY=value, beside our own environment
	Dir  string   // "" is our own
}

// Error is a program that failed: the command as one can paste it, and its output. A program that ended by itself is
// an *exec.ExitError inside.
type Error struct {
	Command string
	Output  string // what it printed
	Err     error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("run %s: %v", e.Command, e.Err)
	if out := strings.TrimSpace(e.Output); out != "" {
		text += "\n" + out
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Command makes a Cmd of name and args.
func Command(name string, args ...string) Cmd { return Cmd{Name: name, Args: args} }

// Output runs c to its end and returns its standard output. On failure the *Error holds both outputs.
func (c Cmd) Output(ctx context.Context) (string, error) {
	var out bytes.Buffer
	var both transcript
	err := c.exec(ctx, io.MultiWriter(&out, &both), &both)
	if err != nil {
		return out.String(), &Error{Command: c.String(), Output: both.String(), Err: err}
	}
	return out.String(), nil
}

// transcript is both outputs as they came; os/exec writes them from two goroutines.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// Stream runs c to its end and writes its standard output to out as it comes. On failure the *Error holds the other output.
func (c Cmd) Stream(ctx context.Context, out io.Writer) error {
	var errs transcript
	if err := c.exec(ctx, out, &errs); err != nil {
		return &Error{Command: c.String(), Output: errs.String(), Err: err}
	}
	return nil
}

// ExitCode is that of a program that ended by itself; anything else that went wrong is the error.
func ExitCode(err error) (int, error) {
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Running finds the process of this machine whose command line begins with a program of that name and these words.
func Running(name string, words ...string) (pid int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, fmt.Errorf("look for %s: %w", name, err)
	}
	want := strings.Join(append([]string{name}, words...), "\x00") + "\x00"
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		program, rest, _ := strings.Cut(string(text), "\x00")
		if strings.HasPrefix(filepath.Base(program)+"\x00"+rest, want) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("look for %s %s: it does not run", name, strings.Join(words, " "))
}

// Interrupt asks a process to end, as Ctrl-C does.
func Interrupt(pid int) error {
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(os.Interrupt)
	}
	if err != nil {
		return fmt.Errorf("interrupt process %d: %w", pid, err)
	}
	return nil
}

// Run runs c to its end and keeps its output for the error.
func (c Cmd) Run(ctx context.Context) error {
	_, err := c.Output(ctx)
	return err
}

func (c Cmd) exec(ctx context.Context, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, stdout, stderr
	if len(c.Env) > 0 {
		cmd.Env = append(os.Environ(), c.Env...)
	}
	// Interrupted and not killed: helm then marks its release as failed and not as pending for ever.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// String is the command as one can paste it into a POSIX shell.
func (c Cmd) String() string {
	var words []string
	for _, env := range c.Env {
		key, value, _ := strings.Cut(env, "=")
		words = append(words, key+"="+quote(value))
	}
	words = append(words, quote(c.Name))
	for _, arg := range c.Args {
		words = append(words, quote(arg))
	}
	text := strings.Join(words, " ")
	if c.Dir != "" {
		text = "(cd " + quote(c.Dir) + " && " + text + ")"
	}
	return text
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

func quote(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Need returns an error that names every missing program and where to get it. Programs maps a name to that advice.
func Need(programs map[string]string, names ...string) error {
	var errs []error
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			errs = append(errs, fmt.Errorf("%s is not on the PATH; install it: %s", name, programs[name]))
		}
	}
	return errors.Join(errs...)
}
