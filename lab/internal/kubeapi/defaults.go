package apiserver

import (
	"fmt"
	"hash/fnv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
)

// admit checks an object of a built-in kind against its Go type and fills in what the real API fills in. Unknown fields
// are dropped, or refused when strict.
func admit(k kind, o *object, strict bool) (*object, error) {
	if k.custom {
		return o, nil
	}
	typed, err := scheme.Scheme.New(k.gvk())
	if runtime.IsNotRegisteredError(err) {
		return o, nil // definitions: the client library does not bring their type
	}
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, strict); err != nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.Kind, k.Version, k.Kind, err))
	}
	fill(typed)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", k.Kind, err)
	}
	full := &object{Object: content}
	full.SetGroupVersionKind(k.gvk())
	return full, nil
}

// fill sets the defaults that controllers and clients rely on (k8s.io/kubernetes, pkg/apis/*/v1/defaults.go).
func fill(typed runtime.Object) {
	switch o := typed.(type) {
	case *appsv1.Deployment:
		def(&o.Spec.Replicas, 1)
		def(&o.Spec.RevisionHistoryLimit, 10)
		def(&o.Spec.ProgressDeadlineSeconds, 600)
		fillStrategy(&o.Spec.Strategy)
		fillPod(&o.Spec.Template.Spec)
	case *appsv1.ReplicaSet:
		def(&o.Spec.Replicas, 1)
		fillPod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		def(&o.Spec.Replicas, 1)
		fillPod(&o.Spec.Template.Spec)
	case *appsv1.DaemonSet:
		fillPod(&o.Spec.Template.Spec)
	case *corev1.Pod:
		fillPod(&o.Spec)
		if o.Status.Phase == "" {
			o.Status.Phase = corev1.PodPending
		}
	case *corev1.Namespace:
		if o.Status.Phase == "" {
			o.Status.Phase = corev1.NamespaceActive
		}
	case *corev1.Service:
		fillService(o)
	case *corev1.Secret:
		for key, value := range o.StringData {
			if o.Data == nil {
				o.Data = map[string][]byte{}
			}
			o.Data[key] = []byte(value)
		}
		o.StringData = nil
		def2(&o.Type, corev1.SecretTypeOpaque)
	}
}

func def[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func def2[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func fillStrategy(s *appsv1.DeploymentStrategy) {
	def2(&s.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return
	}
	def(&s.RollingUpdate, appsv1.RollingUpdateDeployment{})
	def(&s.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	def(&s.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
}

func fillPod(p *corev1.PodSpec) {
	def2(&p.RestartPolicy, corev1.RestartPolicyAlways)
	def2(&p.DNSPolicy, corev1.DNSClusterFirst)
	def(&p.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	def2(&p.SchedulerName, corev1.DefaultSchedulerName)
	def(&p.SecurityContext, corev1.PodSecurityContext{})
	for _, containers := range [][]corev1.Container{p.InitContainers, p.Containers} {
		for i := range containers {
			fillContainer(&containers[i])
		}
	}
	for i := range p.Volumes {
		v := &p.Volumes[i]
		if v.ConfigMap != nil {
			def(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
		}
		if v.Secret != nil {
			def(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
		}
	}
}

func fillContainer(c *corev1.Container) {
	def2(&c.ImagePullPolicy, corev1.PullIfNotPresent)
	def2(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	def2(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		def2(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			def2(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if p == nil {
			continue
		}
		def2(&p.PeriodSeconds, 10)
		def2(&p.TimeoutSeconds, 1)
		def2(&p.SuccessThreshold, 1)
		def2(&p.FailureThreshold, 3)
		if p.HTTPGet != nil {
			def2(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
			def2(&p.HTTPGet.Path, "/")
		}
	}
}

func fillService(o *corev1.Service) {
	def2(&o.Spec.Type, corev1.ServiceTypeClusterIP)
	def2(&o.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	if o.Spec.ClusterIP == "" && o.Spec.Type != corev1.ServiceTypeExternalName {
		o.Spec.ClusterIP = clusterIP(o.Namespace + "/" + o.Name)
		o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
	}
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		def2(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

// clusterIP is an address that looks like one of a service; nothing routes it.
func clusterIP(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	sum := h.Sum32()
	return fmt.Sprintf("10.96.%d.%d", sum>>8&0xff, sum&0xff)
}
