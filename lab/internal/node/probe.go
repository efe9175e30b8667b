package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// verdict is what a row of checks amounts to.
type verdict int

const (
	unknown verdict = iota
	healthy
	unhealthy
)

// tally counts checks with the same result in a row.
type tally struct {
	verdict verdict
	last    bool
	row     int32
}

// add counts one more check. The verdict changes when the row is as long as its threshold.
func (t *tally) add(fine bool, success, failure int32) verdict {
	if t.row == 0 || fine != t.last {
		t.last, t.row = fine, 0
	}
	t.row++
	switch {
	case fine && t.row >= max(success, 1):
		t.verdict = healthy
	case !fine && t.row >= max(failure, 1):
		t.verdict = unhealthy
	}
	return t.verdict
}

// eager is the period of a readiness probe before its first success. Kubernetes allows more checks than the period says
// while a container is not ready.
const eager = 250 * time.Millisecond

// watchHealth runs the container's probes until ctx ends or one asks for a restart, which is told to fail.
func (c *container) watchHealth(ctx context.Context, fail chan<- string) {
	if !c.watch(ctx, "startup", c.spec.StartupProbe, fail, func(v verdict) bool { return v == healthy }) {
		return
	}
	c.change(func(s *corev1.ContainerStatus) {
		s.Started = new(true)
		s.Ready = !c.init && c.spec.ReadinessProbe == nil
	})
	var probes sync.WaitGroup
	probes.Go(func() { c.watch(ctx, "liveness", c.spec.LivenessProbe, fail, nil) })
	probes.Go(func() {
		c.watch(ctx, "readiness", c.spec.ReadinessProbe, nil, func(v verdict) bool {
			c.change(func(s *corev1.ContainerStatus) { s.Ready = v == healthy })
			return false
		})
	})
	probes.Wait()
}

// watch repeats a probe until enough says so, which it returns as true, as it does when there is no probe. With fail an
// unhealthy verdict is told there and ends the watch.
func (c *container) watch(ctx context.Context, name string, p *corev1.Probe, fail chan<- string, enough func(verdict) bool) bool {
	if p == nil {
		return true
	}
	var t tally
	ever := false
	pause(ctx, time.Duration(p.InitialDelaySeconds)*time.Second)
	for ctx.Err() == nil {
		err := c.check(ctx, p.ProbeHandler, time.Duration(max(p.TimeoutSeconds, 1))*time.Second)
		if ctx.Err() != nil {
			return false
		}
		before := t.verdict
		v := t.add(err == nil, p.SuccessThreshold, p.FailureThreshold)
		if v == unhealthy && fail != nil {
			select {
			case fail <- fmt.Sprintf("%s probe: %v", name, err):
			default: // Another probe has said so already.
			}
			return false
		}
		if v != before && enough != nil && enough(v) {
			return true
		}
		ever = ever || v == healthy
		period := time.Duration(p.PeriodSeconds) * time.Second
		if period <= 0 {
			period = 10 * time.Second
		}
		if fail == nil && !ever {
			period = min(period, eager)
		}
		pause(ctx, period)
	}
	return false
}

// check runs a probe once. A gRPC probe only looks whether the port can be reached.
func (c *container) check(ctx context.Context, h corev1.ProbeHandler, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case h.HTTPGet != nil:
		return c.get(ctx, h.HTTPGet)
	case h.TCPSocket != nil:
		return dial(ctx, h.TCPSocket.Host, c.hostPort(h.TCPSocket.Port))
	case h.GRPC != nil:
		return dial(ctx, "", c.hostPort(intstr.FromInt32(h.GRPC.Port)))
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command)
	default:
		return nil
	}
}

func dial(ctx context.Context, host string, port int32) error {
	var d net.Dialer
	connection, err := d.DialContext(ctx, "tcp", address(host, port))
	if err != nil {
		return err
	}
	return connection.Close()
}

func address(host string, port int32) string {
	if host == "" {
		host = loopback
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// hostPort is where a named or numbered port of the container is; a number no container declares is the host's.
func (c *container) hostPort(port intstr.IntOrString) int32 {
	number := port.IntVal
	for _, p := range c.spec.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal {
			number = p.ContainerPort
		}
	}
	if host, known := c.ports[number]; known {
		return host
	}
	return number
}

// get is a check by HTTP: any status from 200 to 399 is fine. The check stays on the host it was sent to.
func (c *container) get(ctx context.Context, a *corev1.HTTPGetAction) error {
	target, err := url.Parse(a.Path)
	if err != nil {
		return err
	}
	target.Scheme = strings.ToLower(string(a.Scheme))
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	target.Host = address(a.Host, c.hostPort(a.Port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.34")
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		} else {
			request.Header.Add(h.Name, h.Value)
		}
	}
	client := &http.Client{
		// As a kubelet does: a probe does not ask who answers.
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if next.URL.Host != target.Host {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 10<<10)); err != nil {
		return err
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", target, response.Status)
	}
	return nil
}

// exec runs a program in the pod's folder. A wget or curl of the pod's own port is made here: images have no shell.
func (c *container) exec(ctx context.Context, words []string) error {
	if a, is := asGet(words); is {
		return c.get(ctx, a)
	}
	if len(words) == 0 {
		return nil
	}
	m, err := mounts(c.spec, c.volumes, nil)
	if err != nil {
		return err
	}
	t := translation{m, c.ports}
	run := command{binary: t.value(words[0]), dir: c.dir(), env: c.env}
	if run.binary, err = exec.LookPath(run.binary); err != nil {
		return err
	}
	for _, word := range words[1:] {
		run.args = append(run.args, t.value(word))
	}
	silence, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer silence.Close()
	p, err := c.spawner.start(run, silence)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
		<-p.done
		return fmt.Errorf("run %s: %w", strings.Join(words, " "), ctx.Err())
	}
	if code, _ := p.exit(); code != 0 {
		return fmt.Errorf("run %s: exit code %d", strings.Join(words, " "), code)
	}
	return nil
}

// asGet understands `wget … http://localhost:PORT/PATH`, as charts write it.
func asGet(words []string) (*corev1.HTTPGetAction, bool) {
	if len(words) < 2 || path.Base(words[0]) != "wget" && path.Base(words[0]) != "curl" {
		return nil, false
	}
	for _, word := range words[1:] {
		u, err := url.Parse(word)
		if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" && u.Hostname() != loopback {
			continue
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			continue
		}
		return &corev1.HTTPGetAction{Path: u.RequestURI(), Port: intstr.FromInt(port)}, true
	}
	return nil, false
}
