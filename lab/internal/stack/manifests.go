package stack

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// applied is a set of manifests.
type applied struct {
	name, namespace string
	text            func() ([]byte, error)
	deployments     []string // to be waited for
}

// objects are the manifests, and a digest of them.
func (a applied) objects() ([]*kube.Object, string, error) {
	text, err := a.text()
	if err != nil {
		return nil, "", err
	}
	sum, err := digest([]string{string(text)}, nil)
	if err != nil {
		return nil, "", err
	}
	objects, err := kube.Parse(text)
	return objects, sum, err
}

func (s *Stack) monitoring() applied {
	return applied{
		name: "monitoring", namespace: MonitoringNamespace, deployments: []string{"prometheus", "alertmanager"},
		text: func() ([]byte, error) { return s.monitoringWith(s.Rulefile()) },
	}
}

// Rulefile is where Prometheus' rules are for what splits the traffic.
func (s *Stack) Rulefile() string {
	if s.Provider == GatewayAPI {
		return s.path("lab", "gateway", "alert_rules.yaml")
	}
	return s.path("monitoring", "alert_rules.yaml")
}

// kustomize builds a folder as kubectl apply -k does, but for the changes.
func kustomize(files filesys.FileSystem, folder string, changes ...func(resmap.ResMap) error) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the folder says in which order
	resources, err := krusty.MakeKustomizer(options).Run(files, folder)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", folder, err)
	}
	for _, change := range changes {
		if err := change(resources); err != nil {
			return nil, fmt.Errorf("build %s: %w", folder, err)
		}
	}
	text, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", folder, err)
	}
	return text, nil
}

// renew makes another configuration another pod of Prometheus. It would read changed files itself, but a proof neither waits for
// that nor wants what the last one left, and the Prometheus that distributions have does not look for changes.
func renew(resources resmap.ResMap) error {
	config, err := resources.GetById(resid.NewResIdWithNamespace(resid.NewGvk("", "v1", "ConfigMap"), "prometheus", MonitoringNamespace))
	if err != nil {
		return fmt.Errorf("find Prometheus' configuration: %w", err)
	}
	text, err := config.AsYAML()
	if err != nil {
		return fmt.Errorf("read Prometheus' configuration: %w", err)
	}
	sum, err := digest([]string{string(text)}, nil)
	if err != nil {
		return err
	}
	deployment, err := resources.GetById(resid.NewResIdWithNamespace(resid.NewGvk("apps", "v1", "Deployment"), "prometheus", MonitoringNamespace))
	if err != nil {
		return fmt.Errorf("find Prometheus' Deployment: %w", err)
	}
	if err := deployment.PipeE(kyaml.Lookup("spec", "template"), kyaml.SetAnnotation("lab/configuration", sum)); err != nil {
		return fmt.Errorf("write into Prometheus' Deployment: %w", err)
	}
	return nil
}

func (s *Stack) metricTemplate() applied {
	return applied{name: "metric template", namespace: FlaggerNamespace, text: func() ([]byte, error) {
		text, err := os.ReadFile(s.path("flagger", "metric-template.yaml"))
		if err != nil {
			return nil, fmt.Errorf("read metric template: %w", err)
		}
		return text, nil
	}}
}

func (s *Stack) ownIngress() applied {
	return applied{
		name: "ingress-nginx", namespace: IngressNamespace, deployments: []string{"ingress-nginx-controller"},
		text: func() ([]byte, error) { return s.Engine.Ingress, nil },
	}
}

//go:embed receiver.yaml
var manifests embed.FS

// receiver takes notifications; only the lab has it.
func (s *Stack) receiver() applied {
	return applied{name: "receiver", namespace: SystemNamespace, deployments: []string{"receiver"}, text: func() ([]byte, error) {
		text, err := manifests.ReadFile("receiver.yaml")
		if err != nil {
			return nil, fmt.Errorf("read receiver's manifest: %w", err)
		}
		image := s.images["receiver"]
		if image == "" {
			return nil, errors.New("the receiver's image has no name yet")
		}
		return []byte(strings.ReplaceAll(string(text), "RECEIVER_IMAGE", image)), nil
	}}
}

func (s *Stack) applyStep(a applied) Step {
	return Step{
		Name: a.name,
		Done: func(ctx context.Context) (bool, error) {
			_, sum, err := a.objects()
			if err != nil {
				return false, err
			}
			client, err := s.client()
			if err != nil {
				return false, err
			}
			return stamped(ctx, client, a.namespace, a.name, sum, a.deployments...)
		},
		Run: func(ctx context.Context) error {
			objects, sum, err := a.objects()
			if err != nil {
				return err
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			if err := namespace(ctx, client, a.namespace); err != nil {
				return err
			}
			if err := client.Apply(ctx, a.namespace, objects); err != nil {
				return err
			}
			return settle(ctx, client, a.namespace, a.name, sum, a.deployments...)
		},
	}
}
