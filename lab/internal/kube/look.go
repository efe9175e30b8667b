package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// maxLines of one container's log are read.
const maxLines = int64(20_000)

// Logs are the newest lines of all containers of the pods with the label app.kubernetes.io/name=app; previous are those
// of the processes before the last restart. What could not be had is the error.
func (c *Client) Logs(ctx context.Context, namespace, app string, previous bool) ([]byte, error) {
	pods, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + app})
	if err != nil {
		return nil, fmt.Errorf("list pods of %s/%s: %w", namespace, app, err)
	}
	var text bytes.Buffer
	var errs []error
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			fmt.Fprintf(&text, "===== %s %s\n", pod.Name, container.Name)
			lines := maxLines
			options := &corev1.PodLogOptions{Container: container.Name, Previous: previous, TailLines: &lines}
			log, err := c.core.CoreV1().Pods(namespace).GetLogs(pod.Name, options).DoRaw(ctx)
			if err != nil {
				errs = append(errs, fmt.Errorf("read log of pod %s/%s: %w", namespace, pod.Name, err))
			}
			text.Write(log)
		}
	}
	return text.Bytes(), errors.Join(errs...)
}

// YAML is all objects of these resources, written as "deployments.apps", in a namespace, "" for all namespaces.
func (c *Client) YAML(ctx context.Context, namespace string, resources ...string) ([]byte, error) {
	var text bytes.Buffer
	var errs []error
	for _, resource := range resources {
		full, err := c.mapper.ResourceFor(schema.ParseGroupResource(resource).WithVersion(""))
		if err != nil {
			errs = append(errs, fmt.Errorf("find %s: %w", resource, err))
			continue
		}
		list, err := c.dynamic.Resource(full).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			errs = append(errs, fmt.Errorf("list %s: %w", resource, err))
			continue
		}
		body, err := yaml.Marshal(list)
		errs = append(errs, err)
		fmt.Fprintf(&text, "--- # %s\n%s", resource, body)
	}
	return text.Bytes(), errors.Join(errs...)
}
