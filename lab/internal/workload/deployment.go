package workload

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (c *Controllers) syncDeployment(ctx context.Context, namespace, name string) (time.Duration, error) {
	d, err := c.client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read deployment %s/%s: %w", namespace, name, err)
	}
	list, err := c.client.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("list replicasets of %s: %w", namespace, err)
	}
	pods, err := c.pods(ctx, namespace)
	if err != nil {
		return 0, err
	}
	p := plan(d, pointers(list.Items), pods, c.now())
	if err := c.changeSets(ctx, p); err != nil {
		return 0, err
	}
	return p.recheck, c.writeDeployment(ctx, d, p)
}

func (c *Controllers) changeSets(ctx context.Context, p rollout) error {
	if s := p.create; s != nil {
		if _, err := c.client.AppsV1().ReplicaSets(s.Namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create replicaset %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	for _, s := range p.update {
		if _, err := c.client.AppsV1().ReplicaSets(s.Namespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update replicaset %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	for _, s := range p.remove {
		err := c.client.AppsV1().ReplicaSets(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete replicaset %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}

// writeDeployment writes what the plan says about the Deployment itself. A Deployment that somebody changed meanwhile is
// a conflict: its generation was not the one observed.
func (c *Controllers) writeDeployment(ctx context.Context, d *appsv1.Deployment, p rollout) error {
	deployments := c.client.AppsV1().Deployments(d.Namespace)
	if p.revision != "" && d.Annotations[revisionAnnotation] != p.revision {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, revisionAnnotation, p.revision)
		updated, err := deployments.Update(ctx, d, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("write revision of deployment %s/%s: %w", d.Namespace, d.Name, err)
		}
		d = updated
	}
	if equality.Semantic.DeepEqual(d.Status, p.status) {
		return nil
	}
	d.Status = p.status
	if _, err := deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	return nil
}
