package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// brakeManager is who the API server's records name for a weight set to 0 by Brake.
const brakeManager = "gatekeeper-brake"

// Brake takes all traffic from the canary: it sets the canary's weight to 0, never to anything else, on its canary ingress
// or in its HTTPRoute, and returns the weight in percent that it had. It was 0 already: 0 and no error. All is read from
// the API server, not from the watched copies, and changed only as it was read; when somebody else was faster, all is read
// again. Errors: rollout.ErrUnknownCanary; rollout.ErrNotAnalysed in any phase but Progressing and WaitingPromotion; a
// provider other than nginx and gatewayapi; traffic that is not split by weight; no permission. Flagger keeps the 0 until
// it next raises the weight, so who brakes must also refuse the increase and ask for the rollback.
func (c *Cluster) Brake(ctx context.Context, key rollout.Key) (was int, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		was, err = c.brake(ctx, key)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("brake %s: %w", key, err)
	}
	return was, nil
}

func (c *Cluster) brake(ctx context.Context, key rollout.Key) (int, error) {
	canary, err := c.live.Resource(canaryResource()).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, rollout.ErrUnknownCanary
	}
	if err != nil {
		return 0, fmt.Errorf("read canary: %w", err)
	}
	if phase := rollout.Phase(text(canary.Object, "status", "phase")); phase != rollout.Progressing && phase != rollout.WaitingPromotion {
		return 0, fmt.Errorf("phase %s: %w", phase, rollout.ErrNotAnalysed)
	}
	switch {
	case nginx(canary.Object):
		return c.brakeIngress(ctx, key.Namespace, text(canary.Object, "spec", "ingressRef", "name")+"-canary")
	case gateway(canary.Object):
		return c.brakeRoute(ctx, key.Namespace, apex(canary.Object))
	default:
		return 0, fmt.Errorf("not supported: provider %q has neither a canary ingress nor an HTTPRoute; set brake: off in the policy", text(canary.Object, "spec", "provider"))
	}
}

func (c *Cluster) brakeIngress(ctx context.Context, namespace, name string) (int, error) {
	ingresses := c.live.Resource(ingressResource()).Namespace(namespace)
	ingress, err := ingresses.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("read ingress %s: %w", name, err)
	}
	was, err := strconv.Atoi(ingress.GetAnnotations()[weightAnnotation])
	if err != nil {
		return 0, fmt.Errorf("ingress %s splits no traffic by weight: its annotation %s is %q", name, weightAnnotation, ingress.GetAnnotations()[weightAnnotation])
	}
	if was <= 0 {
		return 0, nil
	}
	return was, change(ctx, ingresses, ingress, map[string]any{"metadata": map[string]any{"annotations": map[string]any{weightAnnotation: "0"}}})
}

func (c *Cluster) brakeRoute(ctx context.Context, namespace, name string) (int, error) {
	routes := c.live.Resource(routeResource()).Namespace(namespace)
	route, err := routes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("read HTTPRoute %s: %w", name, err)
	}
	was, ok := routeWeight(route.Object, name)
	if !ok {
		return 0, fmt.Errorf("HTTPRoute %s splits no traffic by weight: its last rule does not lead to %s-canary", name, name)
	}
	if was <= 0 {
		return 0, nil
	}
	return was, change(ctx, routes, route, map[string]any{"spec": map[string]any{"rules": braked(route.Object, name)}})
}

// change patches an object, and is refused with a conflict when the object is another by now than the one that was read.
func change(ctx context.Context, all dynamic.ResourceInterface, is *unstructured.Unstructured, to map[string]any) error {
	what := fmt.Sprintf("patch %s %s", is.GetKind(), is.GetName())
	if err := unstructured.SetNestedField(to, is.GetResourceVersion(), "metadata", "resourceVersion"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	patch, err := json.Marshal(to)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = all.Patch(ctx, is.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: brakeManager})
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w; set brake.enabled in the gatekeeper's chart", what, err)
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
