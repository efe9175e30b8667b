package stack

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Rules starts Prometheus anew, with the accelerated rules or with the real ones, and waits for it. What it knew is forgotten.
func (s *Stack) Rules(ctx context.Context, accelerated bool) error {
	a := s.monitoring()
	if accelerated {
		a.text = s.accelerated
	}
	return s.applyStep(a).Run(ctx)
}

func (s *Stack) accelerated() ([]byte, error) {
	return s.monitoringWith(s.path("lab", "monitoring", "accelerated_rules.yaml"))
}

// monitoringWith are the manifests of monitoring with the rules of a file.
func (s *Stack) monitoringWith(file string) ([]byte, error) {
	rules, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read Prometheus' rules: %w", err)
	}
	return kustomize(overlaid{filesys.MakeFsOnDisk(), s.path("monitoring", "alert_rules.yaml"), rules}, s.path("lab", "monitoring"), renew)
}

// overlaid is a file system in which one file has another content.
type overlaid struct {
	filesys.FileSystem
	file    string
	content []byte
}

// ReadFile prefers the other content.
func (o overlaid) ReadFile(path string) ([]byte, error) {
	if path == o.file {
		return o.content, nil
	}
	return o.FileSystem.ReadFile(path)
}
