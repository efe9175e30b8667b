package node

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// environment is a process's variables in the order they were first set.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if e.values == nil {
		e.values = map[string]string{}
	}
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// list has the form os/exec wants.
func (e *environment) list() []string {
	out := make([]string, len(e.names))
	for i, name := range e.names {
		out[i] = name + "=" + e.values[name]
	}
	return out
}

// sources are the ConfigMaps and Secrets of a pod's namespace. A name that is missing is not there.
type sources struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

// containerEnv adds a container's own variables: envFrom first, then env, whose values may refer to what came before.
func containerEnv(e *environment, pod *corev1.Pod, c *corev1.Container, s sources, t translation) error {
	for _, from := range c.EnvFrom {
		values, err := s.all(from)
		if err != nil {
			return err
		}
		for _, key := range sortedKeys(values) {
			e.set(from.Prefix+key, t.value(values[key]))
		}
	}
	for _, v := range c.Env {
		if v.ValueFrom == nil {
			e.set(v.Name, t.template(v.Value, e.values))
			continue
		}
		value, found, err := s.one(pod, c, v.ValueFrom)
		if err != nil {
			return fmt.Errorf("variable %s: %w", v.Name, err)
		}
		if found {
			e.set(v.Name, t.value(value))
		}
	}
	return nil
}

// all is the content of a whole ConfigMap or Secret.
func (s sources) all(from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		if m := s.configMaps[from.ConfigMapRef.Name]; m != nil {
			return m.Data, nil
		}
		return nil, missing("configmap", from.ConfigMapRef.Name, "", isTrue(from.ConfigMapRef.Optional))
	case from.SecretRef != nil:
		if m := s.secrets[from.SecretRef.Name]; m != nil {
			return texts(m.Data), nil
		}
		return nil, missing("secret", from.SecretRef.Name, "", isTrue(from.SecretRef.Optional))
	default:
		return nil, nil
	}
}

// one is a single value; found is false for an optional one that is missing.
func (s sources) one(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = field(pod, from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = resourceField(pod, c, from.ResourceFieldRef)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		if m := s.configMaps[ref.Name]; m != nil {
			value, found = m.Data[ref.Key]
		}
		return value, found, missing("configmap", ref.Name, ref.Key, found || isTrue(ref.Optional))
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		if m := s.secrets[ref.Name]; m != nil {
			var data []byte
			data, found = m.Data[ref.Key]
			value = string(data)
		}
		return value, found, missing("secret", ref.Name, ref.Key, found || isTrue(ref.Optional))
	default:
		return "", false, errors.New("source of this kind is not known")
	}
}

func missing(kind, name, key string, fine bool) error {
	if fine {
		return nil
	}
	if key == "" {
		return fmt.Errorf("%s %q not found", kind, name)
	}
	return fmt.Errorf("%s %q has no key %q", kind, name, key)
}

// field is a value of the downward API.
func field(pod *corev1.Pod, path string) (string, error) {
	if kind, key, found := strings.Cut(path, "['"); found && strings.HasSuffix(key, "']") {
		switch key = strings.TrimSuffix(key, "']"); kind {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs":
		return loopback, nil
	default:
		return "", fmt.Errorf("field %q is not known", path)
	}
}

// lines is how the downward API writes labels and annotations into a file.
func lines(values map[string]string) string {
	var out []string
	for _, key := range sortedKeys(values) {
		out = append(out, key+"="+strconv.Quote(values[key]))
	}
	return strings.Join(out, "\n")
}

// resourceField is a container's request or limit. Without a limit a container may use the whole machine, whose memory is
// not known here: it is 0 then.
func resourceField(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == ref.ContainerName {
			c = &pod.Spec.Containers[i]
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	quantity, found := list[corev1.ResourceName(name)]
	if !found && name == string(corev1.ResourceCPU) {
		quantity = *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(ceil(quantity.MilliValue(), divisor.MilliValue()), 10), nil
	}
	if divisor.Value() == 0 {
		return "", fmt.Errorf("resource %q: divisor %s is too small", ref.Resource, divisor.String())
	}
	return strconv.FormatInt(ceil(quantity.Value(), divisor.Value()), 10), nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func texts(data map[string][]byte) map[string]string {
	out := make(map[string]string, len(data))
	for key, value := range data {
		out[key] = string(value)
	}
	return out
}

func isTrue(b *bool) bool { return b != nil && *b }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
