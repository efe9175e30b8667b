// Package kube reads and changes a cluster, and reaches its pods and services, all through the API server.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// deployID is the pod-template annotation that names a release.
const deployID = "rollout.monitoring/deploy-id"

// Client is the way to one cluster. New makes it; it is safe for concurrent use.
type Client struct {
	config  *rest.Config
	core    *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	http    *http.Client // with the credentials of config
	base    string       // URL of the API server
}

// New returns a client for a kubeconfig file and a context in it; both may be empty, as for kubectl.
func New(kubeconfig, context string) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	// The default of five requests a second would blur what is to be timed.
	config.QPS, config.Burst = 100, 200
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make dynamic client: %w", err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make HTTP client: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("find API server: %w", err)
	}
	return &Client{
		config: config, core: core, dynamic: dyn, http: client, base: strings.TrimSuffix(base.String(), "/"),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(core.Discovery())),
	}, nil
}

// Phase is the phase of a Canary, "" before Flagger has seen it.
func (c *Client) Phase(ctx context.Context, namespace, name string) (string, error) {
	object, err := c.dynamic.Resource(canaries()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read canary %s/%s: %w", namespace, name, err)
	}
	phase, _, err := unstructured.NestedString(object.Object, "status", "phase")
	if err != nil {
		return "", fmt.Errorf("read phase of canary %s/%s: %w", namespace, name, err)
	}
	return phase, nil
}

// Weight is the share of traffic, in percent, that the ingress or the Gateway is told to give to the canary: what Flagger
// wrote on the Ingress <name>-canary, or where there is none in the HTTPRoute <name>, because status.canaryWeight is 0
// during some phases with traffic.
func (c *Client) Weight(ctx context.Context, namespace, name string) (int, error) {
	ingress, err := c.core.NetworkingV1().Ingresses(namespace).Get(ctx, name+"-canary", metav1.GetOptions{})
	if errors.IsNotFound(err) {
		return c.routeWeight(ctx, namespace, name)
	}
	if err != nil {
		return 0, fmt.Errorf("read ingress %s/%s-canary: %w", namespace, name, err)
	}
	const prefix = "nginx.ingress.kubernetes.io/"
	text := ingress.Annotations[prefix+"canary-weight"]
	if ingress.Annotations[prefix+"canary"] != "true" || text == "" {
		return 0, nil
	}
	weight, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read weight of ingress %s/%s-canary: %w", namespace, name, err)
	}
	return weight, nil
}

// routeWeight is the canary's in an HTTPRoute that Flagger made; it stands in the last rule.
func (c *Client) routeWeight(ctx context.Context, namespace, name string) (int, error) {
	route, err := c.dynamic.Resource(routes()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if errors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read HTTPRoute %s/%s: %w", namespace, name, err)
	}
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	if len(rules) == 0 {
		return 0, fmt.Errorf("read weight of HTTPRoute %s/%s: it has no rules", namespace, name)
	}
	last, _ := rules[len(rules)-1].(map[string]any)
	backends, _, _ := unstructured.NestedSlice(last, "backendRefs")
	for _, b := range backends {
		backend, _ := b.(map[string]any)
		if backend["name"] != name+"-canary" {
			continue
		}
		weight, ok := backend["weight"].(int64)
		if !ok {
			return 0, fmt.Errorf("read weight of HTTPRoute %s/%s: it is %v", namespace, name, backend["weight"])
		}
		return int(weight), nil
	}
	return 0, nil
}

// Release is what a Deployment runs.
type Release struct {
	Image, DeployID string
	Ready           bool // all its pods run this and are available
}

// Release reads a Deployment.
func (c *Client) Release(ctx context.Context, namespace, name string) (Release, error) {
	d, err := c.core.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Release{}, fmt.Errorf("read deployment %s/%s: %w", namespace, name, err)
	}
	return Release{
		Image:    d.Spec.Template.Spec.Containers[0].Image,
		DeployID: d.Spec.Template.Annotations[deployID],
		Ready:    ready(d),
	}, nil
}

func ready(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	return want > 0 && s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

// Pod is one pod that has a process.
type Pod struct {
	Name        string
	Process     string // differs between pods and between restarts in one pod
	DeployID    string
	Revision    string // pod-template-hash
	ImageID     string // what the node runs, by its digest where it was pulled
	Restarts    int32
	Ready       bool
	Terminating bool
}

// Pods are the pods of a Deployment of ours, which labels them with its own name, that have an address.
func (c *Client) Pods(ctx context.Context, namespace, deployment string) ([]Pod, error) {
	list, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + deployment})
	if err != nil {
		return nil, fmt.Errorf("list pods of %s/%s: %w", namespace, deployment, err)
	}
	var pods []Pod
	for _, p := range list.Items {
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || len(p.Status.ContainerStatuses) == 0 {
			continue
		}
		status := p.Status.ContainerStatuses[0]
		pods = append(pods, Pod{
			Name:        p.Name,
			Process:     fmt.Sprintf("%s/%d", p.UID, status.RestartCount),
			DeployID:    p.Annotations[deployID],
			Revision:    p.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
			ImageID:     status.ImageID,
			Restarts:    status.RestartCount,
			Ready:       status.Ready,
			Terminating: p.DeletionTimestamp != nil,
		})
	}
	return pods, nil
}

// Kill deletes a pod without grace, as if its node had died.
func (c *Client) Kill(ctx context.Context, namespace, pod string) error {
	none := int64(0)
	if err := c.core.CoreV1().Pods(namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		return fmt.Errorf("kill pod %s/%s: %w", namespace, pod, err)
	}
	return nil
}
