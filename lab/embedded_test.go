package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
)

// program is lab as it ships, with its own state and a port of its own; what is fetched and built once is shared with
// the repository's.
type program struct {
	binary, state string
	port          int
}

func build(t *testing.T) program {
	t.Helper()
	if testing.Short() {
		t.Skip("brings the whole engine up, which takes minutes: left out with -short")
	}
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("needs ps, which is not on the PATH here, to see that nothing is left")
	}
	p := program{binary: filepath.Join(t.TempDir(), "lab"), state: t.TempDir(), port: freePort(t)}
	// As `make lab` builds it: the race detector would slow down what is proved.
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", p.binary, ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build lab: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		nothingIsLeft(t, p.state)
		p.portIsFree(t)
	})
	return p
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// command is a call of lab that ends with the test at the latest, as by Ctrl-C.
func (p program) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append(args, "--engine", "embedded", "--root", "..", "--state", p.state, "--port", strconv.Itoa(p.port))
	c := exec.CommandContext(ctx, p.binary, args...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 30 * time.Second
	return c
}

// start starts a command of lab and returns when it has printed a text or has ended.
func (p program) start(t *testing.T, command, until string) (*exec.Cmd, *output, <-chan error) {
	t.Helper()
	out := &output{t: t.Output()}
	c := p.command(t.Context(), command)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	eventually(t, 10*time.Minute, until, func() bool { return out.has(until) || len(ended) > 0 })
	return c, out, ended
}

// nothingIsLeft looks for processes that know the state folder: each one that lab starts has it in its environment or
// its arguments.
func nothingIsLeft(t *testing.T, state string) {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), "ps", "axeww", "-o", "pid=,command=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, state) && !strings.Contains(line, "ps axeww") {
			t.Errorf("still running: %.300s", line)
		}
	}
}

// portIsFree reports a process that has overwritten its own title and environment, as NGINX' workers do.
func (p program) portIsFree(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	if err != nil {
		t.Errorf("the users' port is still taken: %v", err)
		return
	}
	if err := listener.Close(); err != nil {
		t.Errorf("the users' port: %v", err)
	}
}

// The gatekeeper and Flagger's real state machine: three releases, each on its whole course, which `lab prove` compares
// with the course on other engines. Flagger's requests are compared with those that the gatekeeper's own tests decode.
func TestReleasesTakeTheSameCourseAsOnACluster(t *testing.T) {
	p := build(t)
	captured := filepath.Join(t.TempDir(), "captured")
	var stdout bytes.Buffer
	c := p.command(t.Context(), "prove", "--only", "1,2,3", "--output", "json", "--capture", captured)
	c.Stdout, c.Stderr = &stdout, t.Output()
	err := c.Run()
	var outcome drill.Outcome
	if decodeErr := json.Unmarshal(stdout.Bytes(), &outcome); decodeErr != nil {
		t.Fatalf("lab prove: %v, %v", err, decodeErr)
	}
	for _, r := range outcome.Scenarios {
		t.Log(r)
		if !r.OK {
			t.Errorf("scenario %d missed:\n%s", r.Number, strings.Join(r.Misses, "\n"))
		}
	}
	if err != nil || len(outcome.Scenarios) != 3 {
		t.Errorf("lab prove ran %d scenarios: %v", len(outcome.Scenarios), err)
	}
	got, golden := requests(t, filepath.Join(captured, "hooks.json")), requests(t, "../gatekeeper/internal/flagger/testdata/hooks.json")
	if len(golden) != 8 {
		t.Errorf("there are golden requests of %d hooks, want 8", len(golden))
	}
	for hook, want := range golden {
		if !reflect.DeepEqual(got[hook], want) {
			t.Errorf("Flagger's %s request has changed (make golden):\ngot  %+v\nwant %+v", hook, got[hook], want)
		}
	}
}

func requests(t *testing.T, file string) map[string]drill.Request {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []drill.Request
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	byHook := map[string]drill.Request{}
	for _, r := range list {
		byHook[r.Hook] = r
	}
	return byHook
}

// output hands on what a program prints, and lets a test wait for a line.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	t    io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	return o.t.Write(p)
}

func (o *output) has(text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.text.String(), text)
}

func eventually(t *testing.T, patience time.Duration, what string, yes func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !yes() {
		if time.Now().After(deadline) {
			t.Fatalf("not seen within %s: %s", patience, what)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// children are the processes that lab has started, by program, from the pods' environment.
func (p program) children(t *testing.T) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	out, err := exec.CommandContext(t.Context(), "ps", "axeww", "-o", "pid=,command=").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || !strings.Contains(lines.Text(), p.state) {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(fields[1])
		if fields[1] == "nginx:" {
			name = "nginx " + fields[2]
		}
		found[name] = append(found[name], pid)
	}
	return found
}

// A killed process is started again, whatever it is, and the demo says so or goes on; in the end nothing is left.
func TestKilledProcessesComeBackAndNothingIsLeft(t *testing.T) {
	p := build(t)
	_, out, ended := p.start(t, "demo", "weight 10 %")

	for _, name := range []string{"nginx master", "prometheus", "gatekeeper-dev", "app-1.0.0", "flagger-1.44.0", "loadgen-dev"} {
		var victim int
		eventually(t, time.Minute, name+" running", func() bool {
			if pids := p.children(t)[name]; len(pids) > 0 {
				victim = pids[0]
			}
			return victim != 0
		})
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", name, err)
		}
		eventually(t, time.Minute, name+" running again", func() bool {
			for _, pid := range p.children(t)[name] {
				if pid != victim {
					return true
				}
			}
			return false
		})
	}

	select {
	case err := <-ended:
		var exit *exec.ExitError
		switch {
		case err == nil && out.has("promoted") && out.has("rolled-back"):
			t.Log("the demo went through in spite of all")
		case errors.As(err, &exit) && out.has("    missed: "):
			t.Logf("the demo said what was wrong and ended with %d", exit.ExitCode())
		default:
			t.Errorf("the demo ended with %v and neither told its story nor what was wrong", err)
		}
	case <-time.After(12 * time.Minute):
		t.Error("the demo does not end")
	}
}

func TestASecondUpJoinsAndCtrlCLeavesNothing(t *testing.T) {
	p := build(t)
	up, _, ended := p.start(t, "up", "Everything is up")
	second, err := p.command(t.Context(), "up").CombinedOutput()
	if want := fmt.Sprintf("lab's process %d has the engine: joining it", up.Process.Pid); err != nil || !strings.Contains(string(second), want) {
		t.Errorf("the second up ended with %v and does not say %q:\n%s", err, want, second)
	}
	if down, err := p.command(t.Context(), "down").CombinedOutput(); err != nil {
		t.Errorf("down ended with %v:\n%s", err, down)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("up ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("down did not end up")
	}
}

func TestAKilledLabIsCleanedUpByTheNext(t *testing.T) {
	p := build(t)
	first, _, ended := p.start(t, "up", "Everything is up")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a killed lab ended well")
	}
	second, _, ended := p.start(t, "up", "Everything is up") // on the same port
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the second up ended with %v", err)
	}
}
