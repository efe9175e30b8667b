package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// The images that are not built from this repository, as the manifests name them.
const (
	ingressImage      = "registry.k8s.io/ingress-nginx/controller:embedded"
	prometheusImage   = "docker.io/prom/prometheus:v3.16.0"
	alertmanagerImage = "docker.io/prom/alertmanager:v0.35.0"
	flaggerImage      = "ghcr.io/fluxcd/flagger:"
)

// image is what the node knows of one: the program, and what it needs beside what the manifest says, because there is
// no service account to be found at a fixed path and no network of the pod's own.
type image struct {
	Binary string            `json:"binary"`
	Args   []string          `json:"args,omitempty"`
	Env    map[string]string `json:"env,omitempty"`
}

// program is one of ours. Each has a setting for its way to the cluster.
func program(name, binary string) image {
	i := image{Binary: binary}
	switch name {
	case "gatekeeper":
		i.Env = map[string]string{"GATEKEEPER_KUBECONFIG": "$(KUBECONFIG)"}
	case "loadgen":
		i.Env = map[string]string{"LOADGEN_PROXY": "$(HTTP_PROXY)"}
	}
	return i
}

// others are the images that are there from the start.
func (e *Embedded) others(programs packages.Programs) map[string]image {
	return map[string]image{
		ingressImage:             {Binary: e.Program, Env: map[string]string{"LAB_NGINX": programs.NGINX}},
		flaggerImage + e.Flagger: {Binary: e.flaggerProgram(), Args: []string{"-kubeconfig=$(KUBECONFIG)", "-port=$(PORT_8080)"}},
		prometheusImage: {
			Binary: e.Program,
			Args:   []string{"--web.listen-address=127.0.0.1:$(PORT_9090)"},
			Env:    map[string]string{PrometheusEntrypoint: programs.Prometheus},
		},
		alertmanagerImage: {
			Binary: e.Program,
			Args:   []string{"--web.listen-address=127.0.0.1:$(PORT_9093)"},
			Env:    map[string]string{AlertmanagerEntrypoint: e.alertmanagerProgram()},
		},
	}
}

// The variables that make lab the entrypoint of the server that they name, whatever its arguments are.
const (
	PrometheusEntrypoint   = "LAB_PROMETHEUS_ENTRYPOINT"
	AlertmanagerEntrypoint = "LAB_ALERTMANAGER_ENTRYPOINT"
)

func (e *Embedded) writeImage(name string, i image) error {
	text, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	if err := os.MkdirAll(e.path("images"), 0o755); err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	// The node may be reading: it sees the old file or the new one.
	file := e.path("images", url.PathEscape(name)+".json")
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	return nil
}

func (e *Embedded) flaggerProgram() string {
	return filepath.Join(e.binaries(), "flagger-"+e.Flagger)
}

// binaries is the folder of what is built once.
func (e *Embedded) binaries() string {
	return filepath.Join(e.Cache, "bin", runtime.GOOS+"-"+runtime.GOARCH)
}

func (e *Embedded) hasFlagger(context.Context) (bool, error) {
	_, err := os.Stat(e.flaggerProgram())
	return err == nil, nil
}

func (e *Embedded) alertmanagerProgram() string {
	_, version, _ := strings.Cut(alertmanagerImage, ":v")
	return filepath.Join(e.binaries(), "alertmanager-"+version)
}

func (e *Embedded) hasAlertmanager(context.Context) (bool, error) {
	_, err := os.Stat(e.alertmanagerProgram())
	return err == nil, nil
}

// buildAlertmanager builds it from its module, which takes a script: not all of it is in there.
func (e *Embedded) buildAlertmanager(ctx context.Context) error {
	e.Say("alertmanager is compiled from its Go module, which takes a minute the first time")
	return sh.Command(filepath.Join(e.Root, "hack", "alertmanager"), e.binaries()).Run(ctx)
}

// buildFlagger builds Flagger's own command from its module, unchanged.
func (e *Embedded) buildFlagger(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(e.flaggerProgram()), 0o755); err != nil {
		return fmt.Errorf("make folder for programs: %w", err)
	}
	// A folder of its own: another lab may be building the same.
	bin, err := os.MkdirTemp(e.Cache, "flagger-")
	if err != nil {
		return fmt.Errorf("make folder for Flagger: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	e.Say("flagger " + e.Flagger + " is compiled from its Go module, which takes some minutes the first time")
	command := "github.com/fluxcd/flagger/cmd/flagger@v" + e.Flagger
	install := e.goCommand("install", "-trimpath", "-ldflags", "-s -w", command)
	install.Env = append(install.Env, "GOBIN="+bin)
	if err := install.Run(ctx); err != nil {
		return fmt.Errorf("build Flagger: %w", err)
	}
	if err := os.Rename(filepath.Join(bin, "flagger"), e.flaggerProgram()); err != nil {
		return fmt.Errorf("build Flagger: %w", err)
	}
	return nil
}
