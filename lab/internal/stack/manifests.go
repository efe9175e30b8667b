package stack

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

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
		text: func() ([]byte, error) { return kustomize(s.path("lab", "monitoring")) },
	}
}

// kustomize builds a folder as kubectl apply -k does.
func kustomize(folder string) ([]byte, error) { return kustomizeFrom(filesys.MakeFsOnDisk(), folder) }

func kustomizeFrom(files filesys.FileSystem, folder string) ([]byte, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, folder)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", folder, err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", folder, err)
	}
	return text, nil
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
