package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// preStop runs the container's hook, as long as there is time and the process lives. When the node itself ends (ctx)
// there is nobody left to drain, so no hook runs.
func (c *container) preStop(ctx, limit context.Context, p *process) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil || ctx.Err() != nil {
		return
	}
	limit, cancel := context.WithCancel(limit)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-p.done:
			cancel()
		case <-limit.Done():
		}
	}()
	if err := c.hook(limit, c.spec.Lifecycle.PreStop); err != nil && limit.Err() == nil {
		c.Log.Warn("hook before stopping went wrong", "pod", c.pod.Name, "container", c.spec.Name, "err", err)
	}
	cancel()
	<-watched
}

func (c *container) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	switch {
	case h.Sleep != nil:
		pause(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return nil
	case h.HTTPGet != nil:
		return c.get(ctx, h.HTTPGet)
	case h.Exec != nil:
		return c.exec(ctx, h.Exec.Command)
	default:
		return nil
	}
}
