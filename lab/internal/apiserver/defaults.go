package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// setDefaults fills in what the real API server would: the defaults that controllers, Flagger or a comparison of two
// objects rely on. They are in no library: Kubernetes keeps them in its own module.
func setDefaults(object runtime.Object) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		defaultDeployment(&o.Spec)
	case *appsv1.ReplicaSet:
		initial(&o.Spec.Replicas, 1)
		defaultPod(&o.Spec.Template.Spec)
	case *appsv1.StatefulSet:
		initial(&o.Spec.Replicas, 1)
		initial(&o.Spec.RevisionHistoryLimit, 10)
		initialValue(&o.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
		initialValue(&o.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
		defaultPod(&o.Spec.Template.Spec)
	case *appsv1.DaemonSet:
		initial(&o.Spec.RevisionHistoryLimit, 10)
		initialValue(&o.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
		defaultPod(&o.Spec.Template.Spec)
	case *batchv1.Job:
		initial(&o.Spec.Completions, 1)
		initial(&o.Spec.Parallelism, 1)
		initial(&o.Spec.BackoffLimit, 6)
		defaultPod(&o.Spec.Template.Spec)
	case *corev1.Pod:
		defaultPod(&o.Spec)
		initial(&o.Spec.EnableServiceLinks, true)
	case *corev1.Service:
		defaultService(&o.Spec)
	case *corev1.Secret:
		defaultSecret(o)
	case *corev1.Namespace:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels["kubernetes.io/metadata.name"] = o.Name
	case *corev1.PersistentVolumeClaim:
		initial(&o.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	case *autoscalingv2.HorizontalPodAutoscaler:
		initial(&o.Spec.MinReplicas, 1)
	case *autoscalingv1.HorizontalPodAutoscaler:
		initial(&o.Spec.MinReplicas, 1)
	case *apiextensionsv1.CustomResourceDefinition:
		apiextensionsv1.SetDefaults_CustomResourceDefinition(o)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&o.Spec)
	}
}

// initial sets an optional field that is not there.
func initial[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// initialValue sets a field that has its zero value.
func initialValue[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func defaultDeployment(spec *appsv1.DeploymentSpec) {
	initial(&spec.Replicas, 1)
	initial(&spec.RevisionHistoryLimit, 10)
	initial(&spec.ProgressDeadlineSeconds, 600)
	initialValue(&spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		initial(&spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		initial(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
		initial(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
	}
	defaultPod(&spec.Template.Spec)
}

func defaultPod(spec *corev1.PodSpec) {
	initialValue(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	initial(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	initialValue(&spec.DNSPolicy, corev1.DNSClusterFirst)
	initialValue(&spec.SchedulerName, corev1.DefaultSchedulerName)
	initial(&spec.SecurityContext, corev1.PodSecurityContext{})
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
}

func defaultContainer(container *corev1.Container) {
	if container.ImagePullPolicy == "" {
		container.ImagePullPolicy = pullPolicy(container.Image)
	}
	initialValue(&container.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	initialValue(&container.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range container.Ports {
		initialValue(&container.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range container.Env {
		if from := container.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			initialValue(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe, container.StartupProbe} {
		defaultProbe(probe)
	}
	if container.Lifecycle != nil && container.Lifecycle.PreStop != nil && container.Lifecycle.PreStop.HTTPGet != nil {
		defaultHTTPGet(container.Lifecycle.PreStop.HTTPGet)
	}
	// What is limited and not requested is requested as it is limited.
	for name, limit := range container.Resources.Limits {
		if container.Resources.Requests == nil {
			container.Resources.Requests = corev1.ResourceList{}
		}
		if _, found := container.Resources.Requests[name]; !found {
			container.Resources.Requests[name] = limit.DeepCopy()
		}
	}
}

func defaultProbe(probe *corev1.Probe) {
	if probe == nil {
		return
	}
	initialValue(&probe.TimeoutSeconds, 1)
	initialValue(&probe.PeriodSeconds, 10)
	initialValue(&probe.SuccessThreshold, 1)
	initialValue(&probe.FailureThreshold, 3)
	if probe.HTTPGet != nil {
		defaultHTTPGet(probe.HTTPGet)
	}
	if probe.GRPC != nil {
		initial(&probe.GRPC.Service, "")
	}
}

func defaultHTTPGet(get *corev1.HTTPGetAction) {
	initialValue(&get.Path, "/")
	initialValue(&get.Scheme, corev1.URISchemeHTTP)
}

func defaultVolume(source *corev1.VolumeSource) {
	if source.ConfigMap != nil {
		initial(&source.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if source.Secret != nil {
		initial(&source.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if source.Projected != nil {
		initial(&source.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	}
	if source.DownwardAPI != nil {
		initial(&source.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
	}
}

func defaultService(spec *corev1.ServiceSpec) {
	initialValue(&spec.Type, corev1.ServiceTypeClusterIP)
	initialValue(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.Type != corev1.ServiceTypeExternalName {
		initial(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	for i := range spec.Ports {
		port := &spec.Ports[i]
		initialValue(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == (intstr.IntOrString{}) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
}

func defaultSecret(secret *corev1.Secret) {
	initialValue(&secret.Type, corev1.SecretTypeOpaque)
	for name, value := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[name] = []byte(value)
	}
	secret.StringData = nil
}
