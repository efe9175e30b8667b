// Package kube watches Canaries, their Deployments, pods, ingresses and HTTPRoutes, and says how each Canary stands now.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	deployIDAnnotation = "rollout.monitoring/deploy-id"
	changeAnnotation   = "rollout.monitoring/change"
	commitAnnotation   = "rollout.monitoring/commit"
	committedAt        = "rollout.monitoring/commit-time"
	traceparent        = "rollout.monitoring/traceparent"
	drillAnnotation    = "rollout.monitoring/drill"
	noteAnnotation     = "rollout.monitoring/note"
	weightAnnotation   = "nginx.ingress.kubernetes.io/canary-weight"
	revisionAnnotation = "deployment.kubernetes.io/revision"
	portAnnotation     = "prometheus.io/port"
	pathAnnotation     = "prometheus.io/path"
)

// Cluster answers from watched copies, never by asking the API server; only Brake does. Run must be under way.
type Cluster struct {
	live     dynamic.Interface
	core     informers.SharedInformerFactory
	dynamic  dynamicinformer.DynamicSharedInformerFactory
	synced   []cache.InformerSynced
	canaries cache.GenericLister
	deploys  appslisters.DeploymentLister
	sets     cache.Indexer // by owner
	pods     cache.Indexer // by owner
	ingress  netlisters.IngressLister

	gateway                    dynamicinformer.DynamicSharedInformerFactory // of HTTPRoutes alone, started when one is needed
	routes                     cache.GenericLister
	routesSynced               cache.InformerSynced
	routesNeeded, routesUnread atomic.Bool
	ended                      chan struct{} // closed when Run ends

	restMu sync.Mutex
	rest   map[rollout.Key]map[string]string // tracked files of Canaries when they were at rest last
}

// Config finds the way to the API server: the kubeconfig file when one is given, else the pod's service account.
func Config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the cluster: %w; outside a cluster give --kubeconfig", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return cfg, nil
}

// New prepares the watches.
func New(cfg *rest.Config) (*Cluster, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	c := &Cluster{
		live:    dyn,
		rest:    map[rollout.Key]map[string]string{},
		core:    informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim)),
		dynamic: dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0),
		gateway: dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0),
		ended:   make(chan struct{}),
	}
	canaries := c.dynamic.ForResource(canaryResource())
	deploys, sets := c.core.Apps().V1().Deployments(), c.core.Apps().V1().ReplicaSets()
	pods, ingress := c.core.Core().V1().Pods(), c.core.Networking().V1().Ingresses()
	c.canaries, c.deploys, c.ingress = canaries.Lister(), deploys.Lister(), ingress.Lister()
	for _, i := range []cache.SharedIndexInformer{sets.Informer(), pods.Informer()} {
		if err := i.AddIndexers(cache.Indexers{byOwner: owner}); err != nil {
			return nil, fmt.Errorf("index the cluster's objects: %w", err)
		}
	}
	c.sets, c.pods = sets.Informer().GetIndexer(), pods.Informer().GetIndexer()
	for _, i := range []interface {
		Informer() cache.SharedIndexInformer
	}{canaries, deploys, sets, pods, ingress} {
		c.synced = append(c.synced, i.Informer().HasSynced)
	}
	if err := c.watchRoutes(canaries.Informer()); err != nil {
		return nil, fmt.Errorf("prepare to watch HTTPRoutes: %w", err)
	}
	return c, nil
}

// byOwner is the index of objects by the UID of their controller. Without it every Canary would be looked for among all
// pods of its namespace, every second.
const byOwner = "owner"

func owner(obj any) ([]string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("index an object: %w", err)
	}
	if ref := metav1.GetControllerOf(m); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return nil, nil
}

// owned are the objects of one kind whose controller has the UID.
func owned[T any](index cache.Indexer, uid types.UID) ([]T, error) {
	objects, err := index.ByIndex(byOwner, string(uid))
	if err != nil {
		return nil, fmt.Errorf("list what %s owns: %w", uid, err)
	}
	var all []T
	for _, o := range objects {
		if one, ok := o.(T); ok {
			all = append(all, one)
		}
	}
	return all, nil
}

func canaryResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "flagger.app", Version: "v1beta1", Resource: "canaries"}
}

func ingressResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
}

// slim drops what nobody here reads: the bookkeeping of server-side apply and the specs of pods are most of what all
// pods of a cluster weigh.
func slim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	if p, ok := obj.(*corev1.Pod); ok {
		p.Spec = corev1.PodSpec{}
	}
	return obj, nil
}

// Run watches until ctx ends. It may be called once.
func (c *Cluster) Run(ctx context.Context) error {
	c.core.Start(ctx.Done())
	c.dynamic.Start(ctx.Done())
	<-ctx.Done()
	close(c.ended)
	c.core.Shutdown()
	c.dynamic.Shutdown()
	c.gateway.Shutdown()
	return nil
}

// Synced reports whether every watch has its first full copy. Before that nothing must be concluded from absence.
func (c *Cluster) Synced() bool {
	for _, synced := range c.synced {
		if !synced() {
			return false
		}
	}
	return c.routed()
}

// Canaries returns how every Canary stands, in the order of their names. A Canary whose target does not exist yet has
// no revision and no pods.
func (c *Cluster) Canaries() ([]rollout.Canary, error) {
	objects, err := c.canaries.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list canaries: %w", err)
	}
	all := make([]rollout.Canary, 0, len(objects))
	for _, o := range objects {
		object, ok := o.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("list canaries: unexpected type %T", o)
		}
		canary, err := c.read(object.Object)
		if err != nil {
			return nil, fmt.Errorf("read canary %s/%s: %w", object.GetNamespace(), object.GetName(), err)
		}
		all = append(all, canary)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Key.String() < all[j].Key.String() })
	return all, nil
}

