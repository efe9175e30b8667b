package workload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// watch starts the informers that fill the queue. The returned function waits for them; they stop with ctx.
func (c *Controllers) watch(ctx context.Context) (wait func(), err error) {
	factory := informers.NewSharedInformerFactory(c.client, 0)
	services := factory.Core().V1().Services()
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		changed  func(metav1.Object)
	}{
		{factory.Apps().V1().Deployments().Informer(), c.enqueue(deploymentKind)},
		{factory.Apps().V1().ReplicaSets().Informer(), func(o metav1.Object) {
			c.enqueue(setKind)(o)
			c.enqueueOwner(o, deploymentKind)
		}},
		{services.Informer(), c.enqueue(serviceKind)},
		{factory.Core().V1().Pods().Informer(), func(o metav1.Object) {
			c.enqueueOwner(o, setKind)
			c.enqueueServices(o, services.Lister())
		}},
	} {
		if _, err := w.informer.AddEventHandler(handler(w.changed)); err != nil {
			return nil, fmt.Errorf("watch objects: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	return factory.Shutdown, nil
}

// handler calls changed for every state of an object: an update may change the labels by which others find it.
func handler(changed func(metav1.Object)) cache.ResourceEventHandler {
	told := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		if o, err := meta.Accessor(object); err == nil {
			changed(o)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    told,
		UpdateFunc: func(before, after any) { told(before); told(after) },
		DeleteFunc: told,
	}
}

func (c *Controllers) enqueue(k kind) func(metav1.Object) {
	return func(o metav1.Object) { c.queue.Add(key{k, o.GetNamespace(), o.GetName()}) }
}

func (c *Controllers) enqueueOwner(o metav1.Object, k kind) {
	if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == string(k) {
		c.queue.Add(key{k, o.GetNamespace(), owner.Name})
	}
}

// enqueueServices may miss a Service the informer has not heard of; that Service's own event comes then.
func (c *Controllers) enqueueServices(pod metav1.Object, services corelisters.ServiceLister) {
	list, err := services.Services(pod.GetNamespace()).List(labels.Everything())
	if err != nil {
		c.log.Warn("services of a pod are not known", "pod", pod.GetName(), "err", err)
	}
	for _, s := range list {
		if selects(s, pod.GetLabels()) {
			c.enqueue(serviceKind)(s)
		}
	}
}

// selects is false for a Service without selector, whose endpoints belong to whoever writes them.
func selects(s *corev1.Service, l map[string]string) bool {
	return len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(l))
}
