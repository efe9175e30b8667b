package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/api"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/check"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/telemetry"
)

// cli is the whole configuration: flags, each with its environment fallback.
type cli struct {
	Serve   serveCmd      `cmd:"" default:"withargs" help:"Serve the API until SIGTERM (default)."`
	Check   check.Command `cmd:"" help:"Ask a URL; exit 0 when the answer is 2xx."`
	Version struct{}      `cmd:"" help:"Print version and commit."`
}

type serveCmd struct {
	Listen          string        `env:"APP_LISTEN" default:":8080" help:"Address for the API, probes and metrics."`
	ChaosTokenFile  string        `env:"APP_CHAOS_TOKEN_FILE" help:"File with the bearer token of /chaos; chaos is off when unset."`
	Chaos           string        `env:"CHAOS" help:"Chaos plan (JSON) active from the start; its ttl counts from there."`
	Peers           string        `env:"APP_PEERS" help:"host:port of a headless Service with all pods of the release, for chaos plans with scope version."`
	PodName         string        `env:"POD_NAME" help:"This pod's name in answers, traces and chaos plans; the host name when unset."`
	Revision        string        `env:"REVISION" default:"none" help:"Revision shown in deployment_version (pod-template-hash)."`
	DrainGrace      time.Duration `env:"APP_DRAIN_GRACE" default:"1s" help:"How long to go on serving, unready, after SIGTERM."`
	ShutdownTimeout time.Duration `env:"APP_SHUTDOWN_TIMEOUT" default:"20s" help:"Longest wait for requests in flight after that."`
	Metrics         bool          `env:"APP_METRICS" default:"true" negatable:"" hidden:"" help:"Count requests and serve /metrics; off only to measure what they cost."`
	LogLevel        slog.Level    `env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
}

// crashCode is the exit code of a crash that a chaos plan asked for.
const crashCode = 3

// run is the program: parse, choose the command, return why it ended. It ends
// without an error when ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	shown := false // --help was printed: Kong would go on and run the default command
	parser, err := kong.New(&c, kong.Name("app"), kong.Description("The REST API that a rollout releases."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { shown = true }))
	if err != nil {
		return fmt.Errorf("build command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case shown:
		return nil
	case err != nil:
		return fmt.Errorf("%w (see app --help)", err)
	}
	switch parsed.Command() {
	case "check <url>":
		return c.Check.Run(ctx, stdout)
	case "version":
		fmt.Fprintf(stdout, "app %s (%s)\n", version, commit)
		return nil
	default:
		return serve(ctx, c.Serve, stderr)
	}
}

// gcPercent lets the heap grow to five times what is live, some MB, before it is
// collected: at the usual 100 the collector runs dozens of times a second under load,
// which made a sixth of a request's processor time.
const gcPercent = 400

// serve wires everything in dependency order and blocks until ctx ends and the
// requests in flight are answered.
func serve(ctx context.Context, cfg serveCmd, stderr io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := slog.New(traced{slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: cfg.LogLevel})}).With("component", "app")

	token, err := readToken(cfg.ChaosTokenFile)
	if err != nil {
		return err
	}
	hostname := cfg.PodName
	if hostname == "" {
		if hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("read host name: %w", err)
		}
	}
	tracing, err := telemetry.Start(ctx, telemetry.Program{Name: "app", Version: version, Attributes: []attribute.KeyValue{
		attribute.String("service.instance.id", hostname), attribute.String("k8s.pod.name", hostname), attribute.String("rollout.revision", cfg.Revision),
	}}, log)
	if err != nil {
		return err
	}
	defer tracing.Stop()

	gin.SetMode(gin.ReleaseMode) // else Gin prints its routes to standard output
	service, err := api.New(api.Config{
		Version: version, Commit: commit, Revision: cfg.Revision, Hostname: hostname, Now: time.Now, Log: log,
		ChaosToken: token, Crash: func() { os.Exit(crashCode) },
		Peers: cfg.Peers, Lookup: net.DefaultResolver.LookupHost,
		Tracer: tracing.Provider(), Propagator: propagator(), NoMetrics: !cfg.Metrics,
	})
	if err != nil {
		return fmt.Errorf("build api: %w", err)
	}
	defer service.Close()
	if cfg.Chaos != "" {
		if err := service.StartChaos([]byte(cfg.Chaos)); err != nil {
			return fmt.Errorf("apply start-up plan from CHAOS: %w", err)
		}
	}

	server := &http.Server{
		Handler:           service.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       75 * time.Second,  // above the longest latency and hang together (60 s): it cancels what is being answered too
		WriteTimeout:      90 * time.Second,  // above that
		IdleTimeout:       120 * time.Second, // above NGINX's keep-alive (60 s): it closes first, no request meets a closing connection
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	service.Ready()
	log.Info("listening", "addr", listener.Addr().String(), "version", version, "commit", commit,
		"revision", cfg.Revision, "chaos", token != "", "peers", cfg.Peers, "traces", tracing.Provider() != nil, "drainGrace", cfg.DrainGrace.String(),
		"shutdownTimeout", cfg.ShutdownTimeout.String())

	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	return drain(service, server, listener, served, cfg, log)
}

// lastRequests is how long after the last connection was taken its request is waited
// for; a client sends it at once.
const lastRequests = 250 * time.Millisecond

// drain ends the server without losing a request. First it stops being ready and
// goes on serving, each answer closing its connection, so that busy keep-alive
// connections end between two requests and not under one. Then it stops listening,
// but leaves connections that it has taken already the time to send their request:
// Shutdown answers none that it has not read before. At last it waits for what is in
// flight.
func drain(service *api.API, server *http.Server, listener net.Listener, served <-chan error, cfg serveCmd, log *slog.Logger) error {
	service.Drain()
	log.Info("draining")
	select {
	case err := <-served:
		return fmt.Errorf("serve while draining: %w", err)
	case <-time.After(cfg.DrainGrace):
	}
	if err := listener.Close(); err != nil {
		return fmt.Errorf("stop listening: %w", err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening: %w", err)
	}
	time.Sleep(lastRequests)
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		// The deadline has passed: cut what is left and say so.
		return errors.Join(fmt.Errorf("wait %s for requests in flight: %w", cfg.ShutdownTimeout, err), server.Close())
	}
	log.Info("stopped")
	return nil
}

// readToken returns the token in path without surrounding white space, and ""
// when no path is given.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read chaos token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", fmt.Errorf("read chaos token: %s is empty; put a token in it or unset APP_CHAOS_TOKEN_FILE", path)
	}
	return token, nil
}
