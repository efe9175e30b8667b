package stack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
)

// The label of what lab made itself and may delete: namespaces and custom resource definitions.
const (
	ownedKey   = "app.kubernetes.io/managed-by"
	ownedValue = "rollout-lab"
)

// canaryDefinition is there once Flagger's definitions are.
const canaryDefinition = "canaries.flagger.app"

// patience is how long a Deployment may take to be available: the first time its image is pulled.
const patience = 5 * time.Minute

// glance is how long one that should be available may take to show it.
const glance = 2 * time.Second

// client is the cluster's, which must have been made. One client serves all steps.
func (s *Stack) client() (*kube.Client, error) {
	if s.kube == nil {
		client, err := s.Engine.Access.Client()
		if err != nil {
			return nil, err
		}
		s.kube = client
	}
	return s.kube, nil
}

// Namespace makes a namespace with lab's label unless there is one with it. One without the label is an error: what is
// in it is not ours.
func (s *Stack) Namespace(ctx context.Context, name string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	return namespace(ctx, client, name)
}

func namespace(ctx context.Context, client *kube.Client, name string) error {
	is, err := client.Namespace(ctx, name)
	switch {
	case err != nil:
		return err
	case is == nil:
		return client.CreateNamespace(ctx, name, map[string]string{ownedKey: ownedValue})
	case is.Labels[ownedKey] != ownedValue:
		return fmt.Errorf("namespace %s was not made by lab; delete it, or let lab have it: kubectl label namespace %s %s=%s --overwrite", name, name, ownedKey, ownedValue)
	}
	return nil
}

// ours reports whether there is a namespace of lab's.
func ours(ctx context.Context, client *kube.Client, name string) (bool, error) {
	is, err := client.Namespace(ctx, name)
	return is != nil && is.Labels[ownedKey] == ownedValue, err
}

// claimCRDs labels Flagger's definitions as ours, because Helm never removes what a chart has in crds/.
func claimCRDs(ctx context.Context, client *kube.Client) error {
	var errs []error
	for _, name := range []string{canaryDefinition, "metrictemplates.flagger.app", "alertproviders.flagger.app"} {
		errs = append(errs, client.LabelDefinition(ctx, name, ownedKey, ownedValue))
	}
	return errors.Join(errs...)
}

// settle waits for Deployments and then leaves the stamp that tells the next run that all is done.
func settle(ctx context.Context, client *kube.Client, namespace, step, sum string, deployments ...string) error {
	for _, deployment := range deployments {
		if err := client.Available(ctx, namespace, deployment, patience); err != nil {
			return err
		}
	}
	return client.AnnotateNamespace(ctx, namespace, stamp(step), sum)
}

// stamped reports whether a step was done from these very inputs and what it made still runs.
func stamped(ctx context.Context, client *kube.Client, namespace, step, sum string, deployments ...string) (bool, error) {
	is, err := client.Namespace(ctx, namespace)
	if err != nil || is == nil || is.Annotations[stamp(step)] != sum {
		return false, err
	}
	for _, deployment := range deployments {
		if client.Available(ctx, namespace, deployment, glance) != nil {
			return false, ctx.Err()
		}
	}
	return true, nil
}

func stamp(step string) string { return "rollout.monitoring/lab-" + strings.ReplaceAll(step, " ", "-") }

// digest is a hash of words and of the contents of files and folders.
func digest(words, paths []string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", words)
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			body, err := os.ReadFile(name)
			fmt.Fprintf(sum, "%s %d\n%s", name, len(body), body)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("read what is to be installed: %w", err)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:16], nil
}
