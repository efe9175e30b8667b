package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// pinning keeps server and load generator on processors of their own, so that one does not slow the other. Without
// taskset, or with one processor, it does nothing.
type pinning struct{ taskset string }

// The processors of a machine with two or more.
const (
	serverCPU = "0"
	clientCPU = "1"
)

func newPinning() pinning {
	path, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return pinning{}
	}
	return pinning{taskset: path}
}

func (p pinning) works() bool { return p.taskset != "" }

// command is a program on one processor.
func (p pinning) command(ctx context.Context, cpu, program string, args ...string) *exec.Cmd {
	if p.works() {
		program, args = p.taskset, append([]string{"-c", cpu, program}, args...)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// usage is what a program took.
type usage struct {
	wall   time.Duration // from its start to its end
	cpu    time.Duration // user and system
	output string        // standard output
}

// measure runs a client to its end.
func (b *Bench) measure(ctx context.Context, env []string, program string, args ...string) (usage, error) {
	cmd := b.pin.command(ctx, clientCPU, program, args...)
	var out, both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &both
	cmd.Env = append(os.Environ(), env...)
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, both.String())
	}
	state := cmd.ProcessState
	return usage{wall: time.Since(begin), cpu: state.UserTime() + state.SystemTime(), output: out.String()}, nil
}

// server is a program that serves until stop.
type server struct {
	url string
	cmd *exec.Cmd
	log *bytes.Buffer
}

// stop ends the server, waits for it and returns the processor time it took, user and system. It may be called again.
func (s *server) stop() time.Duration {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(os.Interrupt) // one that has ended already is fine
		_ = s.cmd.Wait()                       // interrupted, so an error says nothing
	}
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
}

// spawn starts a server of which the caller knows the URL, and returns when path answers 2xx.
func (b *Bench) spawn(ctx context.Context, cpu, url, path string, env []string, program string, args ...string) (*server, error) {
	s := &server{url: url, cmd: b.pin.command(ctx, cpu, program, args...), log: &bytes.Buffer{}}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), env...)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return s, b.answers(ctx, s, path)
}

// spawnPeer starts one of our small servers, which says its URL itself.
func (b *Bench) spawnPeer(ctx context.Context, cpu, program string, args ...string) (*server, error) {
	s := &server{cmd: b.pin.command(ctx, cpu, program, args...)}
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("read the URL that %s serves: %w", program, err)
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

// answers waits until the server does.
func (b *Bench) answers(ctx context.Context, s *server, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		_, err := fetch(ctx, http.MethodGet, s.url+path)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			s.stop()
			return fmt.Errorf("wait for %s: %w\n%s", s.cmd.Path, errors.Join(ctx.Err(), err), s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fetch returns the body of an answer 2xx.
func fetch(ctx context.Context, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, body)
	}
	return string(body), err
}
