package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/ingress"
)

// ingressCmd is started by the embedded engine, in a process of its own.
type ingressCmd struct {
	Listen     string `default:"127.0.0.1:8080" help:"Address for users."`
	Metrics    string `default:"127.0.0.1:10254" help:"Address of /metrics and /healthz."`
	Kubeconfig string `name:"api" env:"KUBECONFIG" help:"Kubeconfig of the cluster."`
	NGINX      string `name:"nginx" env:"LAB_NGINX" required:"" help:"The nginx program."`
	Dir        string `env:"POD_DIR" default:"." help:"Folder for NGINX' configuration."`
	Pod        string `env:"POD_NAME" help:"Name in metrics."`
	Namespace  string `env:"POD_NAMESPACE" help:"Namespace in metrics."`
}

func (c ingressCmd) run(ctx context.Context, stderr io.Writer) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	controller, err := ingress.New(ingress.Config{
		Client: client, NGINX: c.NGINX, Dir: filepath.Join(c.Dir, "nginx"), Listen: c.Listen, Metrics: c.Metrics,
		Class: "nginx", Namespace: c.Namespace, Pod: c.Pod, Log: slog.New(slog.NewJSONHandler(stderr, nil)).With("component", "ingress"),
	})
	if err != nil {
		return err
	}
	return controller.Run(ctx)
}
