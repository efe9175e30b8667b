// Package embedded is a cluster without a cluster: the Kubernetes API in this process, everything else as processes of
// this machine.
package embedded

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/cluster"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/node"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Config is what an Embedded is made of; all fields are needed.
type Config struct {
	cluster.Source
	State   string              // folder for everything that is written while it runs
	Cache   string              // folder for what is fetched and built once
	Port    int                 // of loopback, where users come in
	Flagger string              // version
	Program string              // lab's own, which is also the ingress controller and Prometheus' entrypoint
	Say     func(string)        // one line to whoever watches
	Env     func(string) string // os.Getenv
	Died    func()              // called when a part of the engine in this process ends by itself; Close then says why
}

// Embedded is the engine. One process at a time has it, others may join that one.
type Embedded struct {
	Config
	finder packages.Finder

	mu   sync.Mutex
	host *host // what runs in this process, nil before Make; guarded by mu
}

// New returns the engine; nothing runs yet.
func New(cfg Config) (*Embedded, error) {
	for _, folder := range []*string{&cfg.State, &cfg.Cache} {
		path, err := filepath.Abs(*folder)
		if err != nil {
			return nil, fmt.Errorf("find folder %s: %w", *folder, err)
		}
		*folder = path
	}
	return &Embedded{Config: cfg, finder: packages.Finder{Dir: filepath.Join(cfg.Cache, "packages"), Say: cfg.Say, Env: cfg.Env}}, nil
}

// Engine returns the way to this cluster.
func (e *Embedded) Engine() cluster.Engine {
	return cluster.Engine{
		Name: "embedded", Access: cluster.Access{Kubeconfig: e.path("kubeconfig")}, Needs: []string{"go"},
		Before: []cluster.Task{{Name: "packages", Done: e.hasPackages, Run: e.finder.Fetch}},
		// A build has stretches in which it uses one core; two at once fill them.
		Beside: []cluster.Task{
			{Name: "flagger's program", Done: e.hasFlagger, Run: e.buildFlagger},
			{Name: "alertmanager's program", Done: e.hasAlertmanager, Run: e.buildAlertmanager},
		},
		Made: e.made, Make: e.start, Put: e.put, Remove: e.remove, Close: e.Close,
		Upgrade: e.upgrade, Uninstall: e.uninstall,
		Ingress: e.ingress(), Flagger: e.flaggerChart,
	}
}

func (e *Embedded) path(parts ...string) string {
	return filepath.Join(append([]string{e.State}, parts...)...)
}

func (e *Embedded) hasPackages(context.Context) (bool, error) {
	_, missing := e.finder.Find()
	return len(missing) == 0, nil
}

// made reports whether the engine runs, here or in a process that can be joined.
func (e *Embedded) made(ctx context.Context) (bool, error) {
	if !e.Hosts() {
		if held, err := e.held(); err != nil || !held {
			return false, err
		}
	}
	client, err := e.client()
	return err == nil && client.Answers(ctx) == nil, ctx.Err()
}

// Joined is the process that has the engine, 0 when it is this one or none.
func (e *Embedded) Joined() int {
	held, err := e.held()
	if e.Hosts() || err != nil || !held {
		return 0
	}
	return e.holder()
}

// Hosts reports whether the engine runs in this process.
func (e *Embedded) Hosts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.host != nil
}

func (e *Embedded) client() (*kube.Client, error) { return kube.New(e.path("kubeconfig"), "") }

// start runs everything in this process, until Close.
func (e *Embedded) start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.host != nil {
		return nil
	}
	if err := os.MkdirAll(e.State, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	release, err := e.lock()
	if err != nil {
		return err
	}
	h, err := e.newHost(ctx, release)
	if err != nil {
		return err
	}
	e.host = h
	return nil
}

// Close stops everything that runs in this process and waits for it; where nothing does it does nothing. Its error is
// also why something ended too early.
func (e *Embedded) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.host == nil {
		return nil
	}
	err := e.host.close()
	e.host = nil
	return err
}

