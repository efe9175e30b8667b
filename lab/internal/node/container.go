package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// container runs one container of a pod, again and again.
type container struct {
	*podRun
	spec *corev1.Container
	// status is part of the pod's and guarded by its mutex.
	status *corev1.ContainerStatus
	init   bool
	// env is the last process's, for hooks and probes that start a program.
	env []string
}

// Waiting reasons, as a kubelet words them.
const (
	imagePullBackOff = "ImagePullBackOff"
	configError      = "CreateContainerConfigError"
	runError         = "RunContainerError"
	crashLoopBackOff = "CrashLoopBackOff"
)

func (c *container) change(f func(*corev1.ContainerStatus)) {
	c.mu.Lock()
	f(c.status)
	c.mu.Unlock()
	c.touch()
}

// enter changes the state, keeping the last end in lastState.
func enter(s *corev1.ContainerStatus, state corev1.ContainerState) {
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	s.State = state
}

func (c *container) wait(reason, message string) {
	c.change(func(s *corev1.ContainerStatus) {
		enter(s, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
	})
}

// run returns when the container does not start any more, and says whether its last process ended well.
func (c *container) run(ctx context.Context) bool {
	row := 0
	for restart := 0; ; restart++ {
		p := c.start(ctx, restart)
		if p == nil {
			return false
		}
		began := time.Now()
		c.supervise(ctx, p)
		code := c.ended(p, restart)
		if c.stopping.Err() != nil || !restarts(c.pod.Spec.RestartPolicy, c.init, code) {
			return code == 0
		}
		delay := backOff(row)
		if row++; time.Since(began) > steady {
			row, delay = 1, 0
		}
		c.Log.Warn("container will be restarted", "pod", c.pod.Name, "container", c.spec.Name, "exitCode", code, "delay", delay)
		if delay > 0 {
			c.wait(crashLoopBackOff, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.spec.Name, c.pod.Name))
			pause(c.stopping, delay)
		}
	}
}

// steady is how long a process must have run for its end to be taken for the first one again.
const steady = time.Minute

// backOff is the time before a restart, when row others came shortly before: none, then one second doubling to thirty.
func backOff(row int) time.Duration {
	if row == 0 {
		return 0
	}
	return min(time.Second<<min(row-1, 5), 30*time.Second)
}

func restarts(policy corev1.RestartPolicy, init bool, code int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return !init || code != 0
	}
}

// start tries every second until there is a process, or returns nil because the pod has to stop.
func (c *container) start(ctx context.Context, restart int) *process {
	for c.stopping.Err() == nil {
		p, reason, err := c.tryStart(ctx, restart)
		if err == nil {
			return p
		}
		if c.stopping.Err() != nil {
			return nil
		}
		c.mu.Lock()
		told := c.status.State.Waiting != nil && c.status.State.Waiting.Reason == reason
		c.mu.Unlock()
		if !told {
			c.Log.Warn("starting a container will be tried again", "pod", c.pod.Name, "container", c.spec.Name, "reason", reason, "err", err)
		}
		c.wait(reason, err.Error())
		pause(c.stopping, time.Second)
	}
	return nil
}

func (c *container) tryStart(ctx context.Context, restart int) (p *process, reason string, err error) {
	i, err := readImage(c.Images, c.spec.Image)
	if err != nil {
		return nil, imagePullBackOff, err
	}
	s, err := c.sources(ctx)
	if err != nil {
		return nil, configError, err
	}
	place := place{dir: c.dir(), ports: c.ports, volumes: c.volumes, env: c.Env, path: os.Getenv("PATH")}
	run, err := planCommand(c.pod, c.spec, i, s, place)
	if err != nil {
		return nil, configError, err
	}
	c.env = run.env
	if p, err = c.launch(run, restart); err != nil {
		return nil, runError, err
	}
	c.Log.Info("container started", "pod", c.pod.Name, "container", c.spec.Name, "pid", p.pid, "restarts", restart)
	c.change(func(s *corev1.ContainerStatus) {
		enter(s, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.Now())}})
		s.ContainerID, s.ImageID, s.RestartCount = containerID(p), "file://"+i.Binary, int32(restart)
	})
	return p, "", nil
}

// containerID names the process: that is what somebody at the terminal can use.
func containerID(p *process) string { return "process://" + strconv.Itoa(p.pid) }

// logDir holds the logs of a container's last two processes, and its record.
func (c *container) logDir() string { return filepath.Join(c.dir(), c.spec.Name) }

func (c *container) launch(run command, restart int) (*process, error) {
	if err := os.MkdirAll(c.logDir(), folderMode); err != nil {
		return nil, err
	}
	path := logPath(c.logDir(), restart)
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.logs.set(path, true)
	p, err := c.spawner.start(run, out)
	if err != nil {
		c.logs.set(path, false)
		return nil, err
	}
	if err := writeRecord(c.logDir(), p.pid, run); err != nil {
		// Without a record a killed lab might leave the process behind; it runs all the same.
		c.Log.Warn("process can not be recorded", "pid", p.pid, "err", err)
	}
	return p, nil
}

// supervise returns when the process has ended: by itself, by its probes or because the pod stops.
func (c *container) supervise(ctx context.Context, p *process) {
	probing, stopProbes := context.WithCancel(ctx)
	unhealthy := make(chan string, 1)
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		c.watchHealth(probing, unhealthy)
	}()
	defer func() { <-probed }()
	defer stopProbes()
	select {
	case <-p.done:
	case why := <-unhealthy:
		stopProbes()
		c.Log.Warn("container is not healthy", "pod", c.pod.Name, "container", c.spec.Name, "err", why)
		limit, cancel := context.WithTimeout(c.killing, grace(c.pod))
		defer cancel()
		c.end(ctx, limit, p)
	case <-c.stopping.Done():
		stopProbes()
		c.end(ctx, c.killing, p)
	}
}

// end stops the process: hook, SIGTERM, and SIGKILL when limit ends. The hook's time counts.
func (c *container) end(ctx, limit context.Context, p *process) {
	c.preStop(ctx, limit, p)
	p.terminate()
	select {
	case <-p.done:
	case <-limit.Done():
		p.kill()
		<-p.done
	}
}

// ended notes how a process ended, and forgets the log before the last.
func (c *container) ended(p *process, restart int) int32 {
	code, signal := p.exit()
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	c.logs.set(logPath(c.logDir(), restart), false)
	// Neither is worth stopping for: the next run removes the folder.
	_ = os.Remove(filepath.Join(c.logDir(), recordName))
	_ = os.Remove(logPath(c.logDir(), restart-2))
	c.Log.Info("container ended", "pod", c.pod.Name, "container", c.spec.Name, "exitCode", code, "signal", signal)
	c.change(func(s *corev1.ContainerStatus) {
		terminated := &corev1.ContainerStateTerminated{
			ExitCode: code, Signal: signal, Reason: reason, ContainerID: containerID(p), FinishedAt: metav1.NewTime(c.Now()),
		}
		if s.State.Running != nil {
			terminated.StartedAt = s.State.Running.StartedAt
		}
		s.State = corev1.ContainerState{Terminated: terminated}
		s.Ready, s.Started = c.init && code == 0, new(bool)
	})
	return code
}
