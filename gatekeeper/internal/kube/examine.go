package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/doctor"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// maxPage bounds one pod's metrics page; a real one has some ten kilobytes.
const maxPage = 8 << 20

// Reader asks the API server directly, for one look at a moment. It needs get and list on what it reads and changes
// nothing.
type Reader struct {
	live   dynamic.Interface
	client kubernetes.Interface
}

// NewReader prepares the way to the API server; nothing is asked yet.
func NewReader(cfg *rest.Config) (*Reader, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 50, 100 // a dozen requests for each Canary; the library's own 5 a second would take minutes
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	live, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	return &Reader{live, client}, nil
}

// Patients reads all Canaries of the cluster, or the one that key names, with what belongs to each and the Canaries beside
// it. What can not be read is noted in the patient; only Canaries that can not be listed, and one that is not there, are
// errors.
func (r *Reader) Patients(ctx context.Context, key rollout.Key, now time.Time) ([]doctor.Patient, error) {
	list, err := r.live.Resource(canaryResource()).Namespace(key.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list canaries: %w", err)
	}
	var all []doctor.Object
	for _, o := range list.Items {
		all = append(all, o.Object)
	}
	var patients []doctor.Patient
	for _, o := range list.Items {
		if name := (rollout.Key{Namespace: o.GetNamespace(), Name: o.GetName()}); key == (rollout.Key{}) || key == name {
			patients = append(patients, r.patient(ctx, o.Object, all, now))
		}
	}
	if len(patients) == 0 && key != (rollout.Key{}) {
		return nil, fmt.Errorf("find canary %s: %w", key, rollout.ErrUnknownCanary)
	}
	return patients, nil
}

// visit reads for one patient and notes what could not be read.
type visit struct {
	*Reader
	ns     string
	unread map[string]string
}

func (r *Reader) patient(ctx context.Context, canary doctor.Object, all []doctor.Object, now time.Time) doctor.Patient {
	v := visit{r, text(canary, "metadata", "namespace"), map[string]string{}}
	target := text(canary, "spec", "targetRef", "name")
	apex, ingress := apex(canary), text(canary, "spec", "ingressRef", "name")
	p := doctor.Patient{
		Canary: canary, Others: all, Unread: v.unread, Now: now,
		Target:         v.get(ctx, "Deployment", v.ns, target),
		Primary:        v.get(ctx, "Deployment", v.ns, target+"-primary"),
		Apex:           v.get(ctx, "Service", v.ns, apex),
		PrimaryService: v.get(ctx, "Service", v.ns, apex+"-primary"),
		CanaryService:  v.get(ctx, "Service", v.ns, apex+"-canary"),
		Autoscalers:    v.list(ctx, "HorizontalPodAutoscaler"),
		Templates:      v.referred(ctx, canary, "metrics", "templateRef", "MetricTemplate"),
		AlertProviders: v.referred(ctx, canary, "alerts", "providerRef", "AlertProvider"),
	}
	if ingress != "" {
		p.Ingress, p.CanaryIngress = v.get(ctx, "Ingress", v.ns, ingress), v.get(ctx, "Ingress", v.ns, ingress+"-canary")
	}
	if gateway(canary) {
		p.Route = v.get(ctx, "HTTPRoute", v.ns, apex)
	}
	p.TargetSince = v.since(ctx, p.Target)
	return p
}

func resource(kind string) schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"Deployment":              {Group: "apps", Version: "v1", Resource: "deployments"},
		"ReplicaSet":              {Group: "apps", Version: "v1", Resource: "replicasets"},
		"Service":                 {Version: "v1", Resource: "services"},
		"Ingress":                 ingressResource(),
		"HTTPRoute":               routeResource(),
		"HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
		"MetricTemplate":          {Group: "flagger.app", Version: "v1beta1", Resource: "metrictemplates"},
		"AlertProvider":           {Group: "flagger.app", Version: "v1beta1", Resource: "alertproviders"},
	}[kind]
}

// get is nil for what is not there.
func (v visit) get(ctx context.Context, kind, ns, name string) doctor.Object {
	o, err := v.live.Resource(resource(kind)).Namespace(ns).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return o.Object
	}
	if !apierrors.IsNotFound(err) {
		v.unread[kind] = err.Error()
	}
	return nil
}

func (v visit) list(ctx context.Context, kind string) (all []doctor.Object) {
	list, err := v.live.Resource(resource(kind)).Namespace(v.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		v.unread[kind] = err.Error()
		return nil
	}
	for _, o := range list.Items {
		all = append(all, o.Object)
	}
	return all
}

// referred reads what the elements of a list of the analysis refer to.
func (v visit) referred(ctx context.Context, canary doctor.Object, field, ref, kind string) map[string]doctor.Object {
	found := map[string]doctor.Object{}
	elements, _, _ := unstructured.NestedSlice(canary, "spec", "analysis", field)
	for _, e := range elements {
		element, _ := e.(map[string]any)
		name, ns := text(element, ref, "name"), text(element, ref, "namespace")
		if name == "" {
			continue
		}
		if ns == "" {
			ns = v.ns
		}
		if o := v.get(ctx, kind, ns, name); o != nil {
			found[ns+"/"+name] = o
		}
	}
	return found
}

// since is when the target's current revision was first made, zero when that can not be seen.
func (v visit) since(ctx context.Context, target doctor.Object) time.Time {
	for _, set := range v.list(ctx, "ReplicaSet") {
		owners := (&unstructured.Unstructured{Object: set}).GetOwnerReferences()
		ours := target != nil && slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return string(o.UID) == text(target, "metadata", "uid") })
		if ours && text(set, "metadata", "annotations", revisionAnnotation) == text(target, "metadata", "annotations", revisionAnnotation) {
			made, _ := time.Parse(time.RFC3339, text(set, "metadata", "creationTimestamp")) // zero when it is none
			return made
		}
	}
	return time.Time{}
}

// Pages reads the metrics pages of a Deployment's ready pods through the API server, by pod name. It fails when no pod
// answers; what only some pods refuse is left out.
func (r *Reader) Pages(ctx context.Context, deployment doctor.Object) (map[string]string, error) {
	if deployment == nil {
		return nil, errors.New("read metrics pages: the deployment is not there")
	}
	ns, name := text(deployment, "metadata", "namespace"), text(deployment, "metadata", "name")
	labels, _, _ := unstructured.NestedStringMap(deployment, "spec", "selector", "matchLabels")
	selector := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})
	list, err := r.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", name, err)
	}
	pages := map[string]string{}
	trouble := errors.New("no pod is ready")
	for _, p := range list.Items {
		known := pod(&p, rollout.TrackPrimary)
		if !known.Ready {
			continue
		}
		page, err := r.page(ctx, &p, known.Path)
		if err != nil {
			trouble = fmt.Errorf("pod %s: %w", p.Name, err)
			continue
		}
		pages[p.Name] = page
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("read metrics pages of %s: %w", name, trouble)
	}
	return pages, nil
}

func (r *Reader) page(ctx context.Context, p *corev1.Pod, path string) (string, error) {
	body, err := r.client.CoreV1().Pods(p.Namespace).ProxyGet("http", p.Name, port(p), path, nil).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var page strings.Builder
	if _, err := io.Copy(&page, io.LimitReader(body, maxPage)); err != nil {
		return "", err
	}
	return page.String(), nil
}
