// Package workload runs Deployments as ReplicaSets and Pods and gives Services their endpoints, as a cluster's controllers do.
package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
)

// kind says which controller a key is for.
type kind string

const (
	deploymentKind kind = "Deployment"
	setKind        kind = "ReplicaSet"
	serviceKind    kind = "Service"
)

type key struct {
	kind            kind
	namespace, name string
}

// Controllers keep what Deployments, ReplicaSets and Services ask for. They know the API only.
//
// Informers say what to look at; what is decided upon is read from the API just before. With one worker no decision is
// made on what an earlier one has already changed, so there are no expectations to keep, as a cluster's controllers must.
type Controllers struct {
	client kubernetes.Interface
	now    func() time.Time
	log    *slog.Logger
	queue  workqueue.TypedRateLimitingInterface[key]
}

// New returns controllers that do nothing until Run.
func New(client kubernetes.Interface, now func() time.Time, log *slog.Logger) *Controllers {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[key](20*time.Millisecond, 5*time.Second)
	return &Controllers{client: client, now: now, log: log, queue: workqueue.NewTypedRateLimitingQueue(limiter)}
}

// Run works until ctx ends, and waits for everything it started. It may be called once.
func (c *Controllers) Run(ctx context.Context) error {
	stopWatching, err := c.watch(ctx)
	if err != nil {
		c.queue.ShutDown()
		return err
	}
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		for c.next(ctx) {
		}
	}()
	<-ctx.Done()
	c.queue.ShutDown()
	<-worked
	stopWatching()
	return nil
}

// next handles one key, and says whether there will be more.
func (c *Controllers) next(ctx context.Context) bool {
	k, closed := c.queue.Get()
	if closed {
		return false
	}
	defer c.queue.Done(k)
	again, err := c.reconcile(ctx, k)
	switch {
	case err == nil:
		c.queue.Forget(k)
		if again > 0 {
			c.queue.AddAfter(k, again)
		}
	case errors.Is(err, context.Canceled):
	default:
		// The first failure of a row is told, its repetitions are not; a conflict only means that somebody else was faster.
		if !apierrors.IsConflict(err) && c.queue.NumRequeues(k) == 0 {
			c.log.Warn("reconciling will be tried again", "kind", string(k.kind), "namespace", k.namespace, "name", k.name, "err", err)
		}
		c.queue.AddRateLimited(k)
	}
	return true
}

// reconcile says when the key must be looked at again although nothing changes, 0 for never.
func (c *Controllers) reconcile(ctx context.Context, k key) (time.Duration, error) {
	switch k.kind {
	case deploymentKind:
		return c.syncDeployment(ctx, k.namespace, k.name)
	case setKind:
		return c.syncSet(ctx, k.namespace, k.name)
	case serviceKind:
		return 0, c.syncService(ctx, k.namespace, k.name)
	default:
		return 0, fmt.Errorf("reconcile %s %s/%s: no such controller", k.kind, k.namespace, k.name)
	}
}
