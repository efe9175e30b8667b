package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/drill"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// What the lab releases, and where.
const (
	namespace = "demo"
	release   = "podinfo"
)

// cli is the whole configuration: flags, each with its environment fallback.
type cli struct {
	Root        string `env:"LAB_ROOT" default:"." help:"Root of the repository."`
	State       string `env:"LAB_STATE" default:".lab" help:"Folder for kubeconfig and logs, in the root unless absolute."`
	Engine      string `env:"LAB_ENGINE" enum:"auto,embedded,kind,existing" default:"auto" help:"Cluster to use: kind, existing (the current kubeconfig), auto (kind when Docker answers)."`
	Name        string `env:"LAB_NAME" default:"rollout-lab" help:"Name of the kind cluster."`
	Port        int    `env:"LAB_PORT" default:"8080" help:"Port of this machine that kind maps to the ingress."`
	Kubeconfig  string `env:"LAB_KUBECONFIG" help:"For existing: kubeconfig file, else kubectl's own default."`
	KubeContext string `name:"context" env:"LAB_CONTEXT" help:"For existing: context in the kubeconfig."`

	Registry     string `env:"LAB_REGISTRY" default:"ghcr.io/rollout-monitoring" help:"Prefix of our images' names."`
	Tag          string `env:"LAB_TAG" help:"For existing without --image-command: tag of our images but the app's in the registry."`
	ImageCommand string `env:"LAB_IMAGE_COMMAND" help:"For existing: shell command that makes and loads one image from $$BINARY at $$ENTRYPOINT with name $$IMAGE; may use the file $$TAR."`

	FlaggerChart       string   `env:"FLAGGER_CHART" help:"Flagger's chart as folder or archive, else the public one."`
	IngressNginxChart  string   `env:"INGRESS_NGINX_CHART" help:"The ingress-nginx chart as folder or archive, else the public one."`
	FlaggerValues      []string `env:"LAB_FLAGGER_VALUES" help:"More values for it; may be repeated, the last file wins."`
	IngressNginxValues []string `env:"LAB_INGRESS_NGINX_VALUES" help:"More values for it; may be repeated, the last file wins."`
	GatekeeperValues   []string `env:"LAB_GATEKEEPER_VALUES" help:"More values for the gatekeeper's chart; may be repeated, the last file wins."`
	GatekeeperVolume   string   `env:"LAB_GATEKEEPER_VOLUME" help:"Folder of the node for the gatekeeper's memory, owned by user 65532, for a cluster without storage classes."`

	Up      struct{} `cmd:"" help:"Bring everything up; what is up stays."`
	Demo    demoCmd  `cmd:"" help:"Bring everything up and watch a good and a bad release."`
	Prove   proveCmd `cmd:"" help:"Bring everything up and prove each scenario on it."`
	Logs    logsCmd  `cmd:"" help:"Write logs and objects of all parts into a folder."`
	Down    struct{} `cmd:"" help:"Take everything away again, and kind's cluster with it."`
	Version struct{} `cmd:"" help:"Print version and commit."`
}

type loadFlags struct {
	Rate float64 `env:"LAB_RATE" default:"50" help:"Requests a second of the users."`
}

type demoCmd struct {
	loadFlags
}

type proveCmd struct {
	loadFlags
	Only   []int  `help:"Scenarios to run, by number; all without it."`
	Output string `enum:"text,json" default:"text" help:"text or json."`
	Logs   string `help:"Folder for logs when a scenario fails, else one in the state folder."`
}

type logsCmd struct {
	Dir string `help:"Folder to write, else one in the state folder."`
}

// errUsage marks what the caller can mend by another command line.
var errUsage = errors.New("usage")

// exitCode is 2 for a wrong call and 1 for all else.
func exitCode(err error) int {
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// run is the program: parse, build the stack, do what was asked.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	shown := false // --help was printed
	parser, err := kong.New(&c, kong.Name("lab"), kong.Description("Brings the system up on a cluster, shows it and proves it."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { shown = true }))
	if err != nil {
		return fmt.Errorf("build command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case shown:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w (see lab --help)", errUsage, err)
	}
	if parsed.Command() == "version" {
		fmt.Fprintf(stdout, "lab %s (%s)\n", version, commit)
		return nil
	}
	s, err := c.stack(ctx)
	if err != nil {
		return err
	}
	progress := &stack.Progress{Out: stdout, Terminal: terminal(stdout)}
	if c.Prove.Output == "json" {
		progress = &stack.Progress{Out: stderr, Terminal: terminal(stderr)}
	}
	switch parsed.Command() {
	case "up":
		return c.up(ctx, s, progress)
	case "demo":
		return c.demo(ctx, s, progress, stdout)
	case "prove":
		return c.prove(ctx, s, progress, stdout)
	case "logs":
		return c.logs(ctx, s, c.Logs.Dir, stdout)
	default:
		return stack.Run(ctx, progress, s.Down(namespace, release))
	}
}

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// stack is what the flags describe; it must find everything it needs on this machine.
func (c *cli) stack(ctx context.Context) (*stack.Stack, error) {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, fmt.Errorf("find root: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "helm", "podinfo-like", "Chart.yaml")); err != nil {
		return nil, fmt.Errorf("%w: %s is not the root of the repository; go there or give --root", errUsage, root)
	}
	engine, err := c.engine(ctx, root)
	if err != nil {
		return nil, err
	}
	s := stack.New(stack.Config{
		Root: root, Engine: engine, Version: version, AppVersions: drill.Versions(),
		FlaggerChart: c.FlaggerChart, IngressChart: c.IngressNginxChart,
		FlaggerValues: c.FlaggerValues, IngressValues: c.IngressNginxValues,
		GatekeeperValues: c.GatekeeperValues, GatekeeperVolume: c.GatekeeperVolume,
	})
	return s, s.Check()
}

