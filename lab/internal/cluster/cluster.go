// Package cluster makes or finds a cluster, gets images into it and removes it; each of its engines does so in its way.
package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Engine is one way to a cluster. All else is the same for every cluster.
type Engine struct {
	Name   string
	Access Access
	Needs  []string // programs that must be there
	Before []Task   // what must be there before the cluster, in this order
	Beside []Task   // what is made while images are

	Made   func(context.Context) (bool, error)          // whether the cluster is there and answers
	Make   func(context.Context) error                  // does nothing to one that is there
	Put    func(context.Context, Image) (string, error) // builds the image, gets it in, returns its name
	Remove func(context.Context) error                  // nil: the cluster is not ours
	Close  func() error                                 // ends what lives in this process; nil: nothing does

	Upgrade   func(context.Context, chart.Release) error              // installs it or upgrades it, and does not wait
	Uninstall func(ctx context.Context, namespace, name string) error // one that is not there is fine
	Ingress   []byte                                                  // manifests of its own ingress controller; nil: the public chart is installed
	Flagger   func(context.Context) (string, error)                   // where it has Flagger's chart; nil: the public one is installed
}

// Task is something to be done once on this machine. Done says whether it is.
type Task struct {
	Name string
	Done func(context.Context) (bool, error)
	Run  func(context.Context) error
}

// Access says which cluster is meant: a kubeconfig file and a context in it. The zero value is kubectl's own default.
type Access struct {
	Kubeconfig, Context string
}

// Client is a new client for the cluster.
func (a Access) Client() (*kube.Client, error) { return kube.New(a.Kubeconfig, a.Context) }

// Upgrade installs a chart with the helm command, or upgrades it.
func (a Access) Upgrade(ctx context.Context, r chart.Release) error {
	return a.helm(r.Args()...).Run(ctx)
}

// Rollback brings a release back to one of its revisions with the helm command, and does not wait.
func (a Access) Rollback(ctx context.Context, namespace, name, revision string) error {
	return a.helm("rollback", name, revision, "--namespace", namespace).Run(ctx)
}

// Uninstall takes a release away with the helm command.
func (a Access) Uninstall(ctx context.Context, namespace, name string) error {
	return a.helm("uninstall", name, "--namespace", namespace, "--ignore-not-found").Run(ctx)
}

func (a Access) helm(args ...string) sh.Cmd {
	var flags []string
	if a.Kubeconfig != "" {
		flags = append(flags, "--kubeconfig", a.Kubeconfig)
	}
	if a.Context != "" {
		flags = append(flags, "--kube-context", a.Context)
	}
	return sh.Command("helm", append(flags, args...)...)
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

// Source is where images come from: the repository, and how their names begin.
type Source struct {
	Root     string // of the repository
	Registry string // prefix of image names
	Commit   string
}

// ImageName is the full name of an image. Without a tag it gets one from what digest says its content is.
func (s Source) ImageName(image Image, digest string) (string, error) {
	tag := image.Tag
	if tag == "" {
		var err error
		if tag, err = contentTag(digest); err != nil {
			return "", err
		}
	}
	return s.name(image.Name, tag), nil
}

func (s Source) name(image, tag string) string { return s.Registry + "/" + image + ":" + tag }

// Build builds the program of an image as a static binary, and returns its file and the digest of its content.
func (s Source) Build(ctx context.Context, image Image) (binary, digest string, err error) {
	build, err := filepath.Abs(s.path("build", "images"))
	if err != nil {
		return "", "", fmt.Errorf("find build folder: %w", err)
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return "", "", fmt.Errorf("make build folder: %w", err)
	}
	binary = filepath.Join(build, image.Name+"-"+image.Version)
	compile := sh.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+image.Version+" -X main.commit="+s.Commit, "-o", binary, ".")
	compile.Dir = s.path(image.Folder)
	compile.Env = []string{"CGO_ENABLED=0", "GOWORK=off", "GOTOOLCHAIN=auto"}
	if err := compile.Run(ctx); err != nil {
		return "", "", fmt.Errorf("build %s %s: %w", image.Name, image.Version, err)
	}
	digest, err = fileDigest(binary)
	return binary, digest, err
}

func fileDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

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
		"docker": "https://docs.docker.com/engine/install",
		"kind":   "go install sigs.k8s.io/kind@v0.33.0",
		"helm":   "https://helm.sh/docs/intro/install",
		"go":     "https://go.dev/doc/install",
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