// read gathers what belongs to one Canary. Only what cannot be listed at all is an error; what is not there is empty.
func (c *Cluster) read(o map[string]any) (rollout.Canary, error) {
	canary := rollout.Canary{
		Key:    rollout.Key{Namespace: text(o, "metadata", "namespace"), Name: text(o, "metadata", "name")},
		Phase:  rollout.Phase(text(o, "status", "phase")),
		Policy: policyName(o), Interval: interval(o),
	}
	canary.Suspended, _, _ = unstructured.NestedBool(o, "spec", "suspend")
	weight, _, _ := unstructured.NestedInt64(o, "status", "canaryWeight")
	canary.Weight, canary.LeftAt = int(weight), int(weight)
	canary.Settled = settled(o)
	ns, target := canary.Key.Namespace, text(o, "spec", "targetRef", "name")
	if name := text(o, "spec", "ingressRef", "name"); name != "" {
		canary.Weight = c.liveWeight(ns, name, canary.Weight)
	} else if gateway(o) {
		canary.Weight = c.liveRoute(ns, apex(o), canary.Weight)
	}
	if nginx(o) {
		canary.Ingress = text(o, "spec", "ingressRef", "name")
		canary.Service = apex(o)
	}
	canary.Next = nextWeight(o, canary.Weight)
	next, errCanary := c.version(ns, target, rollout.TrackCanary)
	stable, errPrimary := c.version(ns, target+"-primary", rollout.TrackPrimary)
	canary.Revision, canary.Stable, canary.Pods = next.revision, stable.revision, append(next.pods, stable.pods...)
	files := c.files(o, canary)
	if canary.Phase.UnderWay() || canary.Phase == rollout.Failed {
		canary.Changes = append(differences(next.template, stable.template), files...)
	}
	return canary, errors.Join(errCanary, errPrimary)
}

// liveWeight reads the weight where Flagger's nginx router writes it; status.canaryWeight is 0 while a promotion waits
// though all traffic goes to the canary (flagger-facts §0.14).
func (c *Cluster) liveWeight(ns, ingress string, status int) int {
	i, err := c.ingress.Ingresses(ns).Get(ingress + "-canary")
	if err != nil {
		return status
	}
	weight, err := strconv.Atoi(i.Annotations[weightAnnotation])
	if err != nil {
		return status
	}
	return weight
}

// deployed is what a Deployment runs; the zero one while there is none, or while the Deployment controller has not made its
// newest ReplicaSet yet.
type deployed struct {
	revision rollout.Revision
	template *corev1.PodTemplateSpec // of that revision; watched, not ours to change
	pods     []rollout.Pod           // of all its revisions
}

// version reads what a Deployment runs.
func (c *Cluster) version(ns, name string, track rollout.Track) (deployed, error) {
	d, err := c.deploys.Deployments(ns).Get(name)
	if apierrors.IsNotFound(err) {
		return deployed{}, nil
	}
	if err != nil {
		return deployed{}, fmt.Errorf("read deployment %s: %w", name, err)
	}
	sets, err := owned[*appsv1.ReplicaSet](c.sets, d.UID)
	if err != nil {
		return deployed{}, err
	}
	var found deployed
	for _, rs := range sets {
		list, err := owned[*corev1.Pod](c.pods, rs.UID)
		if err != nil {
			return deployed{}, err
		}
		for _, p := range list {
			if p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodRunning {
				found.pods = append(found.pods, pod(p, track))
			}
		}
	}
	// The cache has no order, and two ticks must not differ in it.
	slices.SortFunc(found.pods, func(a, b rollout.Pod) int { return cmp.Compare(a.Name, b.Name) })
	if rs := newest(d, sets); rs != nil {
		found.revision, found.template = revision(rs), &rs.Spec.Template
	}
	return found, nil
}

// newest is the Deployment's newest ReplicaSet; nil while the Deployment controller has not made it yet.
func newest(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if d.Status.ObservedGeneration < d.Generation {
		return nil
	}
	for _, rs := range sets {
		if rs.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation] {
			return rs
		}
	}
	return nil
}

func revision(rs *appsv1.ReplicaSet) rollout.Revision {
	annotations := rs.Spec.Template.Annotations
	rev := rollout.Revision{
		Hash:     rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		DeployID: annotations[deployIDAnnotation],
		Change:   annotations[changeAnnotation],
		Commit:   annotations[commitAnnotation],

		Note:        printable(annotations[noteAnnotation]),
		Traceparent: annotations[traceparent],
		Drill:       annotations[drillAnnotation] == "true",
	}
	// A time that can not be read is none: lead times are left out then.
	if at, err := time.Parse(time.RFC3339, annotations[committedAt]); err == nil {
		rev.CommittedAt = at.UTC()
	}
	if containers := rs.Spec.Template.Spec.Containers; len(containers) > 0 {
		rev.Image = containers[0].Image
	}
	return rev
}

// policyName is the policy that the Canary's own hooks name in their metadata.
func policyName(o map[string]any) string {
	found, _, _ := unstructured.NestedFieldNoCopy(o, "spec", "analysis", "webhooks")
	hooks, _ := found.([]any)
	for _, h := range hooks {
		hook, ok := h.(map[string]any)
		if !ok {
			continue
		}
		if name := text(hook, "metadata", "policy"); name != "" {
			return name
		}
	}
	return "default"
}

func text(o map[string]any, path ...string) string {
	s, _, _ := unstructured.NestedString(o, path...)
	return s
}
