package stack

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
)

// owned is the label of what lab made itself and may delete: namespaces and custom resource definitions.
const owned = "app.kubernetes.io/managed-by=rollout-lab"

// patience is how long a Deployment may take to be available: the first time its image is pulled.
const patience = "5m"

// namespace makes a namespace of ours. One of somebody else is left alone.
func (s *Stack) namespace(ctx context.Context, name string) error {
	return Namespace(ctx, s.Engine.Access, name)
}

// Namespace makes a namespace with lab's label unless there is one with it. One without the label is an error: what is
// in it is not ours.
func Namespace(ctx context.Context, access cluster.Access, name string) error {
	there, ours, err := lookNamespace(ctx, access, name)
	switch {
	case err != nil:
		return err
	case there && ours:
		return nil
	case there:
		return fmt.Errorf("namespace %s was not made by lab; delete it, or let lab have it: kubectl label namespace %s %s --overwrite", name, name, owned)
	}
	key, value, _ := strings.Cut(owned, "=")
	create := access.Kubectl("create", "-f", "-")
	create.Stdin = fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {%s: %s}\n", name, key, value)
	return create.Run(ctx)
}

func lookNamespace(ctx context.Context, access cluster.Access, name string) (there, ours bool, err error) {
	out, err := access.Kubectl("get", "namespace", name, "--ignore-not-found", "-o", "name").Output(ctx)
	if err != nil {
		return false, false, err
	}
	mine, err := access.Kubectl("get", "namespace", "--selector", owned, "-o", "name").Output(ctx)
	if err != nil {
		return false, false, err
	}
	for line := range strings.FieldsSeq(mine) {
		ours = ours || line == "namespace/"+name
	}
	return strings.TrimSpace(out) != "", ours, nil
}

// noCRDs reports whether Flagger's custom resources are unknown to the cluster.
func (s *Stack) noCRDs(ctx context.Context) (bool, error) {
	out, err := s.Engine.Access.Kubectl("get", "crd", "canaries.flagger.app", "--ignore-not-found", "-o", "name").Output(ctx)
	return strings.TrimSpace(out) == "", err
}

// claimCRDs labels them as ours, because Helm never removes what a chart has in crds/.
func (s *Stack) claimCRDs(ctx context.Context) error {
	label := []string{"label", "crd", "canaries.flagger.app", "metrictemplates.flagger.app", "alertproviders.flagger.app", owned, "--overwrite"}
	return s.Engine.Access.Kubectl(label...).Run(ctx)
}

// settle waits for a Deployment and then leaves the stamp that tells the next run that all is done.
func (s *Stack) settle(ctx context.Context, namespace, step, sum, deployment string) error {
	if deployment != "" {
		if err := s.Engine.Access.Kubectl("-n", namespace, "rollout", "status", "deployment/"+deployment, "--timeout", patience).Run(ctx); err != nil {
			return err
		}
	}
	return s.Engine.Access.Kubectl("annotate", "namespace", namespace, "--overwrite", stamp(step)+"="+sum).Run(ctx)
}

// stamped reports whether a step was done from these very inputs and what it made still runs.
func (s *Stack) stamped(ctx context.Context, namespace, step, sum, deployment string) (bool, error) {
	query := fmt.Sprintf(`jsonpath={.metadata.annotations.%s}`, strings.ReplaceAll(stamp(step), ".", `\.`))
	out, err := s.Engine.Access.Kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", query).Output(ctx)
	if err != nil || strings.TrimSpace(out) != sum {
		return false, err
	}
	if deployment == "" {
		return true, nil
	}
	err = s.Engine.Access.Kubectl("-n", namespace, "rollout", "status", "deployment/"+deployment, "--timeout", "2s").Run(ctx)
	return err == nil, ctx.Err()
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
