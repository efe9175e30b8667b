package workload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// syncService writes the endpoints of a Service. Those of a Service that is gone are its dependents and go with it.
func (c *Controllers) syncService(ctx context.Context, namespace, name string) error {
	service, err := c.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service %s/%s: %w", namespace, name, err)
	}
	if len(service.Spec.Selector) == 0 || service.DeletionTimestamp != nil || service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	pods, err := c.pods(ctx, namespace)
	if err != nil {
		return err
	}
	if err := c.writeEndpoints(ctx, service, endpoints(service, pods)); err != nil {
		return fmt.Errorf("write endpoints %s/%s: %w", namespace, name, err)
	}
	if err := c.writeSlices(ctx, service, endpointSlices(service, pods)); err != nil {
		return fmt.Errorf("write endpointslices of service %s/%s: %w", namespace, name, err)
	}
	return nil
}

func (c *Controllers) writeEndpoints(ctx context.Context, service *corev1.Service, subsets []corev1.EndpointSubset) error {
	api := c.client.CoreV1().Endpoints(service.Namespace)
	have, err := api.Get(ctx, service.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{
				Name: service.Name, Namespace: service.Namespace, Labels: service.Labels,
				OwnerReferences: []metav1.OwnerReference{ownerReference(service)},
			},
			Subsets: subsets,
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil || equality.Semantic.DeepEqual(have.Subsets, subsets) {
		return err
	}
	have.Subsets = subsets
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func (c *Controllers) writeSlices(ctx context.Context, service *corev1.Service, wanted []*discoveryv1.EndpointSlice) error {
	api := c.client.DiscoveryV1().EndpointSlices(service.Namespace)
	ours := labels.Set{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: sliceManager}
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: ours.String()})
	if err != nil {
		return err
	}
	left := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range pointers(list.Items) {
		left[s.Name] = s
	}
	for _, s := range wanted {
		have := left[s.Name]
		delete(left, s.Name)
		switch {
		case have == nil:
			_, err = api.Create(ctx, s, metav1.CreateOptions{})
		case !equality.Semantic.DeepEqual(have.Endpoints, s.Endpoints) || !equality.Semantic.DeepEqual(have.Ports, s.Ports):
			have.Endpoints, have.Ports = s.Endpoints, s.Ports
			_, err = api.Update(ctx, have, metav1.UpdateOptions{})
		}
		if err != nil {
			return err
		}
	}
	for name := range left {
		if err := api.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
