package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// podRun is a pod from the moment the node takes it until the last of its processes has ended.
type podRun struct {
	*Node
	// pod is as it was taken, with its ports; the pod's own goroutine sets it before it starts any other.
	pod     *corev1.Pod
	ports   map[int32]int32
	volumes map[string]volume
	began   time.Time

	// stopping ends when the pod has to stop, killing when it has no more time.
	stopping, killing  context.Context
	stopNow, killAtEnd context.CancelFunc

	// changed tells the pod's goroutine to write the status.
	changed chan struct{}
	mu      sync.Mutex
	inits   []corev1.ContainerStatus
	mains   []corev1.ContainerStatus
}

func newPodRun(n *Node, pod *corev1.Pod) *podRun {
	p := &podRun{Node: n, pod: pod, began: n.Now(), changed: make(chan struct{}, 1)}
	p.stopping, p.stopNow = context.WithCancel(context.Background())
	p.killing, p.killAtEnd = context.WithCancel(context.Background())
	p.inits, p.mains = waitingStatuses(pod.Spec.InitContainers), waitingStatuses(pod.Spec.Containers)
	return p
}

// stop lets the pod end within a time. It may be called again with less.
func (p *podRun) stop(within time.Duration) {
	timer := time.AfterFunc(within, p.kill)
	context.AfterFunc(p.killing, func() { timer.Stop() })
	p.stopNow()
	p.touch()
}

func (p *podRun) kill() { p.killAtEnd() }

func (p *podRun) touch() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// run is the pod's goroutine; ctx is the node's.
func (p *podRun) run(ctx context.Context) {
	defer p.forget(p)
	defer p.killAtEnd()
	log := p.Log.With("namespace", p.pod.Namespace, "pod", p.pod.Name)
	if p.until(ctx, log, "taking a pod will be tried again", p.take) {
		// The ports are free again only when no process can listen there.
		defer func() { p.Node.ports.free(p.ports) }()
		log.Info("pod taken", "ports", len(p.ports))
		if p.until(ctx, log, "making volumes will be tried again", p.makeVolumes) {
			p.work(ctx)
		}
	}
	<-p.stopping.Done()
	if ctx.Err() != nil {
		return
	}
	if err := p.remove(ctx); err != nil {
		log.Error("stopped pod can not be removed", "err", err)
	}
}

// until tries every second, telling each different failure once, and says false when the pod has to stop before it went well.
func (p *podRun) until(ctx context.Context, log warner, message string, try func(context.Context) error) bool {
	told := ""
	for p.stopping.Err() == nil {
		err := try(ctx)
		if err == nil {
			return true
		}
		if text := err.Error(); text != told && p.stopping.Err() == nil {
			log.Warn(message, "err", err)
			told = text
		}
		pause(p.stopping, time.Second)
	}
	return false
}

// warner is what until needs of a logger.
type warner interface {
	Warn(message string, args ...any)
}

// take makes the pod this node's and gives it ports.
func (p *podRun) take(ctx context.Context) error {
	api := p.Client.CoreV1().Pods(p.pod.Namespace)
	if p.ports == nil {
		ports := fixedPorts(p.pod)
		for _, port := range containerPorts(p.pod) {
			if ports[port] != 0 {
				continue
			}
			host, err := p.Node.ports.take(ctx)
			if err != nil {
				return err
			}
			ports[port] = host
		}
		p.ports = ports
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod, err := p.live(ctx)
		if err != nil {
			return err
		}
		pod.Spec.NodeName = p.Name
		writePorts(pod, p.ports)
		if pod, err = api.Update(ctx, pod, metav1.UpdateOptions{}); err == nil {
			p.pod = pod
		}
		return err
	})
}

// live reads the pod, which may have been replaced by another of its name.
func (p *podRun) live(ctx context.Context) (*corev1.Pod, error) {
	pod, err := p.Client.CoreV1().Pods(p.pod.Namespace).Get(ctx, p.pod.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if pod.UID != p.pod.UID {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), p.pod.Name)
	}
	return pod, nil
}

