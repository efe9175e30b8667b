package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/kube"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/standby"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// leaderFlags say how several replicas share the work.
type leaderFlags struct {
	Lease     string        `env:"GATEKEEPER_LEASE" placeholder:"NAMESPACE/NAME" help:"Lease by which several replicas on one database agree on who leads; without it this process leads alone."`
	LeaseTime time.Duration `default:"10s" env:"GATEKEEPER_LEASE_TIME" help:"After which time without a sign of life the one that leads is taken for dead: whole seconds, at least 2s."`
	PodName   string        `env:"POD_NAME" help:"Name of this replica, the machine's without it."`
	PodIP     string        `name:"pod-ip" env:"POD_IP" default:"127.0.0.1" help:"Address at which the other replicas reach this one."`
}

const (
	// Hooks wait no longer for the replica that leads than Flagger does for them; people's requests may be questions that are
	// answered when there is news.
	hookAnswerTime = 2 * time.Second
	// patience is how long requests wait for somebody to lead: a planned hand-over takes no longer, and Flagger waits for a
	// hook for some seconds.
	patience         = 1500 * time.Millisecond
	peopleAnswerTime = 90 * time.Second
	// farewell is how long a replica that led still passes requests on when it ends: until another leads, and until the
	// Service knows.
	farewell = 2 * time.Second
)

// office is who leads.
type office interface {
	// Run calls lead once this replica leads; the error is lead's, or says that another took over.
	Run(ctx context.Context, lead func(context.Context) error) error
	Holds() bool
	Leader() string
	Fresh() error
}

// alone is the office of a process that has no replicas.
type alone struct{}

func (alone) Run(ctx context.Context, lead func(context.Context) error) error { return lead(ctx) }
func (alone) Holds() bool                                                     { return true }
func (alone) Leader() string                                                  { return "" }
func (alone) Fresh() error                                                    { return fmt.Errorf("the gatekeeper starts: it takes up what it remembers") }

// doors are open for the life of the process; who leads answers through them.
type doors struct{ hooks, people *standby.Door }

// open lets the handlers answer until leave is called.
func (d doors) open(hooks, people http.Handler) (leave func()) {
	leaveHooks, leavePeople := d.hooks.Lead(hooks), d.people.Lead(people)
	return func() {
		leaveHooks()
		leavePeople()
	}
}

// serve opens both doors, calls lead when this replica leads, and ends with ctx or when a part fails.
func (c serveCmd) serve(ctx context.Context, o office, log *slog.Logger, reg *prometheus.Registry, lead func(context.Context, doors) error) error {
	self := c.holder()
	isLeader := promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "gatekeeper_leader", Help: "1 while this replica leads, else 0."})
	address := func(door int) func() string {
		return func() string {
			if who := o.Leader(); who != self {
				return addressIn(who, door)
			}
			return ""
		}
	}
	log = log.With("component", "standby")
	d := doors{
		hooks: standby.New(standby.Config{
			Holds: o.Holds, Leader: address(0), Patience: patience, AnswerTime: hookAnswerTime, Own: standby.Probes(o.Fresh, nil), OwnPath: standby.HookPath, Refuse: standby.RefuseHook, Log: log,
		}),
		people: standby.New(standby.Config{
			Holds: o.Holds, Leader: address(1), Patience: patience, AnswerTime: peopleAnswerTime, Own: standby.Probes(o.Fresh, promhttp.HandlerFor(reg, promhttp.HandlerOpts{})),
			OwnPath: standby.PeoplePath, Refuse: standby.RefusePeople, Log: log,
		}),
	}
	var group rungroup.Group
	work, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	led := false
	group.Add(func() error {
		defer close(ended)
		return o.Run(work, func(ctx context.Context) error {
			led = true
			isLeader.Set(1)
			defer isLeader.Set(0)
			return lead(ctx, d)
		})
	}, func(error) {
		end()
		<-ended
		if led && c.Lease != "" {
			time.Sleep(farewell)
		}
	})
	if err := listen(&group, ctx, c.HookListen, d.hooks); err != nil {
		return err
	}
	if err := listen(&group, ctx, c.Listen, d.people); err != nil {
		return err
	}
	group.Add(rungroup.ContextHandler(ctx))
	if err := group.Run(); err != nil && ctx.Err() == nil {
		return err
	}
	log.Info("gatekeeper stopped")
	return nil
}

// lease is the Lease that the flags name.
func (c serveCmd) lease() (kube.Lease, error) {
	namespace, name, ok := strings.Cut(c.Lease, "/")
	if !ok {
		return kube.Lease{}, fmt.Errorf("the Lease is %q, it must be given as namespace/name", c.Lease)
	}
	return kube.Lease{Namespace: namespace, Name: name, Holder: c.holder(), Time: c.LeaseTime}, nil
}

// holder names this replica in the Lease, with the addresses of its doors: name/hooks/people.
func (c serveCmd) holder() string {
	name := c.PodName
	if name == "" {
		name, _ = os.Hostname() // without a name the address alone has to do
	}
	at := func(listen string) string {
		_, port, err := net.SplitHostPort(listen)
		if err != nil {
			return listen // which can not be listened on either, and is told there
		}
		return net.JoinHostPort(c.PodIP, port)
	}
	return name + "/" + at(c.HookListen) + "/" + at(c.Listen)
}

// addressIn is the address of a door (0: hooks, 1: people) in a holder's name, "" when there is none.
func addressIn(holder string, door int) string {
	parts := strings.Split(holder, "/")
	if len(parts) != 3 {
		return ""
	}
	return parts[1+door]
}

// deposed is a part that fails once the ledger says that another replica leads: this one's Lease may look good to itself, but
// what it decides can not be recorded any more.
func deposed(memory *store.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := memory.Deposed(ctx); err != nil {
			return fmt.Errorf("this replica leads no longer, it starts anew as a standby: %w", err)
		}
		return nil
	}
}
