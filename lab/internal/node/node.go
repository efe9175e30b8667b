// Package node runs Pods as processes on loopback, as a kubelet runs them as containers.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// loopback is every pod's address, and the node's.
const loopback = "127.0.0.1"

// lastGrace is how long processes may take to end when the node does, all together.
const lastGrace = 5 * time.Second

// Config is what a Node needs; all fields but Env are required.
type Config struct {
	Client kubernetes.Interface
	// Name is the node's.
	Name string
	// Dir holds everything written. What was in its folder pods is removed by Run; its folder claims is the caller's to keep or to empty.
	Dir string
	// Images holds a file for each image.
	Images string
	// Env is set in every process, over the container's own: KUBECONFIG, HTTP_PROXY …
	Env []string
	Now func() time.Time
	Log *slog.Logger
}

// Node takes every pod that has no node, and runs it.
type Node struct {
	Config
	ports   *portBook
	logs    *logBook
	spawner *spawner
	running sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*podRun
}

// New checks the configuration; nothing runs before Run.
func New(c Config) (*Node, error) {
	if c.Client == nil || c.Name == "" || c.Dir == "" || c.Images == "" || c.Now == nil || c.Log == nil {
		return nil, errors.New("make node: client, name, dir, images, now and log are required")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("make node: %w", err)
	}
	c.Dir = dir
	return &Node{Config: c, ports: newPortBook(), logs: newLogBook(), spawner: newSpawner(), pods: map[types.UID]*podRun{}}, nil
}

// Run serves pods until ctx ends, then stops their processes and waits for them. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	if err := Sweep(ctx, n.podsDir(), n.Log); err != nil {
		return fmt.Errorf("clean up after an earlier run: %w", err)
	}
	if err := os.MkdirAll(n.podsDir(), folderMode); err != nil {
		return fmt.Errorf("make folder of pods: %w", err)
	}
	if err := n.register(ctx); err != nil {
		return err
	}
	spawned := make(chan struct{})
	go func() {
		defer close(spawned)
		n.spawner.run()
	}()
	factory := informers.NewSharedInformerFactory(n.Client, 0)
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { n.seen(ctx, object) },
		UpdateFunc: func(_, object any) { n.seen(ctx, object) },
		DeleteFunc: n.gone,
	})
	if err == nil {
		factory.StartWithContext(ctx)
		<-ctx.Done()
		factory.Shutdown()
		n.stopAll()
		n.running.Wait()
	}
	// The spawner's thread must outlive every process it started.
	n.spawner.close()
	<-spawned
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	return nil
}

func (n *Node) podsDir() string { return filepath.Join(n.Dir, "pods") }

func (n *Node) seen(ctx context.Context, object any) {
	pod, is := object.(*corev1.Pod)
	if !is || pod.Spec.NodeName != "" && pod.Spec.NodeName != n.Name {
		return
	}
	n.mu.Lock()
	p := n.pods[pod.UID]
	if p == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
		p = newPodRun(n, pod)
		n.pods[pod.UID] = p
		n.running.Go(func() { p.run(ctx) })
	}
	n.mu.Unlock()
	if p != nil && pod.DeletionTimestamp != nil {
		p.stop(grace(pod))
	}
}

// gone ends what is left of a pod that was removed without waiting for its processes.
func (n *Node) gone(object any) {
	if last, is := object.(cache.DeletedFinalStateUnknown); is {
		object = last.Obj
	}
	pod, is := object.(*corev1.Pod)
	if !is {
		return
	}
	n.mu.Lock()
	p := n.pods[pod.UID]
	n.mu.Unlock()
	if p != nil {
		p.kill()
		p.stop(0)
	}
}

func (n *Node) stopAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		p.stop(lastGrace)
	}
}

func (n *Node) forget(p *podRun) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, p.pod.UID)
}

// grace is how long a pod may take to stop: what the deletion says, else its own.
func grace(pod *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.DeletionGracePeriodSeconds != nil {
		seconds = *pod.DeletionGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}
