package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The test binary is the program too, when it is told so: exit codes and signals
// are only real in a process of its own.
const asProgram = "APP_TEST_IS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	m.Run()
}

// buffer collects what a process writes.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// child is the program as a process.
type child struct {
	program
	log *buffer
	cmd *exec.Cmd
}

// spawn runs `app serve` as a process and returns once it says where it listens.
func spawn(t *testing.T, env []string, args ...string) *child {
	t.Helper()
	c := &child{log: &buffer{}, program: program{t: t}}
	c.cmd = exec.CommandContext(t.Context(), os.Args[0], append([]string{"serve", "--listen=127.0.0.1:0"}, args...)...)
	c.cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program listens", func() bool {
		_, rest, _ := strings.Cut(c.log.String(), `"msg":"listening"`)
		_, rest, _ = strings.Cut(rest, `"addr":"`)
		var whole bool
		c.addr, _, whole = strings.Cut(rest, `"`)
		return whole
	})
	c.url = "http://" + c.addr
	return c
}

// end sends SIGTERM and returns the exit code.
func (c *child) end(t *testing.T) int {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return c.code(t)
}

// code waits for the end.
func (c *child) code(t *testing.T) int {
	t.Helper()
	err := c.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func TestACrashPlanEndsTheProcessWithCodeThree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := spawn(t, []string{"APP_CHAOS_TOKEN_FILE=" + file, `CHAOS={"crashAfter":"100ms","ttl":"1m"}`})
	if code := c.code(t); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	lines := strings.Split(strings.TrimSpace(c.log.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"level":"ERROR"`) || !strings.Contains(last, "crash") {
		t.Errorf("the last line is %s", last)
	}
}
