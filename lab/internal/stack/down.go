package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// Down are the steps that take everything away again; each does nothing where there is nothing left. A cluster that is
// ours is deleted whole. Of another only the namespaces that lab made are emptied and deleted.
func (s *Stack) Down(demo, name string) []Step {
	if s.Engine.Remove != nil {
		return []Step{{Name: "cluster", Run: s.Engine.Remove}}
	}
	drop := func(namespace string, releases ...string) func(context.Context) error {
		return s.with(func(ctx context.Context, client *kube.Client) error {
			return s.drop(ctx, client, namespace, releases...)
		})
	}
	return []Step{
		{Name: "cluster", Done: s.Engine.Made, Run: s.Engine.Make},
		{Name: demo, Run: func(ctx context.Context) error { return s.Empty(ctx, demo, name) }},
		{Name: "receiver, loadgen, gatekeeper", Run: drop(SystemNamespace, "loadgen", "gatekeeper")},
		{Name: "metric template, flagger", Run: drop(FlaggerNamespace, "flagger")},
		{Name: "monitoring", Run: s.clear(s.monitoring())},
		{Name: "ingress-nginx", Run: drop(IngressNamespace, "ingress-nginx")},
		{Name: "gateway", Run: s.clear(s.gateway())},
		{Name: "definitions", Run: s.with(func(ctx context.Context, client *kube.Client) error {
			return client.DeleteDefinitions(ctx, ownedKey, ownedValue)
		})},
	}
}

// with gives a step the cluster's client.
func (s *Stack) with(do func(context.Context, *kube.Client) error) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := s.client()
		if err != nil {
			return err
		}
		return do(ctx, client)
	}
}

// clear deletes manifests, of which some may be in no namespace, and the namespace, if lab made it.
func (s *Stack) clear(a applied) func(context.Context) error {
	return s.with(func(ctx context.Context, client *kube.Client) error {
		mine, err := ours(ctx, client, a.namespace)
		if err != nil || !mine {
			return err
		}
		objects, _, err := a.objects()
		if err != nil {
			return err
		}
		if err := client.Delete(ctx, a.namespace, objects); err != nil {
			return err
		}
		return client.DeleteNamespace(ctx, a.namespace, leave)
	})
}

// leave is how long a namespace may take to go.
const leave = 3 * time.Minute

// drop uninstalls releases and deletes their namespace, if lab made it.
func (s *Stack) drop(ctx context.Context, client *kube.Client, namespace string, releases ...string) error {
	mine, err := ours(ctx, client, namespace)
	if err != nil || !mine {
		return err
	}
	for _, release := range releases {
		if err := s.Engine.Uninstall(ctx, namespace, release); err != nil {
			return err
		}
	}
	return client.DeleteNamespace(ctx, namespace, leave)
}

// Empty deletes a namespace that lab made with the release name in it; afterwards there is none.
func (s *Stack) Empty(ctx context.Context, in, name string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	is, err := client.Namespace(ctx, in)
	if err != nil || is == nil {
		return err
	}
	if is.Labels[ownedKey] != ownedValue {
		return namespace(ctx, client, in) // says what to do
	}
	// The Canary goes first: its finalizer wants the target and the Services still there. When Flagger can not revert,
	// it protects nothing, for all of the namespace goes.
	known, err := client.Defined(ctx, canaryDefinition)
	if err != nil {
		return err
	}
	if known {
		if err := client.DeleteCanaries(ctx, in, 90*time.Second); err != nil {
			return err
		}
	}
	return s.drop(ctx, client, in, name)
}

// Logs writes what a person needs to find out what went wrong into folder, one file each. What can not be had is
// said in its file: a broken cluster is when logs are wanted most.
func (s *Stack) Logs(ctx context.Context, folder, namespace string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder for logs: %w", err)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	var errs []error
	for name, read := range logFiles(client, namespace) {
		text, err := read(ctx)
		if err != nil {
			text = append(text, "\n"+err.Error()+"\n"...)
		}
		errs = append(errs, os.WriteFile(filepath.Join(folder, name), text, 0o644))
	}
	return errors.Join(errs...)
}

// logFiles are the files and where their content comes from.
func logFiles(client *kube.Client, namespace string) map[string]func(context.Context) ([]byte, error) {
	logs := func(namespace, app string, previous bool) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return client.Logs(ctx, namespace, app, previous) }
	}
	ask := func(service, port, path string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			text, _, err := client.Service(ctx, http.MethodGet, SystemNamespace, service, port, path, nil)
			return text, err
		}
	}
	list := func(namespace string, resources ...string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return client.YAML(ctx, namespace, resources...) }
	}
	return map[string]func(context.Context) ([]byte, error){
		"deployment_report.md":    ask("gatekeeper", "people", "/deployment_report.md"),
		"rollouts.json":           ask("gatekeeper", "people", "/api/v1/rollouts"),
		"attacks.json":            ask("loadgen", "http", "/api/v1/attacks"),
		"notifications.json":      ask("receiver", "http", "/"),
		"gatekeeper.log":          logs(SystemNamespace, "gatekeeper", false),
		"gatekeeper-previous.log": logs(SystemNamespace, "gatekeeper", true),
		"loadgen.log":             logs(SystemNamespace, "loadgen", false),
		"receiver.log":            logs(SystemNamespace, "receiver", false),
		"flagger.log":             logs(FlaggerNamespace, "flagger", false),
		"ingress-nginx.log":       logs(IngressNamespace, "ingress-nginx", false),
		"traefik.log":             logs(GatewayNamespace, "traefik", false),
		"prometheus.log":          logs(MonitoringNamespace, "prometheus", false),
		"alertmanager.log":        logs(MonitoringNamespace, "alertmanager", false),
		"objects.yaml":            list(namespace, "canaries.flagger.app", "deployments.apps", "replicasets.apps", "pods", "ingresses.networking.k8s.io", "httproutes.gateway.networking.k8s.io", "services"),
		"events.yaml":             list("", "events"),
		"pods.yaml":               list("", "pods"),
	}
}