func (p *podRun) dir() string { return filepath.Join(p.podsDir(), string(p.pod.UID)) }

func (p *podRun) makeVolumes(ctx context.Context) error {
	s, err := p.sources(ctx)
	if err != nil {
		return err
	}
	p.volumes = map[string]volume{}
	for _, dir := range []string{"home", "tmp"} {
		if err := (volume{dir: filepath.Join(p.dir(), dir), make: true}).write(); err != nil {
			return fmt.Errorf("make folder of pod: %w", err)
		}
	}
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		plan, err := planVolume(p.pod, v, s, filepath.Join(p.dir(), "volumes", v.Name), filepath.Join(p.Dir, "claims", p.pod.Namespace))
		if err != nil {
			return err
		}
		if err := plan.write(); err != nil {
			return fmt.Errorf("write volume %s: %w", v.Name, err)
		}
		p.volumes[v.Name] = plan
	}
	return nil
}

// sources reads all ConfigMaps and Secrets of the namespace: few, and so is what asks for them.
func (p *podRun) sources(ctx context.Context) (sources, error) {
	s := sources{map[string]*corev1.ConfigMap{}, map[string]*corev1.Secret{}}
	maps, err := p.Client.CoreV1().ConfigMaps(p.pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list configmaps: %w", err)
	}
	secrets, err := p.Client.CoreV1().Secrets(p.pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list secrets: %w", err)
	}
	for i := range maps.Items {
		s.configMaps[maps.Items[i].Name] = &maps.Items[i]
	}
	for i := range secrets.Items {
		s.secrets[secrets.Items[i].Name] = &secrets.Items[i]
	}
	return s, nil
}

// work runs the containers until all have ended, and writes the status whenever it changes.
func (p *podRun) work(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.runContainers(ctx)
	}()
	told := ""
	for over := false; ; {
		again := time.Duration(1 << 62)
		if err := p.writeStatus(ctx); err != nil && ctx.Err() == nil {
			again = time.Second
			if text := err.Error(); text != told {
				p.Log.Warn("writing a pod's status will be tried again", "pod", p.pod.Name, "err", err)
				told = text
			}
		}
		if over && p.stopping.Err() != nil {
			return
		}
		finished, stopping := ended, p.stopping.Done()
		if over {
			finished = nil
		} else {
			stopping = nil
		}
		select {
		case <-p.changed:
		case <-finished:
			over = true
		case <-stopping:
		case <-time.After(again):
		}
	}
}

// runContainers runs the init containers one after another, then all others together.
func (p *podRun) runContainers(ctx context.Context) {
	for i := range p.pod.Spec.InitContainers {
		c := &container{podRun: p, spec: &p.pod.Spec.InitContainers[i], status: &p.inits[i], init: true}
		if !c.run(ctx) {
			return
		}
	}
	var all sync.WaitGroup
	for i := range p.pod.Spec.Containers {
		c := &container{podRun: p, spec: &p.pod.Spec.Containers[i], status: &p.mains[i]}
		all.Go(func() { c.run(ctx) })
	}
	all.Wait()
}

func (p *podRun) writeStatus(ctx context.Context) error {
	p.mu.Lock()
	inits, mains := slices.Clone(p.inits), slices.Clone(p.mains)
	p.mu.Unlock()
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod, err := p.live(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		status := podStatus(pod, inits, mains, p.stopping.Err() != nil, p.began, p.Now())
		if equality.Semantic.DeepEqual(status, pod.Status) {
			return nil
		}
		pod.Status = status
		_, err = p.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

// remove takes the stopped pod out of the API.
func (p *podRun) remove(ctx context.Context) error {
	options := metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.pod.UID))}
	return retry.OnError(retry.DefaultBackoff, func(err error) bool { return !apierrors.IsNotFound(err) && ctx.Err() == nil }, func() error {
		err := p.Client.CoreV1().Pods(p.pod.Namespace).Delete(ctx, p.pod.Name, options)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
