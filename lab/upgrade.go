package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

type upgradeCmd struct {
	loadFlags
}

// newTags are the app's images that are released with today's chart: one to be promoted, one that is bad.
func newTags() []string { return []string{"up-4", "up-5"} }

// upgrade proves the upgrade from the first released version, or says why it can not.
func (l *lab) upgrade(ctx context.Context, stdout io.Writer) error {
	first, commit, err := firstRelease(filepath.Join(l.stack.Root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if sh.Command("git", "-C", l.stack.Root, "cat-file", "-e", commit+"^{commit}").Run(ctx) != nil {
		l.progress.Say(fmt.Sprintf("SKIPPED: version %s is commit %s, which this clone does not have; a whole one has it: git fetch --unshallow", first, commit))
		return nil
	}
	root, err := l.checkout(ctx, first, commit)
	if err != nil {
		return err
	}
	cfg, err := l.ground(ctx, l.stack.Ground())
	if err != nil {
		return err
	}
	for _, name := range []string{"gatekeeper", "loadgen"} { // those of today that an earlier command has left
		if err := l.stack.Engine.Uninstall(ctx, stack.SystemNamespace, name); err != nil {
			return err
		}
	}
	older, err := l.older(ctx, root, first)
	if err != nil {
		return err
	}
	crowd, err := l.stack.Loadgen(ctx)
	if err != nil {
		return err
	}
	// Users have a load generator of their own: the other one is upgraded while they come.
	crowd.Name, cfg.Users = "users", "users"
	if err := l.stack.Upgrade(ctx, crowd); err != nil {
		return err
	}
	d, err := l.drillOn(ctx, cfg, l.Upgrade.Rate)
	if err != nil {
		return err
	}
	outcome, err := d.Upgrade(ctx, older, drill.Newer{
		Charts: func(ctx context.Context) error { return stack.Run(ctx, l.progress, l.stack.Charts()) },
		Back: func(ctx context.Context) error {
			return l.stack.Engine.Access.Rollback(ctx, stack.SystemNamespace, older.Gatekeeper.Name, "1")
		},
		Tags: newTags(),
	})
	if err == nil && len(outcome.Misses) > 0 {
		err = drill.ErrMissed
	}
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, l.logs(ctx, "", l.progress.Out))
	}
	return errors.Join(outcome.WriteText(stdout), err)
}

// firstRelease is version and commit of the oldest release that the changelog has a commit for.
func firstRelease(changelog string) (version, commit string, err error) {
	text, err := os.ReadFile(changelog)
	if err != nil {
		return "", "", fmt.Errorf("find the first release: %w", err)
	}
	headings := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+) .*\(commit ([0-9a-f]{7,40})\)`).FindAllStringSubmatch(string(text), -1)
	if len(headings) == 0 {
		return "", "", errors.New("find the first release: " + changelog + " has no heading like: ## 0.1.0 … (commit 0123abc)")
	}
	oldest := headings[len(headings)-1]
	return oldest[1], oldest[2], nil
}

// checkout lays out the files of a commit under build.
func (l *lab) checkout(ctx context.Context, version, commit string) (string, error) {
	folder := filepath.Join(l.stack.Root, "build", "v"+version)
	if err := os.RemoveAll(folder); err != nil {
		return "", fmt.Errorf("lay out version %s: %w", version, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("lay out version %s: %w", version, err)
	}
	for _, command := range [][]string{
		{"git", "-C", l.stack.Root, "archive", "--output", folder + ".tar", commit},
		{"tar", "-xf", folder + ".tar", "-C", folder},
	} {
		if err := sh.Command(command[0], command[1:]...).Run(ctx); err != nil {
			return "", fmt.Errorf("lay out version %s: %w", version, err)
		}
	}
	return folder, os.Remove(folder + ".tar")
}

// older builds the programs of an older version from its own files and says how its own charts are installed.
func (l *lab) older(ctx context.Context, root, version string) (drill.Older, error) {
	engine, err := l.engine(ctx, root)
	if err != nil {
		return drill.Older{}, err
	}
	put := func(name, tag string) ([]string, error) {
		image, err := engine.Put(ctx, cluster.Image{Name: name, Version: version, Tag: tag, Dockerfile: "Dockerfile." + name, Context: ".", Folder: name})
		colon := strings.LastIndex(image, ":")
		if err != nil {
			return nil, err
		}
		return []string{"image.repository=" + image[:colon], "image.tag=" + image[colon+1:]}, nil
	}
	from := func(name, namespace string, values []string, sets ...string) chart.Release {
		return chart.Release{Name: name, Namespace: namespace, Chart: filepath.Join(root, "helm", name), Values: values, Sets: sets}
	}
	values := func(name string) []string { return []string{filepath.Join(root, "lab", "values", name+".yaml")} }
	var older drill.Older
	gatekeeper, err := put("gatekeeper", "")
	if err != nil {
		return older, err
	}
	if l.GatekeeperVolume != "" {
		gatekeeper = append(gatekeeper, "persistence.hostPath="+l.GatekeeperVolume)
	}
	loadgen, err := put("loadgen", "")
	if err != nil {
		return older, err
	}
	older.Tags = []string{"up-1", "up-2", "up-3"}
	var app []string
	for _, tag := range older.Tags {
		if app, err = put("app", tag); err != nil {
			return older, err
		}
	}
	older.Gatekeeper = from("gatekeeper", stack.SystemNamespace, values("gatekeeper"), gatekeeper...)
	older.Loadgen = from("loadgen", stack.SystemNamespace, nil, loadgen...)
	older.App = from("podinfo-like", namespace, values("podinfo"), app[0])
	older.App.Name = release
	return older, nil
}
