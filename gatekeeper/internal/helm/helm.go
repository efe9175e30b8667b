// Package helm asks the program helm about one release, and lets it go back.
package helm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Release is one of Helm's, in the cluster of the current kubeconfig.
type Release struct{ Namespace, Name string }

// Revision is an entry of a release's history.
type Revision struct {
	Number int    `json:"revision"`
	Status string `json:"status"`
}

// ErrNoRelease is returned where Helm knows no release of that name.
var ErrNoRelease = errors.New("no such release")

// History is what Helm remembers of the release, newest first.
func (r Release) History(ctx context.Context) ([]Revision, error) {
	text, err := r.helm(ctx, "history", r.Name, "--output", "json")
	if err != nil {
		return nil, err
	}
	var all []Revision
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read helm history of %s: %w", r.Name, err)
	}
	slices.SortFunc(all, func(a, b Revision) int { return b.Number - a.Number })
	return all, nil
}

// Manifest is what a revision of the release brought into the cluster. It may hold secrets.
func (r Release) Manifest(ctx context.Context, revision int) (string, error) {
	text, err := r.helm(ctx, "get", "manifest", r.Name, "--revision", strconv.Itoa(revision))
	return string(text), err
}

// Rollback makes a new revision of the release that is as this one was. It does not wait for pods.
func (r Release) Rollback(ctx context.Context, revision int) error {
	_, err := r.helm(ctx, "rollback", r.Name, strconv.Itoa(revision))
	return err
}

func (r Release) helm(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "helm", append(args, "--namespace", r.Namespace)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("run helm: %w; install it: https://helm.sh/docs/intro/install", err)
	case err != nil && strings.Contains(errs.String(), "release: not found"):
		return nil, fmt.Errorf("helm %s %s -n %s: %w", args[0], r.Name, r.Namespace, ErrNoRelease)
	case err != nil:
		return nil, fmt.Errorf("helm %s %s -n %s: %w: %s", args[0], r.Name, r.Namespace, err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