// remove ends the engine wherever it runs and takes away what it wrote, but not what is in the cache.
func (e *Embedded) remove(ctx context.Context) (err error) {
	if err := e.Close(); err != nil {
		return err
	}
	if err := e.evict(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(e.State); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	release, err := e.lock() // nobody starts in what is being taken away
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := node.Sweep(ctx, e.path("node", "pods"), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("end what an earlier run left: %w", err)
	}
	for _, name := range []string{"kubeconfig", "images", "node", "lab.log"} {
		if err := os.RemoveAll(e.path(name)); err != nil {
			return fmt.Errorf("take away what was written: %w", err)
		}
	}
	return nil
}

// evict asks another process that has the engine to end and waits for it.
func (e *Embedded) evict(ctx context.Context) error {
	held, err := e.held()
	if err != nil || !held {
		return err
	}
	if e.holder() <= 1 {
		return errors.New("somebody has the engine and has not said who yet; try again in a moment")
	}
	process, err := os.FindProcess(e.holder())
	if err == nil {
		err = process.Signal(os.Interrupt)
	}
	if err != nil {
		return fmt.Errorf("stop lab's process %d, which has the engine: %w", e.holder(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for held {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop lab's process %d, which has the engine: %w", e.holder(), ctx.Err())
		case <-tick.C:
		}
		if held, err = e.held(); err != nil {
			return err
		}
	}
	return nil
}

// put builds an image's program and says to the node where it is.
func (e *Embedded) put(ctx context.Context, image cluster.Image) (string, error) {
	binary, digest, err := e.Build(ctx, image)
	if err != nil {
		return "", err
	}
	name, err := e.ImageName(image, digest)
	if err != nil {
		return "", err
	}
	return name, e.writeImage(name, program(image.Name, binary))
}

// upgrade renders a chart and applies what comes of it. What an earlier version of the release had and this one has
// not goes.
func (e *Embedded) upgrade(ctx context.Context, r chart.Release) error {
	rendered, err := chart.Render(r)
	if err != nil {
		return err
	}
	objects, err := kube.Parse(rendered.Objects)
	if err != nil {
		return fmt.Errorf("read what chart %s renders: %w", r.Chart, err)
	}
	definitions, err := kube.Parse(rendered.Definitions)
	if err != nil {
		return fmt.Errorf("read definitions of chart %s: %w", r.Chart, err)
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	if err := client.Apply(ctx, "", definitions); err != nil {
		return err
	}
	return client.ApplySet(ctx, r.Namespace, r.Name, objects)
}

func (e *Embedded) uninstall(ctx context.Context, namespace, name string) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	return client.DeleteSet(ctx, namespace, name)
}

//go:embed ingress.yaml
var ingressManifest string

// ingress are the manifests of the ingress controller, which is this very program.
func (e *Embedded) ingress() []byte {
	return []byte(strings.NewReplacer("INGRESS_IMAGE", ingressImage, "HOST_PORT", strconv.Itoa(e.Port)).Replace(ingressManifest))
}

// logFile takes the log of the parts that run in this process.
func (e *Embedded) logFile() (*slog.Logger, io.Closer, error) {
	file, err := os.Create(e.path("lab.log"))
	if err != nil {
		return nil, nil, fmt.Errorf("make log: %w", err)
	}
	return slog.New(slog.NewJSONHandler(file, nil)), file, nil
}

// flaggerChart is where the module proxy's copy of Flagger has its chart.
func (e *Embedded) flaggerChart(ctx context.Context) (string, error) {
	out, err := e.goCommand("mod", "download", "-json", e.flaggerModule()).Output(ctx)
	if err != nil {
		return "", fmt.Errorf("find Flagger's chart: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", fmt.Errorf("find Flagger's chart: %w", err)
	}
	return filepath.Join(module.Dir, "charts", "flagger"), nil
}

func (e *Embedded) flaggerModule() string { return "github.com/fluxcd/flagger@v" + e.Flagger }

// goCommand is a go command outside of every module.
func (e *Embedded) goCommand(args ...string) sh.Cmd {
	c := sh.Command("go", args...)
	c.Dir, c.Env = os.TempDir(), []string{"GOWORK=off", "CGO_ENABLED=0", "GOTOOLCHAIN=auto"}
	return c
}
