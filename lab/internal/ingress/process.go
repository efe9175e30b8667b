package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	startIn = 10 * time.Second // from a start or a reload to the first worker
	quitIn  = 5 * time.Second  // for the last requests at the end; then NGINX is killed
	orphans = 5 * time.Second  // for workers to be gone after their master
)

// program is the NGINX binary and its folder.
type program struct {
	path, dir string
	log       *slog.Logger
}

func (n program) current() string { return filepath.Join(n.dir, "nginx.conf") }

// install makes text the configuration that the next start or reload takes, if NGINX accepts it.
func (n program) install(ctx context.Context, text string) error {
	next := filepath.Join(n.dir, "next.conf")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if out, err := exec.CommandContext(ctx, n.path, "-t", "-p", n.dir, "-c", next).CombinedOutput(); err != nil {
		return fmt.Errorf("test %s: %w\n%s", next, err, out)
	}
	if err := os.Rename(next, n.current()); err != nil {
		return fmt.Errorf("install configuration: %w", err)
	}
	return nil
}

// process is one running NGINX: a master and its workers. It stays in our process group.
type process struct {
	cmd     *exec.Cmd
	log     *slog.Logger
	metrics *metrics
	started chan struct{} // has a token once the workers of a configuration are there
	gone    chan struct{} // closed when master and workers are gone and every line of theirs is read

	mu        sync.Mutex
	workers   map[int]bool // by pid; learnt from the error log, which works on every system
	complaint string       // the last line that said why NGINX can not go on
}

// start runs NGINX until ctx ends: then it is asked to finish its requests, and killed when that takes too long. The
// caller waits for gone.
func (n program) start(ctx context.Context, m *metrics) (*process, error) {
	accessLog, stdout, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open pipe for the access log: %w", err)
	}
	errorLog, stderr, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open pipe for the error log: %w", err), accessLog.Close(), stdout.Close())
	}
	cmd := exec.CommandContext(ctx, n.path, "-p", n.dir, "-c", n.current())
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = stdout, stderr, attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = quitIn
	err = cmd.Start()
	// NGINX has its own copies. Without ours the logs end when the last of its processes does.
	err = errors.Join(err, stdout.Close(), stderr.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", n.path, err), accessLog.Close(), errorLog.Close())
	}
	p := &process{
		cmd: cmd, log: n.log, metrics: m, workers: map[int]bool{},
		started: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	var logs sync.WaitGroup
	logs.Go(func() { readAccessLog(accessLog, m, n.log) })
	logs.Go(func() { p.readErrorLog(errorLog) })
	go p.wait(&logs, accessLog, errorLog)
	return p, nil
}

// wait sees the process to its end. A master that was killed leaves workers that keep the listening socket; they are
// killed too. Both logs at their end prove that none is left.
func (p *process) wait(logs *sync.WaitGroup, open ...io.Closer) {
	defer close(p.gone)
	if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState == nil {
		p.log.Error("nginx not waited for", "error", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		logs.Wait()
	}()
	deadline, tick := time.NewTimer(orphans), time.NewTicker(50*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-tick.C:
			p.killWorkers()
		case <-deadline.C:
			p.log.Error("nginx left a worker that is not known")
			waiting = false
		}
	}
	for _, c := range open {
		if err := c.Close(); err != nil {
			p.log.Warn("log of nginx not closed", "error", err)
		}
	}
	<-ended
	p.metrics.processes.Set(0)
}

func (p *process) killWorkers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid := range p.workers {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			p.log.Warn("worker of nginx not killed", "pid", pid, "error", err)
		}
	}
}

// kill ends NGINX at once and waits until it is gone.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.gone
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill nginx: %w", err)
	}
	return nil
}

// reload makes the workers of the installed configuration take over.
func (p *process) reload(ctx context.Context) error {
	select { // a token that nobody waited for
	case <-p.started:
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("send SIGHUP to nginx: %w", err)
	}
	return p.serving(ctx)
}

// serving waits for the workers that a start or a reload brings.
func (p *process) serving(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startIn, fmt.Errorf("no worker after %s", startIn))
	defer cancel()
	select {
	case <-p.started:
		return nil
	case <-p.gone:
		return fmt.Errorf("wait for workers of nginx: it ended: %s", p.said())
	case <-ctx.Done():
		return fmt.Errorf("wait for workers of nginx: %w; it said: %s", context.Cause(ctx), p.said())
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complaint
}
