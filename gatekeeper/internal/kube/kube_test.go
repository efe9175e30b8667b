package kube

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Watches, Deployments and ingresses are proven on a real cluster by the lab; here is what is read from one object.

func TestPod(t *testing.T) {
	deleted := metav1.NewTime(time.Now())
	got := pod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			UID: "u", Name: "podinfo-abc-x", Labels: map[string]string{"pod-template-hash": "abc"},
			Annotations:       map[string]string{"prometheus.io/port": "9797", "prometheus.io/path": "/stats"},
			DeletionTimestamp: &deleted,
		},
		Status: corev1.PodStatus{
			PodIP:      "fd00::7",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}, rollout.TrackCanary)
	want := rollout.Pod{UID: "u", Name: "podinfo-abc-x", Address: "[fd00::7]:9797", Path: "/stats", Track: rollout.TrackCanary, Hash: "abc", Ready: true, Terminating: true}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if plain := pod(&corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.7"}}, rollout.TrackPrimary); plain.Address != "10.0.0.7:8080" || plain.Path != "/metrics" || plain.Ready {
		t.Errorf("a pod without annotations: %+v", plain)
	}
	forged := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"prometheus.io/port": "80@elsewhere:80"}}, Status: corev1.PodStatus{PodIP: "10.0.0.7"}}
	if got := pod(forged, rollout.TrackCanary); got.Address != "10.0.0.7:8080" {
		t.Errorf("an annotation sends us to %s", got.Address)
	}
	if unborn := pod(&corev1.Pod{}, rollout.TrackCanary); unborn.Address != "" {
		t.Errorf("a pod without an IP has the address %q", unborn.Address)
	}
}

func TestPolicyName(t *testing.T) {
	hook := func(metadata map[string]any) any { return map[string]any{"name": "step", "metadata": metadata} }
	canary := func(hooks ...any) map[string]any {
		return map[string]any{"spec": map[string]any{"analysis": map[string]any{"webhooks": hooks}}}
	}
	for name, c := range map[string]struct {
		object map[string]any
		want   string
	}{
		"named by a hook":              {canary(hook(nil), hook(map[string]any{"policy": "careful"})), "careful"},
		"no hook names one":            {canary(hook(map[string]any{"team": "a"})), "default"},
		"no hooks":                     {map[string]any{}, "default"},
		"something that is not a hook": {canary("x"), "default"},
	} {
		if got := policyName(c.object); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
