package kube

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Words for values that are never shown, because they may be secret.
const (
	set   = "set"
	other = "other"
)

// checksums is how charts name annotations that change with a file's content; what they hold is a hash.
const checksums = "checksum/"

// differences are in what the target's pods are others than the primary's, in a fixed order. Of environment, commands and
// files only the names are told.
func differences(target, primary *corev1.PodTemplateSpec) []rollout.Difference {
	if target == nil || primary == nil {
		return nil
	}
	now, before := common(target), common(primary)
	var all []rollout.Difference
	for _, kind := range []struct {
		name        string
		before, now []corev1.Container
	}{{"init container ", before.Spec.InitContainers, now.Spec.InitContainers}, {"", before.Spec.Containers, now.Spec.Containers}} {
		was, is := byName(kind.before, container), byName(kind.now, container)
		for _, name := range names(was, is) {
			all = append(all, ofContainer(kind.name+name, was[name], is[name])...)
		}
	}
	volumes := byName(now.Spec.Volumes, func(v corev1.Volume) string { return v.Name })
	all = append(all, told("volume ", "", byName(before.Spec.Volumes, func(v corev1.Volume) string { return v.Name }), volumes)...)
	for _, key := range names(before.Annotations, now.Annotations) {
		if strings.HasPrefix(key, checksums) && before.Annotations[key] != now.Annotations[key] {
			all = append(all, rollout.Difference{What: "annotation " + key, From: short(before.Annotations[key]), To: short(now.Annotations[key])})
		}
	}
	for _, spec := range []*corev1.PodSpec{&before.Spec, &now.Spec} {
		spec.Containers, spec.InitContainers, spec.Volumes = nil, nil, nil
		spec.Affinity, spec.TopologySpreadConstraints = nil, nil // Flagger writes the primary's own name into them
	}
	if !equality.Semantic.DeepEqual(before.Spec, now.Spec) {
		all = append(all, rollout.Difference{What: "other settings of the pod", From: set, To: other})
	}
	return all
}

// common is the template without what Flagger changes for the primary: the names of tracked ConfigMaps and Secrets end in
// -primary there (pkg/canary/config_tracker.go, ApplyPrimaryConfigs).
func common(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t = t.DeepCopy()
	trim := func(name *string) { *name = strings.TrimSuffix(*name, "-primary") }
	for _, list := range [][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for _, c := range list {
			for _, e := range c.Env {
				if from := e.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
					trim(&from.ConfigMapKeyRef.Name)
				} else if from != nil && from.SecretKeyRef != nil {
					trim(&from.SecretKeyRef.Name)
				}
			}
			for _, e := range c.EnvFrom {
				if e.ConfigMapRef != nil {
					trim(&e.ConfigMapRef.Name)
				} else if e.SecretRef != nil {
					trim(&e.SecretRef.Name)
				}
			}
		}
	}
	for _, v := range t.Spec.Volumes {
		if v.ConfigMap != nil {
			trim(&v.ConfigMap.Name)
		}
		if v.Secret != nil {
			trim(&v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					trim(&s.ConfigMap.Name)
				}
				if s.Secret != nil {
					trim(&s.Secret.Name)
				}
			}
		}
	}
	return t
}

