// Package cluster makes or finds a cluster, gets images into it and removes it; each of its engines does so in its way.
package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Engine is one way to a cluster. All else is the same for every cluster.
type Engine struct {
	Name   string
	Access Access
	Needs  []string // programs, beside kubectl and helm

	Made   func(context.Context) (bool, error)          // whether the cluster is there and answers
	Make   func(context.Context) error                  // does nothing to one that is there
	Put    func(context.Context, Image) (string, error) // builds the image, gets it in, returns its name
	Remove func(context.Context) error                  // nil: the cluster is not ours
}

// Access says which cluster kubectl and helm talk to. The zero value is their own default.
type Access struct {
	Kubeconfig, Context string
}

// Kubectl is a kubectl command for this cluster.
func (a Access) Kubectl(args ...string) sh.Cmd {
	return sh.Command("kubectl", a.with("--context", args)...)
}

// Helm is a helm command for this cluster.
func (a Access) Helm(args ...string) sh.Cmd {
	return sh.Command("helm", a.with("--kube-context", args)...)
}

func (a Access) with(contextFlag string, args []string) []string {
	var flags []string
	if a.Kubeconfig != "" {
		flags = append(flags, "--kubeconfig", a.Kubeconfig)
	}
	if a.Context != "" {
		flags = append(flags, contextFlag, a.Context)
	}
	return append(flags, args...)
}

// Image is one of our images.
type Image struct {
	Name       string // app; also its entrypoint, /app
	Version    string // written into the binary
	Tag        string // "" is a tag made from the content, so that new content is a new name
	Dockerfile string // from the root of the repository, like the others
	Context    string // folder that Docker gets to see
	Folder     string // of package main
}

// Source is where images come from.
type Source struct {
	Root     string // of the repository
	Registry string // prefix of image names
	Commit   string
}

func (s Source) name(image, tag string) string { return s.Registry + "/" + image + ":" + tag }

// Commit is the repository's short commit for the binaries, "none" where there is no repository.
func Commit(ctx context.Context, root string) string {
	out, err := sh.Command("git", "-C", root, "rev-parse", "--short", "HEAD").Output(ctx)
	if err != nil {
		return "none"
	}
	return strings.TrimSpace(out)
}

// Advice says where to get the programs that engines need.
func Advice() map[string]string {
	return map[string]string{
		"docker":  "https://docs.docker.com/engine/install",
		"kind":    "go install sigs.k8s.io/kind@v0.33.0",
		"kubectl": "https://kubernetes.io/docs/tasks/tools",
		"helm":    "https://helm.sh/docs/intro/install",
		"go":      "https://go.dev/doc/install",
	}
}

// contentTag makes a tag out of a hexadecimal digest.
func contentTag(digest string) (string, error) {
	_, hex, found := strings.Cut(strings.TrimSpace(digest), ":")
	if !found {
		hex = strings.TrimSpace(digest)
	}
	if len(hex) < 12 {
		return "", fmt.Errorf("make a tag of digest %q: it is too short", digest)
	}
	return "dev-" + hex[:12], nil
}

func (s Source) path(parts ...string) string {
	return filepath.Join(append([]string{s.Root}, parts...)...)
}
