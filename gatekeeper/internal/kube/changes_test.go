package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	quantities "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// template has one of each thing that is compared.
func template() *corev1.PodTemplateSpec {
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"checksum/config": "0123456789abcdef", "rollout.monitoring/deploy-id": "run-7"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "prepare", Image: "prepare:1"}},
			Containers: []corev1.Container{{
				Name: "app", Image: "app:1", Args: []string{"serve"},
				Env: []corev1.EnvVar{
					{Name: "LOG_LEVEL", Value: "info"},
					{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("login"), Key: "password"}}},
					{Name: "MODE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: named("settings"), Key: "mode"}}},
				},
				EnvFrom:   []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("settings")}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("login")}}},
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: quantities.MustParse("128Mi")}},
			}},
			Volumes: []corev1.Volume{
				{Name: "files", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("settings")}}},
				{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "login"}}},
				{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("settings")}}, {Secret: &corev1.SecretProjection{LocalObjectReference: named("login")}},
				}}}},
			},
		},
	}
}

// primaryOf is the template as Flagger makes it for the primary.
func primaryOf(t *testing.T, target *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t.Helper()
	text, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	made := strings.NewReplacer(`"name":"settings"`, `"name":"settings-primary"`, `"name":"login"`, `"name":"login-primary"`, `"secretName":"login"`, `"secretName":"login-primary"`).Replace(string(text))
	primary := &corev1.PodTemplateSpec{}
	if err := json.Unmarshal([]byte(made), primary); err != nil {
		t.Fatal(err)
	}
	primary.Annotations["flagger-id"] = "5a1b"
	primary.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
	return primary
}

func TestDifferences(t *testing.T) {
	const secret = "hunter2"
	for name, c := range map[string]struct {
		change func(*corev1.PodTemplateSpec)
		want   []string // what: from → to
	}{
		"nothing but what Flagger changes": {func(*corev1.PodTemplateSpec) {}, nil},
		"another deploy id is the release itself": {
			func(t *corev1.PodTemplateSpec) { t.Annotations["rollout.monitoring/deploy-id"] = "run-8" }, nil,
		},
		"image": {func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].Image = "app:2" }, []string{"image of app: app:1 → app:2"}},
		"image of an init container": {
			func(t *corev1.PodTemplateSpec) { t.Spec.InitContainers[0].Image = "prepare:2" }, []string{"image of init container prepare: prepare:1 → prepare:2"},
		},
		"a container more": {
			func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers = append(t.Spec.Containers, corev1.Container{Name: "proxy", Image: "proxy:1", Env: []corev1.EnvVar{{Name: "X", Value: secret}}})
			},
			[]string{"image of proxy:  → proxy:1"},
		},
		"a container less": {func(t *corev1.PodTemplateSpec) { t.Spec.InitContainers = nil }, []string{"image of init container prepare: prepare:1 → "}},
		"values of variables are not shown": {
			func(t *corev1.PodTemplateSpec) {
				env := t.Spec.Containers[0].Env
				env[0].Value = secret
				t.Spec.Containers[0].Env = append(env[:1:1], corev1.EnvVar{Name: "TOKEN", Value: secret}, env[2])
			},
			[]string{"env LOG_LEVEL of app: set → other", "env PASSWORD of app: set → ", "env TOKEN of app:  → set"},
		},
		"environment from files": {
			func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].EnvFrom = t.Spec.Containers[0].EnvFrom[:1] },
			[]string{"environment from Secret login of app: set → "},
		},
		"command and arguments are not shown": {
			func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers[0].Command, t.Spec.Containers[0].Args = []string{"run"}, []string{"--password", secret}
			},
			[]string{"command of app:  → set", "arguments of app: set → other"},
		},
		"no more arguments": {func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].Args = nil }, []string{"arguments of app: set → "}},
		"resources": {
			func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers[0].Resources = corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: quantities.MustParse("50m")}, Limits: corev1.ResourceList{corev1.ResourceMemory: quantities.MustParse("256Mi")},
				}
			},
			[]string{"cpu request of app:  → 50m", "memory limit of app: 128Mi → 256Mi"},
		},
		"volumes": {
			func(t *corev1.PodTemplateSpec) {
				t.Spec.Volumes = append(t.Spec.Volumes[1:], corev1.Volume{Name: "scratch"})
				t.Spec.Volumes[0].Secret.SecretName = "other-login"
			},
			[]string{"volume files: set → ", "volume keys: set → other", "volume scratch:  → set"},
		},
		"a chart's checksum": {
			func(t *corev1.PodTemplateSpec) { t.Annotations["checksum/config"] = "fedcba9876543210" },
			[]string{"annotation checksum/config: 0123456789ab → fedcba987654"},
		},
		"what has no name here": {
			func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers[0].WorkingDir, t.Spec.ServiceAccountName = "/srv", "app"
			},
			[]string{"other settings of app: set → other", "other settings of the pod: set → other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target, primary := template(), primaryOf(t, template())
			c.change(target)
			before := fmt.Sprint(target, primary)
			var got []string
			for _, d := range differences(target, primary) {
				got = append(got, d.What+": "+d.From+" → "+d.To)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if strings.Contains(fmt.Sprint(got), secret) {
				t.Error("a value is shown that may be secret")
			}
			if fmt.Sprint(target, primary) != before {
				t.Error("what is watched was changed")
			}
		})
	}
	if differences(nil, template()) != nil || differences(template(), nil) != nil {
		t.Error("compared with what is not there")
	}
}

