package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// nodeImage is kind v0.33.0's build of Kubernetes 1.34; a kind release supports only its own builds.
const nodeImage = "kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d"

// IngressNodePort is where ingress-nginx listens on the node, on every engine.
const IngressNodePort = 30080

// Kind is a kind cluster and the Docker that builds its images.
type Kind struct {
	Source
	Name  string // of the cluster
	State string // folder for its configuration and kubeconfig
	Port  int    // of this machine's loopback, to the ingress
}

// Engine returns the way to this cluster.
func (k Kind) Engine() Engine {
	access := Access{Kubeconfig: k.kubeconfig()}
	return Engine{
		Name: "kind", Access: access, Needs: []string{"docker", "kind", "helm"},
		Made: k.made, Make: k.create, Put: k.put, Remove: k.remove,
		Upgrade: access.Upgrade, Uninstall: access.Uninstall,
	}
}

func (k Kind) kubeconfig() string { return filepath.Join(k.State, k.Name+".kubeconfig") }

func (k Kind) config() string {
	return fmt.Sprintf(`kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    image: %s
    extraPortMappings:
      - {containerPort: %d, hostPort: %d, listenAddress: 127.0.0.1, protocol: TCP}
`, nodeImage, IngressNodePort, k.Port)
}

func (k Kind) exists(ctx context.Context) (bool, error) {
	out, err := sh.Command("kind", "get", "clusters").Output(ctx)
	if err != nil {
		return false, fmt.Errorf("list kind clusters: %w", err)
	}
	return slices.Contains(strings.Fields(out), k.Name), nil
}

func (k Kind) made(ctx context.Context) (bool, error) {
	there, err := k.exists(ctx)
	if err != nil || !there {
		return false, err
	}
	if _, err := os.Stat(k.kubeconfig()); err != nil {
		return false, nil
	}
	return true, nil
}

// create makes the cluster unless it is there, and writes its kubeconfig in any case. One whose making was broken off
// half way is deleted by kind itself.
func (k Kind) create(ctx context.Context) error {
	if err := os.MkdirAll(k.State, 0o755); err != nil {
		return fmt.Errorf("make folder for kind: %w", err)
	}
	there, err := k.exists(ctx)
	if err != nil {
		return err
	}
	if there {
		return sh.Command("kind", "export", "kubeconfig", "--name", k.Name, "--kubeconfig", k.kubeconfig()).Run(ctx)
	}
	file := filepath.Join(k.State, k.Name+".yaml")
	if err := os.WriteFile(file, []byte(k.config()), 0o644); err != nil {
		return fmt.Errorf("write kind configuration: %w", err)
	}
	return sh.Command("kind", "create", "cluster", "--name", k.Name, "--config", file, "--kubeconfig", k.kubeconfig(), "--wait", "3m").Run(ctx)
}

func (k Kind) put(ctx context.Context, image Image) (string, error) {
	build := []string{
		"build", "-q", "-f", k.path(image.Dockerfile),
		"--build-arg", "VERSION=" + image.Version, "--build-arg", "COMMIT=" + k.Commit,
	}
	id, err := sh.Command("docker", append(build, k.path(image.Context))...).Output(ctx)
	if err != nil {
		return "", fmt.Errorf("build image %s: %w", image.Name, err)
	}
	id = strings.TrimSpace(id)
	name, err := k.ImageName(image, id)
	if err != nil {
		return "", err
	}
	if err := sh.Command("docker", "tag", id, name).Run(ctx); err != nil {
		return "", fmt.Errorf("name image %s: %w", image.Name, err)
	}
	if err := sh.Command("kind", "load", "docker-image", name, "--name", k.Name).Run(ctx); err != nil {
		return "", fmt.Errorf("load image %s: %w", image.Name, err)
	}
	return name, nil
}

// remove deletes the cluster; one that is not there is fine.
func (k Kind) remove(ctx context.Context) error {
	if err := sh.Command("kind", "delete", "cluster", "--name", k.Name, "--kubeconfig", k.kubeconfig()).Run(ctx); err != nil {
		return fmt.Errorf("delete kind cluster: %w", err)
	}
	for _, file := range []string{k.kubeconfig(), filepath.Join(k.State, k.Name+".yaml")} {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove what was written for kind: %w", err)
		}
	}
	return nil
}
