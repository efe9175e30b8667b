package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/count"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/flagger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/keeper"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/web"
)

// Times of the evaluator: pods are read every second, and one that takes longer than that is late anyway. After ten
// seconds without a complete evaluation the gatekeeper says of itself that it is not ready.
const (
	tickInterval  = time.Second
	scrapeTimeout = 900 * time.Millisecond
	healthyLimit  = 10 * time.Second
	shutdownTime  = 5 * time.Second
)

type serveCmd struct {
	accessFlags    `embed:""`
	policyFlags    `embed:""`
	leaderFlags    `embed:""`
	databaseFlags  `embed:""`
	retentionFlags `embed:""`
	pageFlags      `embed:""`
	notifyFlags    `embed:""`
	traceFlags     `embed:""`

	HookListen string     `default:":8080" env:"GATEKEEPER_HOOK_LISTEN" help:"Address of the hook door, for Flagger only."`
	Listen     string     `default:":8081" env:"GATEKEEPER_LISTEN" help:"Address of the people's door: API, report, metrics, probes."`
	Data       string     `default:"/var/lib/gatekeeper" env:"GATEKEEPER_DATA" help:"Folder of the SQLite file and of deployment_report.md; not used with --database."`
	Prometheus string     `env:"GATEKEEPER_PROMETHEUS" help:"Prometheus that scrapes the ingress controller, for the second opinion and error budgets; neither without it."`
	Brake      bool       `env:"GATEKEEPER_BRAKE" help:"May set the weight of a failed canary to 0 itself, where a policy says so. Needs the right to patch ingresses or HTTPRoutes."`
	Kubeconfig string     `env:"GATEKEEPER_KUBECONFIG" help:"Way to the cluster; the pod's service account without it."`
	LogLevel   slog.Level `default:"INFO" env:"LOG_LEVEL" help:"DEBUG, INFO, WARN or ERROR."`
}

// Validate refuses what flags alone show to be wrong; kong asks before Run.
func (c serveCmd) Validate() error {
	return errors.Join(c.retentionFlags.Validate(), c.traceFlags.Validate())
}

// Run opens the doors, and leads when it may.
func (c serveCmd) Run(ctx context.Context, s streams) error {
	log := slog.New(slog.NewJSONHandler(s.err, &slog.HandlerOptions{Level: c.LogLevel}))
	gin.SetMode(gin.ReleaseMode)
	reg := process()

	policies, err := c.policySet(log)
	if err != nil {
		return err
	}
	access, err := c.access(time.Now, log.With("component", "web"))
	if err != nil {
		return err
	}
	to, err := c.collector(ctx, log)
	if err != nil {
		return err
	}
	clusterConfig, err := kube.Config(c.Kubeconfig)
	if err != nil {
		return err
	}
	var o office = alone{}
	if c.Lease != "" {
		lease, err := c.lease()
		if err != nil {
			return err
		}
		if o, err = kube.NewCandidate(clusterConfig, lease, log.With("component", "lease")); err != nil {
			return err
		}
	}
	return c.serve(ctx, o, log, reg, func(ctx context.Context, d doors) error {
		return c.lead(ctx, d, log, reg, policies, access, to, clusterConfig)
	})
}