func (c *cli) engine(ctx context.Context, root string) (cluster.Engine, error) {
	source := cluster.Source{Root: root, Registry: strings.TrimSuffix(c.Registry, "/"), Commit: cluster.Commit(ctx, root)}
	kind := cluster.Kind{Source: source, Name: c.Name, State: c.state(root), Port: c.Port}
	switch c.Engine {
	case "kind":
		return kind.Engine(), nil
	case "existing":
		access := cluster.Access{Kubeconfig: c.Kubeconfig, Context: c.KubeContext}
		return cluster.Existing{Source: source, Access: access, ImageCommand: c.ImageCommand, Tag: c.Tag}.Engine(), nil
	case "embedded":
		return cluster.Engine{}, fmt.Errorf("%w: the engine embedded is not built yet; use kind, or existing with a cluster of yours", errUsage)
	}
	if err := sh.Command("docker", "info").Run(ctx); err != nil {
		if ctx.Err() != nil {
			return cluster.Engine{}, ctx.Err()
		}
		return cluster.Engine{}, fmt.Errorf("no Docker answers, so there can be no kind cluster: start Docker, or use the cluster of your kubeconfig with --engine existing\n%w", err)
	}
	return kind.Engine(), nil
}

func (c *cli) state(root string) string {
	if filepath.IsAbs(c.State) {
		return c.State
	}
	return filepath.Join(root, c.State)
}

// up does all steps, and collects logs when one fails on a cluster that answers.
func (c *cli) up(ctx context.Context, s *stack.Stack, progress *stack.Progress) error {
	err := stack.Run(ctx, progress, s.Steps())
	if err == nil || ctx.Err() != nil {
		return err
	}
	if made, lookErr := s.Engine.Made(ctx); lookErr != nil || !made {
		return err // there is nothing to collect logs from
	}
	return errors.Join(err, c.logs(ctx, s, "", progress.Out))
}

// drill brings everything up and returns what runs scenarios on it.
func (c *cli) drill(ctx context.Context, s *stack.Stack, progress *stack.Progress, rate float64) (*drill.Drill, error) {
	if err := c.up(ctx, s, progress); err != nil {
		return nil, err
	}
	client, err := kube.New(s.Engine.Access.Kubeconfig, s.Engine.Access.Context)
	if err != nil {
		return nil, err
	}
	return drill.New(drill.Config{
		Kube: client, Access: s.Engine.Access, Namespace: namespace, Name: release, System: stack.SystemNamespace,
		Chart:      filepath.Join(s.Root, "helm", "podinfo-like"),
		Values:     []string{filepath.Join(s.Root, "lab", "values", "podinfo.yaml")},
		Repository: s.AppRepository(),
		Target:     "http://ingress-nginx-controller." + stack.IngressNamespace, Host: "podinfo.example", Rate: rate,
		Say: func(format string, args ...any) { fmt.Fprintf(progress.Out, format+"\n", args...) },
	}), nil
}

func (c *cli) demo(ctx context.Context, s *stack.Stack, progress *stack.Progress, stdout io.Writer) error {
	d, err := c.drill(ctx, s, progress, c.Demo.Rate)
	if err != nil {
		return err
	}
	return d.Demo(ctx, stdout, terminal(stdout))
}

func (c *cli) prove(ctx context.Context, s *stack.Stack, progress *stack.Progress, stdout io.Writer) error {
	scenarios, err := drill.Choose(c.Prove.Only)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	d, err := c.drill(ctx, s, progress, c.Prove.Rate)
	if err != nil {
		return err
	}
	outcome := d.Prove(ctx, scenarios)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("broken off; what was installed is still there: %w", ctx.Err())
	case outcome.Failed > 0:
		err = errors.Join(drill.ErrMissed, c.logs(ctx, s, c.Prove.Logs, progress.Out))
	}
	if c.Prove.Output == "json" {
		return errors.Join(outcome.WriteJSON(stdout), err)
	}
	return errors.Join(outcome.WriteText(stdout), err)
}

// logs collects them within a minute.
func (c *cli) logs(ctx context.Context, s *stack.Stack, folder string, out io.Writer) error {
	if folder == "" {
		folder = filepath.Join(c.state(s.Root), "logs", time.Now().UTC().Format("20060102-150405"))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.Logs(ctx, folder, namespace); err != nil {
		return fmt.Errorf("collect logs: %w", err)
	}
	fmt.Fprintf(out, "logs are in %s\n", folder)
	return nil
}
