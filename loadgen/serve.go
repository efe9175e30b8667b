package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
	group "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/api"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/seen"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/telemetry"
)

// lastRequests is how long requests to the API may take at the end.
const lastRequests = 500 * time.Millisecond

// serveCommand is the service.
type serveCommand struct {
	Listen       string        `default:":8080" env:"LOADGEN_LISTEN" help:"Address to listen on."`
	AllowedHosts []string      `env:"LOADGEN_ALLOWED_HOSTS" placeholder:"HOST,..." help:"Host names, without port, that load may be sent to. None allows nothing."`
	MaxRate      float64       `default:"1000" env:"LOADGEN_MAX_RATE" help:"Most requests per second, of all running attacks together."`
	MaxDuration  time.Duration `default:"1h" env:"LOADGEN_MAX_DURATION" help:"Longest attack."`
	MaxInFlight  int           `default:"10000" env:"LOADGEN_MAX_IN_FLIGHT" help:"Most requests under way, of all running attacks together."`
	MaxAttacks   int           `default:"100" env:"LOADGEN_MAX_ATTACKS" help:"Most attacks at a time."`
	Prometheus   string        `env:"LOADGEN_PROMETHEUS_URL" placeholder:"URL" help:"Prometheus that the seenQuery of a top-up is asked of. None refuses them."`
	Timeout      time.Duration `default:"10s" env:"LOADGEN_TIMEOUT" help:"How long one request may take."`
	Proxy        *url.URL      `env:"LOADGEN_PROXY" placeholder:"URL" help:"Send everything through this proxy, http:// or socks5h://; the usual proxy variables are not read."`
	LogLevel     slog.Level    `default:"info" env:"LOG_LEVEL" help:"Least level that is logged: debug, info, warn, error."`
}

// Run serves until ctx ends. Then the attacks stop and their last answers are
// counted while the API still answers; the server goes last.
func (c *serveCommand) Run(ctx context.Context, std streams) error {
	log := slog.New(slog.NewJSONHandler(std.err, &slog.HandlerOptions{Level: c.LogLevel}))
	gin.SetMode(gin.ReleaseMode) // or gin writes its routes to stdout
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg := api.Config{
		AllowedHosts: c.AllowedHosts, MaxRate: c.MaxRate, MaxDuration: c.MaxDuration,
		MaxInFlight: c.MaxInFlight, MaxAttacks: c.MaxAttacks, Timeout: c.Timeout, Proxy: c.Proxy,
	}
	if c.Prometheus != "" {
		asker, err := seen.New(c.Prometheus, c.Proxy)
		if err != nil {
			return err
		}
		cfg.Seen = asker.Query
	}
	tracing, err := telemetry.Start(ctx, program(), log.With("component", "tracing"))
	if err != nil {
		return err
	}
	defer tracing.Stop()
	cfg.Tracing = tracing.Provider()
	attacks, err := api.New(cfg, registry, log.With("component", "attacks"))
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	server := &http.Server{
		Handler:           attacks.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	log.Info("listening", "address", listener.Addr().String(), "version", version, "commit", commit,
		"allowedHosts", c.AllowedHosts, "maxRate", c.MaxRate, "maxDuration", c.MaxDuration.String(),
		"maxInFlight", c.MaxInFlight, "maxAttacks", c.MaxAttacks, "prometheus", c.Prometheus != "", "tracing", cfg.Tracing != nil, "timeout", c.Timeout.String())

	var g group.Group
	ctx, cancel := context.WithCancel(ctx)
	g.Add(func() error { return attacks.Run(ctx) }, func(error) { cancel() })
	g.Add(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	}, func(error) {
		deadline, done := context.WithTimeout(context.Background(), lastRequests)
		defer done()
		if err := server.Shutdown(deadline); err != nil {
			log.Warn("requests cut off at shutdown", "error", err, "close", server.Close())
		}
	})
	return g.Run()
}