// ofContainer compares one container; the zero one is not there.
func ofContainer(name string, before, now corev1.Container) (all []rollout.Difference) {
	add := func(what, from, to string) {
		if from != to {
			all = append(all, rollout.Difference{What: what, From: from, To: to})
		}
	}
	add("image of "+name, before.Image, now.Image)
	if before.Name == "" || now.Name == "" {
		return all // its image says that it came or went
	}
	for _, list := range []struct {
		what        string
		before, now []string
	}{{"command of ", before.Command, now.Command}, {"arguments of ", before.Args, now.Args}} {
		from, to := presence(len(list.before) > 0, true), presence(len(list.now) > 0, slices.Equal(list.before, list.now) || len(list.before) == 0)
		add(list.what+name, from, to)
	}
	variable := func(e corev1.EnvVar) string { return e.Name }
	all = append(all, told("env ", " of "+name, byName(before.Env, variable), byName(now.Env, variable))...)
	all = append(all, told("environment from ", " of "+name, byName(before.EnvFrom, source), byName(now.EnvFrom, source))...)
	for _, kind := range []struct {
		what        string
		before, now corev1.ResourceList
	}{{"request", before.Resources.Requests, now.Resources.Requests}, {"limit", before.Resources.Limits, now.Resources.Limits}} {
		for _, resource := range names(kind.before, kind.now) {
			add(string(resource)+" "+kind.what+" of "+name, quantity(kind.before, resource), quantity(kind.now, resource))
		}
	}
	for _, c := range []*corev1.Container{&before, &now} {
		c.Image, c.Command, c.Args, c.Env, c.EnvFrom, c.Resources = "", nil, nil, nil, nil, corev1.ResourceRequirements{}
	}
	if !equality.Semantic.DeepEqual(before, now) {
		add("other settings of "+name, set, other)
	}
	return all
}

// told compares things by their names, and tells no more than that they are other ones.
func told[T any](what, of string, before, now map[string]T) (all []rollout.Difference) {
	for _, name := range names(before, now) {
		was, had := before[name]
		is, has := now[name]
		from, to := presence(had, true), presence(has, !had || equality.Semantic.DeepEqual(was, is))
		if from != to {
			all = append(all, rollout.Difference{What: what + name + of, From: from, To: to})
		}
	}
	return all
}

func presence(there, same bool) string {
	switch {
	case !there:
		return ""
	case same:
		return set
	default:
		return other
	}
}

func container(c corev1.Container) string { return c.Name }

func source(e corev1.EnvFromSource) string {
	if e.SecretRef != nil {
		return "Secret " + e.SecretRef.Name
	}
	if e.ConfigMapRef != nil {
		return "ConfigMap " + e.ConfigMapRef.Name
	}
	return "?"
}

func quantity(list corev1.ResourceList, name corev1.ResourceName) string {
	if q, ok := list[name]; ok {
		return q.String()
	}
	return ""
}

func byName[T any](list []T, name func(T) string) map[string]T {
	all := make(map[string]T, len(list))
	for _, one := range list {
		all[name(one)] = one
	}
	return all
}

// names are the keys of both, in their order.
func names[K cmp.Ordered, V any](a, b map[K]V) []K {
	all := maps.Clone(a)
	if all == nil {
		all = map[K]V{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// short is enough of a checksum to see that it is another.
func short(sum string) string { return sum[:min(len(sum), 12)] }

// tracked are the checksums of ConfigMaps and Secrets by which Flagger knows that they changed, as "configmap/name". Flagger
// writes those of the revision that it looks at when it begins (pkg/canary/deployment_status.go, SyncStatus), so what a
// Canary at rest had are those before.
func tracked(o map[string]any) map[string]string {
	found, _, _ := unstructured.NestedStringMap(o, "status", "trackedConfigs")
	return found
}

// files compares tracked ConfigMaps and Secrets with those of the last time the Canary was at rest.
func (c *Cluster) files(o map[string]any, canary rollout.Canary) []rollout.Difference {
	c.restMu.Lock()
	defer c.restMu.Unlock()
	now := tracked(o)
	switch canary.Phase {
	case rollout.Initialized, rollout.Succeeded:
		c.rest[canary.Key] = now
		return nil
	}
	before, known := c.rest[canary.Key]
	if !known { // it was under way when the gatekeeper came
		return nil
	}
	names := strings.NewReplacer("configmap/", "ConfigMap ", "secret/", "Secret ")
	all := told("", "", before, now)
	for i := range all {
		all[i].What = names.Replace(all[i].What)
	}
	return all
}
