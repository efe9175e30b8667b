package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// brakeManager is who the API server's records name for a weight set to 0 by Brake.
const brakeManager = "gatekeeper-brake"

// Brake takes all traffic from the canary: it sets the weight of its canary ingress to 0, never to anything else, and
// returns the weight in percent that it had. It was 0 already: 0 and no error. Canary and ingress are read from the API
// server, not from the watched copies, and the ingress is changed only as it was read; when somebody else was faster,
// all is read again. Errors: rollout.ErrUnknownCanary; rollout.ErrNotAnalysed in any phase but Progressing and
// WaitingPromotion; a provider other than nginx; no permission. Flagger keeps the 0 until it next raises the weight, so
// who brakes must also refuse the increase and ask for the rollback.
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
	if !nginx(canary.Object) {
		return 0, fmt.Errorf("not supported: provider %q has no canary ingress; set brake: off in the policy", text(canary.Object, "spec", "provider"))
	}
	name := text(canary.Object, "spec", "ingressRef", "name") + "-canary"
	ingresses := c.live.Resource(ingressResource()).Namespace(key.Namespace)
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
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": ingress.GetResourceVersion(), // refused with a conflict when the ingress is another by now
		"annotations":     map[string]string{weightAnnotation: "0"},
	}})
	if err != nil {
		return 0, fmt.Errorf("write patch: %w", err)
	}
	_, err = ingresses.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: brakeManager})
	if apierrors.IsForbidden(err) {
		return 0, fmt.Errorf("patch ingress %s: %w; set brake.enabled in the gatekeeper's chart", name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("patch ingress %s: %w", name, err)
	}
	return was, nil
}
