package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
)

// Down are the steps that take everything away again; each does nothing where there is nothing left. A cluster that is
// ours is deleted whole. Of another only the namespaces that lab made are emptied and deleted.
func (s *Stack) Down(namespace, name string) []Step {
	if s.Engine.Remove != nil {
		return []Step{{Name: "cluster", Run: s.Engine.Remove}}
	}
	access := s.Engine.Access
	kubectl := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error { return access.Kubectl(args...).Run(ctx) }
	}
	drop := func(namespace string, releases ...string) func(context.Context) error {
		return func(ctx context.Context) error { return s.drop(ctx, namespace, releases...) }
	}
	return []Step{
		{Name: "cluster", Done: s.Engine.Made, Run: s.Engine.Make},
		{Name: namespace, Run: func(ctx context.Context) error { return Empty(ctx, access, namespace, name) }},
		{Name: "receiver, loadgen, gatekeeper", Run: drop(SystemNamespace, "loadgen", "gatekeeper")},
		{Name: "metric template, flagger", Run: drop(FlaggerNamespace, "flagger")},
		{Name: "flagger's definitions", Run: kubectl("delete", "crd", "--selector", owned, "--ignore-not-found")},
		{Name: "monitoring", Run: func(ctx context.Context) error {
			_, ours, err := lookNamespace(ctx, access, MonitoringNamespace)
			if err != nil || !ours {
				return err
			}
			return access.Kubectl("delete", "-k", s.path("monitoring"), "--ignore-not-found").Run(ctx)
		}},
		{Name: "ingress-nginx", Run: drop(IngressNamespace, "ingress-nginx")},
	}
}

// drop uninstalls releases and deletes their namespace, if lab made it.
func (s *Stack) drop(ctx context.Context, namespace string, releases ...string) error {
	_, ours, err := lookNamespace(ctx, s.Engine.Access, namespace)
	if err != nil || !ours {
		return err
	}
	for _, release := range releases {
		if err := s.Engine.Access.Helm("uninstall", release, "--namespace", namespace, "--ignore-not-found").Run(ctx); err != nil {
			return err
		}
	}
	return s.Engine.Access.Kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout", "3m").Run(ctx)
}

// Empty deletes a namespace that lab made with the release name in it; afterwards there is none.
func Empty(ctx context.Context, access cluster.Access, namespace, name string) error {
	there, ours, err := lookNamespace(ctx, access, namespace)
	if err != nil || !there {
		return err
	}
	if !ours {
		return Namespace(ctx, access, namespace) // says what to do
	}
	kubectl := func(args ...string) error {
		return access.Kubectl(append([]string{"-n", namespace}, args...)...).Run(ctx)
	}
	// The Canary goes first: its finalizer wants the target and the Services still there.
	definition, err := access.Kubectl("get", "crd", "canaries.flagger.app", "--ignore-not-found", "-o", "name").Output(ctx)
	if err != nil {
		return err
	}
	if strings.TrimSpace(definition) != "" {
		if err := kubectl("delete", "canaries.flagger.app", "--all", "--timeout", "90s"); err != nil {
			if ctx.Err() != nil {
				return err
			}
			// Flagger is gone or can not revert. All of the namespace goes anyway, so its finalizer protects nothing.
			release := `{"metadata":{"finalizers":null}}`
			if err := kubectl("patch", "canaries.flagger.app", name, "--type", "merge", "--patch", release); err != nil {
				return fmt.Errorf("take Flagger's finalizer away: %w", err)
			}
		}
	}
	if err := access.Helm("uninstall", name, "--namespace", namespace, "--ignore-not-found").Run(ctx); err != nil {
		return err
	}
	return access.Kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout", "3m").Run(ctx)
}

// Logs writes what a person needs to find out what went wrong into folder, one file each. What can not be had is
// said in its file: a broken cluster is when logs are wanted most.
func (s *Stack) Logs(ctx context.Context, folder, namespace string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder for logs: %w", err)
	}
	logs := func(namespace, what string) []string {
		return []string{"-n", namespace, "logs", what, "--all-containers", "--prefix", "--tail", "20000"}
	}
	ask := func(service, path string) []string {
		return []string{"get", "--raw", "/api/v1/namespaces/" + SystemNamespace + "/services/" + service + "/proxy/" + path}
	}
	files := map[string][]string{
		"deployment_report.md":    ask("gatekeeper:people", "deployment_report.md"),
		"rollouts.json":           ask("gatekeeper:people", "api/v1/rollouts"),
		"attacks.json":            ask("loadgen:http", "api/v1/attacks"),
		"notifications.json":      ask("receiver:http", ""),
		"gatekeeper.log":          logs(SystemNamespace, "deployment/gatekeeper"),
		"gatekeeper-previous.log": append(logs(SystemNamespace, "deployment/gatekeeper"), "--previous"),
		"loadgen.log":             logs(SystemNamespace, "deployment/loadgen"),
		"receiver.log":            logs(SystemNamespace, "deployment/receiver"),
		"flagger.log":             logs(FlaggerNamespace, "deployment/flagger"),
		"ingress-nginx.log":       logs(IngressNamespace, "deployment/ingress-nginx-controller"),
		"prometheus.log":          logs(MonitoringNamespace, "deployment/prometheus"),
		"canary.txt":              {"-n", namespace, "describe", "canaries.flagger.app"},
		"objects.yaml":            {"-n", namespace, "get", "canaries.flagger.app,deployments,replicasets,pods,ingresses,services", "-o", "yaml"},
		"events.txt":              {"get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"},
		"pods.txt":                {"get", "pods", "--all-namespaces", "-o", "wide"},
	}
	var errs []error
	for name, args := range files {
		out, err := s.Engine.Access.Kubectl(args...).Output(ctx)
		if err != nil {
			out += "\n" + err.Error() + "\n"
		}
		errs = append(errs, os.WriteFile(filepath.Join(folder, name), []byte(out), 0o644))
	}
	return errors.Join(errs...)
}
