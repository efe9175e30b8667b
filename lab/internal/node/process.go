package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// command is a process to be.
type command struct {
	binary string
	args   []string
	env    []string
	dir    string
}

// argv is what the process sees, and what `ps` shows of it.
func (c command) argv() []string { return append([]string{c.binary}, c.args...) }

// process is a running process and its group.
type process struct {
	pid int
	// done is closed when it has ended; then state says how.
	done  chan struct{}
	state *os.ProcessState
}

// terminate asks the process to end. One that has ended does not mind.
func (p *process) terminate() { _ = syscall.Kill(p.pid, syscall.SIGTERM) }

// kill ends the process and all of its group.
func (p *process) kill() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// exit is the code as a shell would tell it, and the signal that ended the process, 0 for none.
func (p *process) exit() (code, signal int32) {
	if status, is := p.state.Sys().(syscall.WaitStatus); is && status.Signaled() {
		return 128 + int32(status.Signal()), int32(status.Signal())
	}
	return int32(p.state.ExitCode()), 0
}

var errClosed = errors.New("the node has ended")

// spawner starts all processes from one thread of the operating system. On Linux a child can be told to die with the
// thread that made it, so this thread must live as long as the node, and dies with the lab, however that ends.
type spawner struct {
	requests chan func()
	closed   chan struct{}
}

func newSpawner() *spawner {
	return &spawner{requests: make(chan func()), closed: make(chan struct{})}
}

// run serves until close. It ends its thread.
func (s *spawner) run() {
	runtime.LockOSThread()
	for {
		select {
		case request := <-s.requests:
			request()
		case <-s.closed:
			return
		}
	}
}

func (s *spawner) close() { close(s.closed) }

// start runs a command, its output going to out, and waits for it in a goroutine that ends with the process.
func (s *spawner) start(c command, out *os.File) (*process, error) {
	// A process outlives every context; who starts it stops it.
	cmd := &exec.Cmd{Path: c.binary, Args: c.argv(), Env: c.env, Dir: c.dir, Stdout: out, Stderr: out, SysProcAttr: attributes()}
	result := make(chan error, 1)
	select {
	case s.requests <- func() { result <- cmd.Start() }:
	case <-s.closed:
		return nil, fmt.Errorf("start %s: %w", c.binary, errClosed)
	}
	if err := <-result; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.binary, err)
	}
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		// How it ended is in the state; the error says the same.
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		// What the process left behind in its group has nobody to serve.
		p.kill()
	}()
	return p, nil
}