// lead builds everything in the order of its dependencies, and works until ctx ends or a part fails.
func (c serveCmd) lead(ctx context.Context, d doors, log *slog.Logger, ofProcess prometheus.Gatherer, policies policy.Set, access web.Access, to collector, clusterConfig *rest.Config) error {
	reg := prometheus.NewRegistry() // of what only a leader knows: it goes with the lead, so that no standby shows what was once true
	memory, err := c.ledger(ctx, c.Data)
	if err != nil {
		return err
	}
	defer memory.Close()

	cluster, err := kube.New(clusterConfig)
	if err != nil {
		return err
	}
	told, err := c.config()
	if err != nil {
		return err
	}
	examine(told, policies, log)
	config := keeper.Config{
		Cluster: cluster, Ledger: memory, Route: told.Route, Repeat: told.Repeat,
		Policies: policies, Metrics: keeper.NewMetrics(reg), Log: log.With("component", "keeper"), Now: steady(time.Now()), Wall: time.Now, Version: judge(),
	}
	var ingress *count.Ingress
	if c.Prometheus != "" {
		if ingress, err = count.NewIngress(c.Prometheus, scrapeTimeout); err != nil {
			return err
		}
		config.Budget = ingress.Budget
	}
	config.Meter = count.New(scrapeTimeout, ingress)
	if c.Brake {
		config.Brake = cluster.Brake
	}
	if err := have(policies, c.Prometheus != "", c.Brake, log); err != nil {
		return err
	}
	conductor, err := keeper.New(ctx, config)
	if err != nil {
		return err
	}
	if err := reg.Register(conductor); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	healthy := func() error { return conductor.Healthy(healthyLimit) }

	var group rungroup.Group
	add(&group, ctx, cluster.Run)
	add(&group, ctx, func(ctx context.Context) error { return conductor.Run(ctx, tickInterval) })
	add(&group, ctx, conductor.WatchBudgets)
	add(&group, ctx, func(ctx context.Context) error { return c.prune(ctx, memory, log.With("component", "store")) })
	add(&group, ctx, deposed(memory))
	links, err := c.traces(&group, ctx, to, memory, config.Now, reg, log)
	if err != nil {
		return err
	}
	if err := c.archive(&group, ctx, memory, links, reg, log); err != nil {
		return err
	}
	if err := c.delivery(&group, ctx, memory, reg, log); err != nil {
		return err
	}
	if err := c.courier(&group, ctx, memory, told, reg, log); err != nil {
		return err
	}
	hooks := flagger.New(conductor, healthy, c.hooks(access.Tokens), reg, log.With("component", "flagger"))
	people := web.New(web.Config{
		Desk: memory, Conductor: conductor, Policies: policies, Healthy: healthy, Metrics: prometheus.Gatherers{ofProcess, reg}, Log: log.With("component", "web"),
		Now: time.Now, AlertTime: c.AlertTime, Access: access, SecureCookies: c.SecureCookies, Slack: c.pressed(told), Stopping: ctx.Done(),
		Rate: c.Rate, Proxies: c.TrustedProxies, Links: links,
	})
	group.Add(rungroup.ContextHandler(ctx))
	defer d.open(hooks, people)()

	log.Info("gatekeeper serves", "version", version, "hooks", c.HookListen, "people", c.Listen, "policies", len(policies), "sinks", len(told.Sinks))
	if err := group.Run(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// steady is a clock that never steps: the wall's time at the start, and what has passed since. A tick's time has no hidden
// part, so judging recorded ticks gives the same verdicts.
func steady(start time.Time) func() time.Time {
	return func() time.Time { return start.Add(time.Since(start)).Round(0) }
}

// have checks that there is what the policies ask for. Sources that a policy does not name are those that there are.
func have(policies policy.Set, prometheus, brake bool, log *slog.Logger) error {
	for name, rules := range policies {
		switch {
		case !prometheus && slices.Contains(rules.Evidence.Source, policy.Ingress):
			return fmt.Errorf("policy %s: evidence.source names the ingress, whose counts come by way of Prometheus: give --prometheus, or leave the source out", name)
		case !prometheus && len(rules.Evidence.Source) == 0:
			rules.Evidence.Source = []policy.Source{policy.Pods}
			policies[name] = rules
		}
		if rules.Brake != policy.BrakeOff && !brake {
			log.Warn("a policy asks for the brake, but the gatekeeper may not use it: set brake.enabled in its chart", "policy", name)
		}
	}
	return nil
}

// secret is the given one, or the file's first line.
func secret(given, file string) (string, error) {
	if file == "" {
		return given, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if found := strings.TrimSpace(string(text)); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("read secret: %s is empty", file)
}

// add lets a long-lived part run in the group until the group ends it through its context.
func add(group *rungroup.Group, ctx context.Context, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	group.Add(func() error { return part(ctx) }, func(error) { cancel() })
}

// listen binds address now, so that a taken port is told at once, and serves in the group.
func listen(group *rungroup.Group, ctx context.Context, address string, handler http.Handler) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
	group.Add(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", address, err)
		}
		return nil
	}, func(error) {
		// The group's context is over by now; open answers get their own short time.
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		_ = server.Shutdown(deadline) // what is still open then is cut off by the end of the process
	})
	return nil
}
