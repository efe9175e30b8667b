package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
)

// every is the time between two looks at something that is waited for.
const every = 500 * time.Millisecond

// Answers returns why the cluster does not answer, nil if it does.
func (c *Client) Answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.core.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Errorf("ask %s/readyz: %w", c.base, err)
	}
	return nil
}

// Namespace is what is known of one.
type Namespace struct {
	Labels, Annotations map[string]string
}

// Namespace reads a namespace, nil when there is none.
func (c *Client) Namespace(ctx context.Context, name string) (*Namespace, error) {
	is, err := c.core.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", name, err)
	}
	return &Namespace{Labels: is.Labels, Annotations: is.Annotations}, nil
}

// CreateNamespace makes a namespace with labels; one that is there is an error.
func (c *Client) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.core.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// AnnotateNamespace sets one annotation.
func (c *Client) AnnotateNamespace(ctx context.Context, name, key, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if _, err := c.core.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("annotate namespace %s: %w", name, err)
	}
	return nil
}

// DeleteNamespace deletes a namespace and waits until it is gone, at most for patience. One that is not there is fine.
func (c *Client) DeleteNamespace(ctx context.Context, name string, patience time.Duration) error {
	err := c.core.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = c.until(ctx, patience, func(ctx context.Context) (bool, error) {
			is, err := c.Namespace(ctx, name)
			return is == nil, err
		})
	}
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// Available waits until a Deployment runs what it asks for, with all its pods, at most for patience. The error says what the
// cluster says of pods that do not run.
func (c *Client) Available(ctx context.Context, namespace, name string, patience time.Duration) error {
	var is Release
	err := c.until(ctx, patience, func(ctx context.Context) (bool, error) {
		var err error
		is, err = c.Release(ctx, namespace, name)
		return is.Ready, err
	})
	if err != nil {
		return fmt.Errorf("wait %s for deployment %s/%s (%s) to be available: %w%s", patience, namespace, name, is.Image, err, c.trouble(ctx, namespace, name))
	}
	return nil
}

// trouble is why containers of a Deployment do not run, or why a pod has no node, each reason once; "" when nobody says.
func (c *Client) trouble(ctx context.Context, namespace, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d, err := c.core.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	pods, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return ""
	}
	var said []string
	say := func(reason, message string) {
		if text := strings.TrimSpace(reason + " " + message); text != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	for _, pod := range pods.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				say(condition.Reason, condition.Message)
			}
		}
		for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if waiting := container.State.Waiting; waiting != nil {
				say(waiting.Reason, waiting.Message)
			}
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

// until looks again and again. An error in looking ends the wait only when time is over, and is then the reason.
func (c *Client) until(ctx context.Context, patience time.Duration, yes func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, every, patience, true, func(ctx context.Context) (bool, error) {
		ok, err := yes(ctx)
		if ctx.Err() == nil { // else the end of the time is the error, not what it interrupted
			last = err
		}
		return ok && err == nil, nil
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return last
	}
	return err
}

// SetSecret makes a Secret with one value, or sets the value in one that is there and leaves the others.
func (c *Client) SetSecret(ctx context.Context, namespace, name, key, value string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{key: value}}
	_, err := c.core.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var patch []byte
		if patch, err = json.Marshal(map[string]any{"stringData": secret.StringData}); err == nil {
			_, err = c.core.CoreV1().Secrets(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("set secret %s/%s: %w", namespace, name, err)
	}
	return nil
}

// Secret is one value of a Secret, "" when there is no such Secret or value.
func (c *Client) Secret(ctx context.Context, namespace, name, key string) (string, error) {
	secret, err := c.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
	}
	return string(secret.Data[key]), nil
}

// Deploy gives a Deployment's pod template a new deploy id: a new version in the eyes of Flagger, with the same image.
func (c *Client) Deploy(ctx context.Context, namespace, name, id string) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, deployID, id)
	_, err := c.core.AppsV1().Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("deploy %s as %s/%s: %w", id, namespace, name, err)
	}
	return nil
}