func TestTrackedFiles(t *testing.T) {
	c := &Cluster{rest: map[rollout.Key]map[string]string{}}
	look := func(phase rollout.Phase, configs map[string]any) []rollout.Difference {
		return c.files(map[string]any{"status": map[string]any{"trackedConfigs": configs}}, rollout.Canary{Key: rollout.Key{Name: "podinfo"}, Phase: phase})
	}
	before, after := map[string]any{"configmap/settings": "a", "secret/login": "b"}, map[string]any{"configmap/settings": "c", "secret/keys": "d"}
	if got := look(rollout.Progressing, after); got != nil {
		t.Errorf("nothing is known of the time before, but it says %v", got)
	}
	if got := look(rollout.Succeeded, before); got != nil {
		t.Errorf("at rest: %v", got)
	}
	if got := look(rollout.Waiting, before); got != nil {
		t.Errorf("the same files: %v", got)
	}
	want := []rollout.Difference{{What: "ConfigMap settings", From: set, To: other}, {What: "Secret keys", To: set}, {What: "Secret login", From: set}}
	if got := look(rollout.Progressing, after); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRevision(t *testing.T) {
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"pod-template-hash": "abc"}},
		Spec: appsv1.ReplicaSetSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
				"rollout.monitoring/deploy-id": "run-7", "rollout.monitoring/change": "hotfix", "rollout.monitoring/commit": "1f2e3d", "rollout.monitoring/commit-time": "2026-01-02T05:04:05+02:00",
				"rollout.monitoring/traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "rollout.monitoring/drill": "true",
				"rollout.monitoring/note": "by ann:\nCHG-7" + strings.Repeat(".", 300),
			}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "app:2"}}},
		}},
	}
	want := rollout.Revision{
		Hash: "abc", DeployID: "run-7", Change: "hotfix", Commit: "1f2e3d", CommittedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Image: "app:2",
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Drill: true, Note: "by ann: CHG-7" + strings.Repeat(".", 300-len("by ann: CHG-7")),
	}
	if got := revision(set); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	set.Spec.Template.Annotations["rollout.monitoring/commit-time"] = "yesterday"
	if got := revision(set); !got.CommittedAt.IsZero() || got.Commit != "1f2e3d" {
		t.Errorf("a time that is none: %+v", got)
	}
	set.Spec.Template.Annotations["rollout.monitoring/drill"] = "false"
	if revision(set).Drill {
		t.Error("a release that says that it is no drill is one")
	}
}
