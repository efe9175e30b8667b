package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
)

type deploysCmd struct {
	loadFlags
	Act      string `default:"act" help:"The program act, which runs GitHub's workflows on this machine."`
	Registry string `name:"push-to" default:"127.0.0.1:5000" help:"Registry that this machine pushes images to and the node pulls them from, under one name."`
	Work     string `help:"Folder for all that is written, made anew; else one in the state folder."`
}

// deploys has a namespace of its own: the other scenarios' is emptied by whoever plays them.
func (l *lab) deploys(ctx context.Context) error {
	d, err := l.drill(ctx, l.Deploys.Rate)
	if err != nil {
		return err
	}
	d.Namespace, d.Host = "deploys", "deploys.example" // as in the values
	work, err := filepath.Abs(cmp.Or(l.Deploys.Work, filepath.Join(l.state(l.stack.Root), "deploys")))
	if err != nil {
		return fmt.Errorf("find work folder: %w", err)
	}
	return d.Deploys(ctx, drill.Flow{
		Act: l.Deploys.Act, Root: l.stack.Root, Work: work, Registry: l.Deploys.Registry, Values: "lab/values/deploys.yaml",
		Kubeconfig: cmp.Or(l.Kubeconfig, os.Getenv("KUBECONFIG"), filepath.Join(os.Getenv("HOME"), ".kube", "config")),
	})
}
