package kube

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/rights"
)

// Rules are what roles grant to the service accounts of a namespace, each by its name. What all accounts may is left out.
func (c *Client) Rules(ctx context.Context, namespace string) ([]rights.Rule, error) {
	api := c.core.RbacV1()
	wide, err := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list cluster role bindings: %w", err)
	}
	narrow, err := api.RoleBindings("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list role bindings: %w", err)
	}
	all := narrow.Items
	for _, b := range wide.Items {
		all = append(all, rbacv1.RoleBinding{Subjects: b.Subjects, RoleRef: b.RoleRef})
	}
	var found []rights.Rule
	for _, b := range all {
		for _, subject := range b.Subjects {
			if subject.Kind != rbacv1.ServiceAccountKind || subject.Namespace != namespace {
				continue
			}
			rules, err := c.rules(ctx, b)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				found = append(found, rights.Rule{
					Account: subject.Namespace + "/" + subject.Name, Namespace: b.Namespace,
					Groups: r.APIGroups, Resources: r.Resources, Names: r.ResourceNames, Verbs: r.Verbs,
				})
			}
		}
	}
	return found, nil
}

// rules are those of the role that a binding refers to.
func (c *Client) rules(ctx context.Context, b rbacv1.RoleBinding) ([]rbacv1.PolicyRule, error) {
	if b.RoleRef.Kind == "ClusterRole" {
		role, err := c.core.RbacV1().ClusterRoles().Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read cluster role %s: %w", b.RoleRef.Name, err)
		}
		return role.Rules, nil
	}
	role, err := c.core.RbacV1().Roles(b.Namespace).Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read role %s/%s: %w", b.Namespace, b.RoleRef.Name, err)
	}
	return role.Rules, nil
}
