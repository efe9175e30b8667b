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
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/embedded"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/stack"
)

// What the lab releases, and where.
const (
	namespace = "demo"
	release   = "podinfo"
	host      = "podinfo.example" // in lab/values/podinfo.yaml
)

// cli is the whole configuration: flags, each with its environment fallback.
type cli struct {
	Root        string `env:"LAB_ROOT" default:"." help:"Root of the repository."`
	State       string `env:"LAB_STATE" default:".lab" help:"Folder for kubeconfig, logs and all that embedded writes, in the root unless absolute."`
	Cache       string `env:"LAB_CACHE" default:".lab/cache" help:"For embedded: folder for what is fetched and built once, in the root unless absolute."`
	Engine      string `env:"LAB_ENGINE" enum:"auto,embedded,kind,existing" default:"auto" help:"Cluster to use: kind, existing (the current kubeconfig), embedded (no cluster: all parts as processes of this machine), auto (kind when Docker answers and kind and helm are there, else embedded)."`
	Name        string `env:"LAB_NAME" default:"rollout-lab" help:"Name of the kind cluster."`
	Port        int    `env:"LAB_PORT" default:"8080" help:"For kind and embedded: port of this machine where users come in."`
	Kubeconfig  string `env:"LAB_KUBECONFIG" help:"For existing: kubeconfig file, else kubectl's own default."`
	KubeContext string `name:"context" env:"LAB_CONTEXT" help:"For existing: context in the kubeconfig."`

	Provider string `env:"LAB_PROVIDER" enum:"nginx,gatewayapi:v1" default:"nginx" help:"What splits the traffic: nginx (ingress-nginx) or gatewayapi:v1 (Traefik; not with embedded)."`

	Registry     string `env:"LAB_REGISTRY" default:"ghcr.io/rollout-monitoring" help:"Prefix of our images' names."`
	Tag          string `env:"LAB_TAG" help:"For existing without --image-command: tag of our images but the app's in the registry."`
	ImageCommand string `env:"LAB_IMAGE_COMMAND" help:"For existing: shell command that makes and loads one image from $$BINARY at $$ENTRYPOINT with name $$IMAGE; may use the file $$TAR."`

	FlaggerChart       string   `env:"FLAGGER_CHART" help:"Flagger's chart as folder or archive, else the public one."`
	IngressNginxChart  string   `env:"INGRESS_NGINX_CHART" help:"The ingress-nginx chart as folder or archive, else the public one."`
	FlaggerValues      []string `env:"LAB_FLAGGER_VALUES" help:"More values for it; may be repeated, the last file wins."`
	IngressNginxValues []string `env:"LAB_INGRESS_NGINX_VALUES" help:"More values for it; may be repeated, the last file wins."`
	GatekeeperValues   []string `env:"LAB_GATEKEEPER_VALUES" help:"More values for the gatekeeper's chart; may be repeated, the last file wins."`
	GatekeeperVolume   string   `env:"LAB_GATEKEEPER_VOLUME" help:"Folder of the node for the gatekeeper's memory, owned by user 65532, for a cluster without storage classes."`

	NetworkPolicies bool `env:"LAB_NETWORK_POLICIES" help:"Install our charts with their NetworkPolicies, for a cluster whose network enforces them."`

	Views *bool `negatable:"" env:"LAB_VIEWS" help:"For up and demo: also bring up Grafana with the dashboards, and Jaeger, where traces then go. Their images come from public registries. Without it: with kind yes, with existing no; never with embedded."`

	Up      struct{}   `cmd:"" help:"Bring everything up; what is up stays. With embedded until Ctrl-C."`
	Demo    demoCmd    `cmd:"" help:"Bring everything up and watch a good and a bad release."`
	Prove   proveCmd   `cmd:"" help:"Bring everything up and prove each scenario on it."`
	Upgrade upgradeCmd `cmd:"" help:"Bring the first released version up and upgrade to this one in the middle of a release, while users come."`
	Rbac    rbacCmd    `cmd:"" help:"Compare what our service accounts may do with what they did, by the API server's audit log."`
	Bench   benchCmd   `cmd:"" help:"Measure: ratios (the default) or detect."`
	Deploys deploysCmd `cmd:"" help:"Bring everything up, run the workflow deploy.yml by act for good and bad releases, and prove what came of each."`
	Crash   crashCmd   `cmd:"" help:"Kill gatekeepers at random moments while rollouts run and a receiver fails, and check that nothing is lost or comes twice."`
	Images  imagesCmd  `cmd:"" help:"Check the container images that make images has pushed: user, entrypoint, labels, size, no shell, the right machine, statements."`
	Docs    docsCmd    `cmd:"" help:"Run the commands of documents as they stand there."`
	Logs    logsCmd    `cmd:"" help:"Write logs and objects of all parts into a folder."`
	Down    struct{}   `cmd:"" help:"Take everything away again, and kind's cluster with it."`
	Version struct{}   `cmd:"" help:"Print version and commit."`

	IngressController ingressCmd `cmd:"" hidden:"" help:"The embedded engine's ingress controller."`
}

