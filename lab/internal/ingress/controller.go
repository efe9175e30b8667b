// Package ingress serves the Ingresses of a Kubernetes API with a real NGINX, and splits their traffic for canaries.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/oklog/run"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Config is what a Controller works on. Every field is needed.
type Config struct {
	Client         kubernetes.Interface
	NGINX          string // path of the nginx binary, 1.18 or later
	Dir            string // own folder for configuration, pid file and temporary files
	Listen         string // address:port where users come in
	Metrics        string // address:port of /metrics and /healthz
	Class          string // ingressClassName that is served
	Namespace, Pod string // labels controller_namespace and controller_pod
	Log            *slog.Logger
}

// Controller keeps one NGINX in step with the Ingresses of its class.
type Controller struct {
	config   Config
	settings settings
	nginx    program
	metrics  *metrics
	healthy  atomic.Bool // written by the supervisor: NGINX runs with the configuration that the API asks for
}

// New checks config and asks NGINX for its version.
func New(config Config) (*Controller, error) {
	if config.Client == nil || config.Log == nil || config.Class == "" || config.Dir == "" {
		return nil, errors.New("make ingress controller: want a client, a log, a class and a folder")
	}
	// An address only: a name could be anything in a configuration file.
	listen, err := netip.ParseAddrPort(config.Listen)
	if err != nil {
		return nil, fmt.Errorf("read address for users: %w", err)
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", config.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder %s: %w", dir, err)
	}
	account, err := rootAccount()
	if err != nil {
		return nil, err
	}
	version, err := versionOf(config.NGINX)
	if err != nil {
		return nil, err
	}
	return &Controller{
		config:   config,
		settings: settings{Listen: listen.String(), Workers: 2, Files: openFiles(), User: account},
		nginx:    program{path: config.NGINX, dir: dir, log: config.Log},
		metrics:  newMetrics(config.Class, config.Namespace, config.Pod, version),
	}, nil
}

// versionOf reads "nginx version: nginx/1.22.1 (Ubuntu)".
func versionOf(nginx string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, nginx, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", nginx, err, out)
	}
	_, version, _ := strings.Cut(string(out), "nginx/")
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ")
	return version, nil
}

// rootAccount is nil for everyone but root.
func rootAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	me, err := osuser.Current()
	if err != nil {
		return nil, fmt.Errorf("look up user: %w", err)
	}
	group, err := osuser.LookupGroupId(me.Gid)
	if err != nil {
		return nil, fmt.Errorf("look up group: %w", err)
	}
	return &account{me.Username, group.Name}, nil
}

// openFiles is what a worker may open without root: up to the hard limit.
func openFiles() int {
	const enough = 8192
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max > enough {
		return enough
	}
	return int(limit.Max)
}

// Run serves until ctx ends. Then NGINX finishes its requests, for at most some seconds, and nothing of it is left.
func (c *Controller) Run(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", c.config.Metrics)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.metrics.handler())
	mux.HandleFunc("GET /healthz", c.serveHealth)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var group run.Group
	group.Add(func() error { return c.followAPI(ctx) }, func(error) { cancel() })
	group.Add(func() error { return server.Serve(listener) }, func(error) {
		if err := server.Close(); err != nil {
			c.config.Log.Warn("metrics not closed", "error", err)
		}
	})
	return group.Run()
}

func (c *Controller) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if !c.healthy.Load() {
		http.Error(w, "nginx does not run with the current configuration", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// followAPI watches the API and supervises NGINX accordingly.
func (c *Controller) followAPI(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default: // the change that is already noted will see this one too
		}
	}
	factory := informers.NewSharedInformerFactory(c.config.Client, 0)
	ingresses := factory.Networking().V1().Ingresses()
	services := factory.Core().V1().Services()
	endpointSlices := factory.Discovery().V1().EndpointSlices()
	for _, informer := range []cache.SharedIndexInformer{ingresses.Informer(), services.Informer(), endpointSlices.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { poke() },
			UpdateFunc: func(any, any) { poke() },
			DeleteFunc: func(any) { poke() },
		}); err != nil {
			return fmt.Errorf("watch the API: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer factory.Shutdown() // runs after cancel, and waits
	defer cancel()
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return unless(ctx, fmt.Errorf("read %s from the API: its cache did not fill", kind))
		}
	}
	poke()
	list := func() (objects, error) {
		var o objects
		var err1, err2, err3 error
		o.ingresses, err1 = ingresses.Lister().List(labels.Everything())
		o.services, err2 = services.Lister().List(labels.Everything())
		o.slices, err3 = endpointSlices.Lister().List(labels.Everything())
		return o, errors.Join(err1, err2, err3)
	}
	return unless(ctx, newSupervisor(c, list).run(ctx, changed))
}

// unless is nil once ctx has ended: then the error only says that we were told to end.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