// PatchCanary changes a Canary by a JSON merge patch.
func (c *Client) PatchCanary(ctx context.Context, namespace, name, patch string) error {
	if _, err := c.dynamic.Resource(canaries()).Namespace(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("change canary %s/%s: %w", namespace, name, err)
	}
	return nil
}

// SetPolicy makes a policy the one that a Canary's hooks name to the gatekeeper.
func (c *Client) SetPolicy(ctx context.Context, namespace, name, policy string) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object, err := c.dynamic.Resource(canaries()).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		path := []string{"spec", "analysis", "webhooks"}
		hooks, _, err := unstructured.NestedSlice(object.Object, path...)
		if err != nil {
			return err
		}
		for _, entry := range hooks {
			hook, _ := entry.(map[string]any)
			if metadata, ok := hook["metadata"].(map[string]any); ok && metadata["policy"] != nil {
				metadata["policy"] = policy
			}
		}
		if err := unstructured.SetNestedSlice(object.Object, hooks, path...); err != nil {
			return err
		}
		_, err = c.dynamic.Resource(canaries()).Namespace(namespace).Update(ctx, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("set policy of canary %s/%s: %w", namespace, name, err)
	}
	return nil
}

// Scale sets the number of a Deployment's pods.
func (c *Client) Scale(ctx context.Context, namespace, name string, pods int32) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		scale, err := c.core.AppsV1().Deployments(namespace).GetScale(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = pods
		_, err = c.core.AppsV1().Deployments(namespace).UpdateScale(ctx, name, scale, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("scale deployment %s/%s to %d: %w", namespace, name, pods, err)
	}
	return nil
}

// Restart starts all pods of a Deployment anew, as `kubectl rollout restart` does, and does not wait for them.
func (c *Client) Restart(ctx context.Context, namespace, name string) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	_, err := c.core.AppsV1().Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("restart deployment %s/%s: %w", namespace, name, err)
	}
	return nil
}

func canaries() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "flagger.app", Version: "v1beta1", Resource: "canaries"}
}

func routes() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
}

func definitions() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// Defined reports whether there is a custom resource definition of that name, such as canaries.flagger.app.
func (c *Client) Defined(ctx context.Context, name string) (bool, error) {
	_, err := c.dynamic.Resource(definitions()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read definition %s: %w", name, err)
	}
	return true, nil
}

// Define applies custom resource definitions and waits until objects of their kinds can be made, at most for patience.
func (c *Client) Define(ctx context.Context, definitions []*Object, patience time.Duration) error {
	if err := c.Apply(ctx, "", definitions); err != nil {
		return err
	}
	for _, d := range definitions {
		group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
		err := c.until(ctx, patience, func(context.Context) (bool, error) {
			c.mapper.Reset()
			_, err := c.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("wait %s until %s is served: %w", patience, d.GetName(), err)
		}
	}
	return nil
}

// LabelDefinition sets one label of a custom resource definition.
func (c *Client) LabelDefinition(ctx context.Context, name, key, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value)
	if _, err := c.dynamic.Resource(definitions()).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label definition %s: %w", name, err)
	}
	return nil
}

// DeleteDefinitions deletes the custom resource definitions with that label.
func (c *Client) DeleteDefinitions(ctx context.Context, key, value string) error {
	err := c.dynamic.Resource(definitions()).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: key + "=" + value})
	if err != nil {
		return fmt.Errorf("delete definitions: %w", err)
	}
	return nil
}

// DeleteCanaries deletes all Canaries of a namespace and waits until Flagger has let them go. After patience it takes
// their finalizers away: Flagger is gone or can not revert.
func (c *Client) DeleteCanaries(ctx context.Context, namespace string, patience time.Duration) error {
	all := c.dynamic.Resource(canaries()).Namespace(namespace)
	if err := all.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("delete canaries of %s: %w", namespace, err)
	}
	none := func(ctx context.Context) (bool, error) {
		list, err := all.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	}
	if err := c.until(ctx, patience, none); err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	list, err := all.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list canaries of %s: %w", namespace, err)
	}
	for _, canary := range list.Items {
		_, err := all.Patch(ctx, canary.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take Flagger's finalizer away from canary %s/%s: %w", namespace, canary.GetName(), err)
		}
	}
	return nil
}