type loadFlags struct {
	Rate float64 `env:"LAB_RATE" default:"50" help:"Requests a second of the users."`
}

type demoCmd struct {
	loadFlags
	Keep   bool   `help:"With embedded: stay up after the story, until Ctrl-C."`
	Report string `help:"Folder to write the report of the story to, with its charts and sidecars."`
}

type proveCmd struct {
	loadFlags
	Only    []int  `help:"Scenarios to run, by number; all without it."`
	Output  string `enum:"text,json" default:"text" help:"text or json."`
	Capture string `help:"Folder to write the course of each release and Flagger's requests to."`
	Logs    string `help:"Folder for logs when a scenario fails, else one in the state folder."`
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
	if parsed.Command() == "ingress-controller" {
		return c.IngressController.run(ctx, stderr)
	}
	if strings.HasPrefix(parsed.Command(), "bench ratios") {
		return c.ratios(ctx, stdout, stderr)
	}
	if parsed.Command() == "images <built>" {
		return c.Images.images(ctx, stdout)
	}
	if parsed.Command() == "crash" {
		return c.crash(ctx, stdout, stderr)
	}
	if strings.HasPrefix(parsed.Command(), "docs") {
		return c.docs(ctx, stdout, stderr)
	}
	progress := &stack.Progress{Out: stdout, Terminal: terminal(stdout)}
	if parsed.Command() == "prove" && c.Prove.Output == "json" || parsed.Command() == "bench detect" {
		progress = &stack.Progress{Out: stderr, Terminal: terminal(stderr)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := c.lab(ctx, parsed.Command(), progress, cancel)
	if err != nil {
		return err
	}
	if command := parsed.Command(); l.embedded != nil && (command == "upgrade" || command == "rbac") {
		return fmt.Errorf("%w: lab %s needs a cluster: --engine kind or existing", errUsage, command)
	}
	if command := parsed.Command(); command != "down" && command != "logs" {
		if err := l.stack.Check(); err != nil {
			return err
		}
	}
	return errors.Join(l.do(ctx, parsed.Command(), stdout), l.close())
}

// lab is one command at work.
type lab struct {
	*cli
	stack    *stack.Stack
	embedded *embedded.Embedded // nil for other engines
	progress *stack.Progress
	died     func()

	scenarios []drill.Scenario // that may be played, so that their versions are built
}

func (l *lab) do(ctx context.Context, command string, stdout io.Writer) error {
	switch command {
	case "up":
		if err := l.up(ctx, l.stack.Steps()); err != nil {
			return err
		}
		return l.stay(ctx)
	case "demo":
		return l.demo(ctx, stdout)
	case "prove":
		return l.prove(ctx, stdout)
	case "upgrade":
		return l.upgrade(ctx, stdout)
	case "rbac":
		return l.rbac(ctx, stdout)
	case "bench detect":
		return l.detect(ctx, stdout)
	case "deploys":
		return l.deploys(ctx)
	case "logs":
		return l.logs(ctx, l.Logs.Dir, stdout)
	default:
		return stack.Run(ctx, l.progress, l.stack.Down(namespace, release))
	}
}

// close ends what lives in this process.
func (l *lab) close() error {
	if l.stack.Engine.Close == nil {
		return nil
	}
	return l.stack.Engine.Close()
}

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// lab is what the flags describe. Died is called when an engine in this process can not go on.
func (c *cli) lab(ctx context.Context, command string, progress *stack.Progress, died func()) (*lab, error) {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return nil, fmt.Errorf("find root: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "helm", "podinfo-like", "Chart.yaml")); err != nil {
		return nil, fmt.Errorf("%w: %s is not the root of the repository; go there or give --root", errUsage, root)
	}
	scenarios := drill.Story()
	if command == "prove" {
		if scenarios, err = drill.Choose(c.Prove.Only); err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	l := &lab{cli: c, progress: progress, died: died}
	engine, err := l.engine(ctx, root)
	if err != nil {
		return nil, err
	}
	if l.gateway() && l.NetworkPolicies {
		return nil, fmt.Errorf("%w: --network-policies has none for a Gateway; leave out --provider %s", errUsage, l.Provider)
	}
	if l.gateway() && l.embedded != nil {
		return nil, fmt.Errorf("%w: the embedded engine has NGINX alone; give another --engine for --provider %s", errUsage, l.Provider)
	}
	for _, s := range scenarios {
		if s.Ingress && l.gateway() {
			progress.Say(fmt.Sprintf("SKIPPED scenario %d (%s): it is about what ingress-nginx counts", s.Number, s.Name))
			continue
		}
		if s.Addresses && l.embedded != nil {
			progress.Say(fmt.Sprintf("SKIPPED scenario %d (%s): on the embedded engine pods have no addresses of their own", s.Number, s.Name))
			continue
		}
		l.scenarios = append(l.scenarios, s)
	}
	versions, base, traces := drill.Versions(l.scenarios), "", ""
	if command == "upgrade" {
		versions = newTags()
	}
	views := c.views(command, engine.Name)
	switch {
	case command == "prove":
		traces = stack.ReceiverURL
	case views:
		traces = stack.CollectorURL
	}
	if command == "deploys" {
		versions = nil // the workflow builds them
	}
	if command == "bench detect" {
		versions, base = []string{detectVersion}, filepath.Join(root, "lab", "values", "detect.yaml")
	}
	l.stack = stack.New(stack.Config{
		Root: root, Engine: engine, Provider: l.Provider, Version: version, AppVersions: versions, GatekeeperBase: base,
		FlaggerChart: c.FlaggerChart, IngressChart: c.IngressNginxChart,
		FlaggerValues: c.FlaggerValues, IngressValues: c.IngressNginxValues,
		GatekeeperValues: c.GatekeeperValues, GatekeeperVolume: c.GatekeeperVolume, NetworkPolicies: c.NetworkPolicies, Views: views, Traces: traces,
	})
	return l, nil
}

// gateway reports whether the Gateway API splits the traffic.
func (c *cli) gateway() bool { return c.Provider == stack.GatewayAPI }

// views reports whether a person is to have Grafana and Jaeger.
func (c *cli) views(command, engine string) bool {
	switch {
	case command != "up" && command != "demo" || engine == "embedded":
		return false
	case c.Views != nil:
		return *c.Views
	default:
		return engine == "kind"
	}
}

func (l *lab) engine(ctx context.Context, root string) (cluster.Engine, error) {
	source := cluster.Source{Root: root, Registry: strings.TrimSuffix(l.Registry, "/"), Commit: cluster.Commit(ctx, root)}
	kind := cluster.Kind{Source: source, Name: l.Name, State: l.state(root), Port: l.Port}
	switch l.Engine {
	case "kind":
		return kind.Engine(), nil
	case "existing":
		access := cluster.Access{Kubeconfig: l.Kubeconfig, Context: l.KubeContext}
		return cluster.Existing{Source: source, Access: access, ImageCommand: l.ImageCommand, Tag: l.Tag}.Engine(), nil
	case "embedded":
		return l.embed(source)
	}
	switch err := sh.Need(cluster.Advice(), kind.Engine().Needs...); {
	case err != nil:
		l.progress.Say("engine: embedded, because not all that kind needs is here")
	case sh.Command("docker", "info").Run(ctx) != nil:
		l.progress.Say("engine: embedded, because no Docker answers")
	default:
		l.progress.Say("engine: kind")
		return kind.Engine(), nil
	}
	if ctx.Err() != nil {
		return cluster.Engine{}, ctx.Err()
	}
	return l.embed(source)
}

func (l *lab) embed(source cluster.Source) (cluster.Engine, error) {
	// Where make had to fetch Go, it is in the repository and not on the PATH.
	own := filepath.Join(source.Root, ".lab", "go", "bin")
	if err := os.Setenv("PATH", own+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return cluster.Engine{}, fmt.Errorf("set PATH: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return cluster.Engine{}, fmt.Errorf("find my own program: %w", err)
	}
	l.embedded, err = embedded.New(embedded.Config{
		Source: source, State: filepath.Join(l.state(source.Root), "embedded"), Cache: within(source.Root, l.Cache), Port: l.Port, Flagger: stack.FlaggerVersion,
		Program: program, Say: l.progress.Say, Env: os.Getenv, Died: l.died,
	})
	if err != nil {
		return cluster.Engine{}, err
	}
	return l.embedded.Engine(), nil
}

func (c *cli) state(root string) string { return within(root, c.State) }

// within is a path that is meant from the root, unless it is absolute.
func within(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

// up does the steps, and collects logs when one fails on a cluster that answers.
func (l *lab) up(ctx context.Context, steps []stack.Step) error {
	if l.embedded != nil {
		if pid := l.embedded.Joined(); pid != 0 {
			l.progress.Say(fmt.Sprintf("lab's process %d has the engine: joining it", pid))
		}
	}
	err := stack.Run(ctx, l.progress, steps)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if made, lookErr := l.stack.Engine.Made(ctx); lookErr != nil || !made {
		return err // there is nothing to collect logs from
	}
	return errors.Join(err, l.logs(ctx, "", l.progress.Out))
}

// stay keeps the embedded engine up until ctx ends. Where another process has it, or another engine is used, there is
// nothing to stay for.
func (l *lab) stay(ctx context.Context) error {
	if l.embedded == nil || !l.embedded.Hosts() {
		return nil
	}
	fmt.Fprintf(l.progress.Out, "\nEverything is up until Ctrl-C.\n%s", l.further())
	<-ctx.Done()
	return nil
}

// further says how to look at what runs.
func (l *lab) further() string {
	config := l.stack.Engine.Access.Kubeconfig
	if config == "" {
		config = "your kubeconfig"
	}
	const service = "/api/v1/namespaces/" + stack.SystemNamespace + "/services/gatekeeper:people/proxy"
	text := fmt.Sprintf(`  users:       curl -H 'Host: %s' http://127.0.0.1:%d/
  cluster:     export KUBECONFIG=%s; kubectl get canaries,deployments,pods -n %s
  gatekeeper:  kubectl get --raw '%s/api/v1/rollouts'
  report:      kubectl get --raw '%s/deployment_report.md'
`, host, l.Port, config, namespace, service, service)
	if l.stack.Views {
		text += fmt.Sprintf(`  dashboards:  kubectl -n %[1]s port-forward svc/grafana 3000, then http://127.0.0.1:3000
  traces:      kubectl -n %[1]s port-forward svc/jaeger 16686, then http://127.0.0.1:16686
`, stack.MonitoringNamespace)
	}
	return text
}

// drill brings everything up and returns what runs scenarios on it.
func (l *lab) drill(ctx context.Context, rate float64) (*drill.Drill, error) {
	cfg, err := l.ground(ctx, l.stack.Steps())
	if err != nil {
		return nil, err
	}
	return l.drillOn(ctx, cfg, rate)
}

// drillOn is what runs the service's releases on what is up.
func (l *lab) drillOn(ctx context.Context, cfg drill.Config, rate float64) (*drill.Drill, error) {
	cfg.Namespace, cfg.Host, cfg.Rate = namespace, host, rate
	source := cluster.Source{Root: l.stack.Root, Commit: cluster.Commit(ctx, l.stack.Root)}
	cfg.Commit = source.Commit
	if l.stack.Traces != "" {
		cfg.Sets, cfg.Traces = append(cfg.Sets, "tracing.endpoint="+l.stack.Traces), l.stack.Traces == stack.ReceiverURL
	}
	var err error
	cfg.Gatekeeper, _, err = source.Build(ctx, cluster.Image{Name: "gatekeeper", Version: version, Folder: "gatekeeper"})
	if err != nil {
		return nil, err
	}
	return drill.New(cfg), nil
}

// ground does the steps and returns what drills on it share. Nobody else's engine is used for them: they begin by
// emptying a namespace that others may be looking at.
func (l *lab) ground(ctx context.Context, steps []stack.Step) (drill.Config, error) {
	if l.embedded != nil {
		if pid := l.embedded.Joined(); pid != 0 {
			return drill.Config{}, fmt.Errorf("lab's process %d has the engine; end it with Ctrl-C there or with: lab down --engine embedded; or give another --state and --port", pid)
		}
	}
	if err := l.up(ctx, steps); err != nil {
		return drill.Config{}, err
	}
	client, err := l.stack.Engine.Access.Client()
	if err != nil {
		return drill.Config{}, err
	}
	operator, err := client.Secret(ctx, stack.SystemNamespace, stack.TokensSecret, stack.OperatorToken)
	if err != nil {
		return drill.Config{}, err
	}
	folder := filepath.Join(l.stack.Root, "lab", "values")
	values := []string{filepath.Join(folder, "podinfo.yaml")}
	if l.gateway() {
		values = append(values, filepath.Join(folder, "podinfo-gateway.yaml"))
	}
	if l.NetworkPolicies {
		values = append(values, filepath.Join(folder, "network-policies.yaml"))
	}
	return drill.Config{
		Kube: client, Install: l.stack, Name: release, System: stack.SystemNamespace,
		Monitoring: stack.MonitoringNamespace, Operator: operator,
		Chart:      filepath.Join(l.stack.Root, "helm", "podinfo-like"),
		Values:     values,
		Repository: l.stack.AppRepository(),
		Target:     l.stack.EntryURL(),
		Say:        func(format string, args ...any) { fmt.Fprintf(l.progress.Out, format+"\n", args...) },
	}, nil
}

func (l *lab) demo(ctx context.Context, stdout io.Writer) error {
	d, err := l.drill(ctx, l.Demo.Rate)
	if err != nil {
		return err
	}
	if err := d.Demo(ctx, stdout, terminal(stdout)); err != nil {
		return err
	}
	if l.Demo.Report != "" {
		if err := d.KeepReport(ctx, l.Demo.Report); err != nil {
			return err
		}
	}
	if l.embedded == nil || l.Demo.Keep || !l.embedded.Hosts() {
		fmt.Fprintf(stdout, "\nTo look further:\n%s", l.further())
		if l.Demo.Keep {
			return l.stay(ctx)
		}
		return nil
	}
	fmt.Fprintf(stdout, "\nAll of it stops now. To look around, keep it up: build/lab demo --keep, or build/lab up; then\n%s", l.further())
	return nil
}

func (l *lab) prove(ctx context.Context, stdout io.Writer) error {
	d, err := l.drill(ctx, l.Prove.Rate)
	if err != nil {
		return err
	}
	sights, err := l.sights()
	if err != nil {
		return err
	}
	if err := d.Watch(sights); err != nil {
		return err
	}
	outcome := d.Prove(ctx, l.scenarios)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("broken off: %w", ctx.Err())
	case outcome.Missed():
		err = errors.Join(drill.ErrMissed, l.logs(ctx, l.Prove.Logs, l.progress.Out))
	}
	if l.Prove.Capture != "" {
		err = errors.Join(err, outcome.Capture(l.Prove.Capture))
	}
	if l.Prove.Output == "json" {
		return errors.Join(outcome.WriteJSON(stdout), err)
	}
	return errors.Join(outcome.WriteText(stdout), err)
}

// sights reads dashboards and rules as they are installed.
func (l *lab) sights() (drill.Sights, error) {
	s, rules := drill.Sights{Exceptions: drill.Exceptions()}, l.stack.Rulefile()
	if l.gateway() {
		s.Exceptions = drill.GatewayExceptions()
	}
	files, err := filepath.Glob(filepath.Join(l.stack.Root, "monitoring", "grafana_dashboards", "*.json"))
	if err != nil {
		return s, fmt.Errorf("find dashboards: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return s, fmt.Errorf("read dashboard: %w", err)
		}
		s.Dashboards = append(s.Dashboards, text)
	}
	if s.Rules, err = os.ReadFile(rules); err != nil {
		return s, fmt.Errorf("read rules: %w", err)
	}
	return s, nil
}

// logs collects them within a minute.
func (l *lab) logs(ctx context.Context, folder string, out io.Writer) error {
	if folder == "" {
		folder = filepath.Join(l.state(l.stack.Root), "logs", time.Now().UTC().Format("20060102-150405"))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := l.stack.Logs(ctx, folder, namespace); err != nil {
		return fmt.Errorf("collect logs: %w", err)
	}
	fmt.Fprintf(out, "logs are in %s\n", folder)
	return nil
}
