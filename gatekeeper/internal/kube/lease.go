package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// ErrDeposed says that the Lease was lost: another replica may lead by now.
var ErrDeposed = errors.New("this replica leads no longer: its Lease could not be renewed in time, or another holds it; it starts anew as a standby")

// Lease says what replicas compete for, and as whom.
type Lease struct {
	Namespace, Name string
	// Holder names this replica in the Lease. No other may have the same name; a replica that starts again under its old
	// one need not wait until the Lease expires.
	Holder string
	// Time after which a leader that does not renew is taken for dead: whole seconds, at least 2. It is renewed six times
	// in that time, and given up by the leader itself after two thirds of it, before anybody else takes it.
	Time time.Duration
}

// Candidate competes for a Lease. Safe for concurrent use; Run is called once.
type Candidate struct {
	lease   Lease
	elector *leaderelection.LeaderElector
	lock    *datedLock
	elected chan struct{} // closed when this replica leads
	leads   atomic.Bool
	log     *slog.Logger
}

// NewCandidate prepares to compete.
func NewCandidate(cfg *rest.Config, lease Lease, log *slog.Logger) (*Candidate, error) {
	if lease.Namespace == "" || lease.Name == "" || lease.Holder == "" {
		return nil, errors.New("compete for a Lease: its namespace, its name and this replica's name are needed")
	}
	if lease.Time < 2*time.Second || lease.Time%time.Second != 0 {
		return nil, fmt.Errorf("compete for a Lease: its time is %s, it must be whole seconds and at least 2s", lease.Time)
	}
	// A connection that hangs must not take the whole time that there is for renewing.
	own := rest.CopyConfig(cfg)
	own.Timeout = lease.Time / 3
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	c := &Candidate{lease: lease, elected: make(chan struct{}), log: log, lock: &datedLock{Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: lease.Holder},
	}}}
	c.elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: c.lock, LeaseDuration: lease.Time, RenewDeadline: lease.Time * 2 / 3, RetryPeriod: lease.Time / 6, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(c.elected) },
			OnStoppedLeading: func() { c.leads.Store(false) },
			OnNewLeader:      func(who string) { log.Info("a replica leads", "who", who) },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("compete for a Lease: %w", err)
	}
	return c, nil
}

// Run competes until ctx ends, and calls lead once this replica leads. Lead's context ends with ctx, or when the Lease is
// lost; the Lease is released when lead has returned, so that what it did is done before another begins. The error is
// lead's, or ErrDeposed.
func (c *Candidate) Run(ctx context.Context, lead func(context.Context) error) error {
	// The election outlives ctx: a leader holds its Lease until it has finished.
	election, resign := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.FromSlogHandler(c.log.Handler())))
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(over)
		c.elector.Run(election)
	})
	defer wg.Wait()
	defer resign()
	select {
	case <-ctx.Done():
		return nil
	case <-c.elected:
	}
	c.leads.Store(true)
	leading, depose := context.WithCancelCause(ctx)
	defer depose(nil)
	wg.Go(func() {
		<-over
		depose(ErrDeposed)
	})
	err := lead(leading)
	if errors.Is(context.Cause(leading), ErrDeposed) {
		return ErrDeposed
	}
	return err
}

// Holds reports whether this replica leads and its Lease is still good: one that was asleep for longer than its Lease says
// no, also before it has noticed.
func (c *Candidate) Holds() bool {
	return c.leads.Load() && c.lock.renewed.age() < c.lease.Time
}

// Leader is who holds the Lease as far as this replica knows, "" when nobody does.
func (c *Candidate) Leader() string { return c.elector.GetLeader() }

// Fresh says why what this replica knows of the Lease is too old, nil when it is not.
func (c *Candidate) Fresh() error {
	if c.lock.read.age() > c.lease.Time {
		return fmt.Errorf("the Lease %s/%s could not be read for more than %s: see the log", c.lease.Namespace, c.lease.Name, c.lease.Time)
	}
	return nil
}

// datedLock remembers when the last requests that succeeded were sent: a Lease that one of them renewed is good from then on.
type datedLock struct {
	resourcelock.Interface
	read, renewed date
}

// date is a moment that several may look at.
type date struct{ at atomic.Pointer[time.Time] }

func (d *date) age() time.Duration {
	if at := d.at.Load(); at != nil {
		return time.Since(*at)
	}
	return 1<<63 - 1 // never
}

func (l *datedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	sent := time.Now()
	record, raw, err := l.Interface.Get(ctx)
	if err == nil || apierrors.IsNotFound(err) { // that there is none yet is an answer too
		l.read.at.Store(&sent)
	}
	return record, raw, err
}

func (l *datedLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(func() error { return l.Interface.Create(ctx, r) })
}

func (l *datedLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(func() error { return l.Interface.Update(ctx, r) })
}

func (l *datedLock) write(send func() error) error {
	sent := time.Now()
	err := send()
	if err == nil {
		l.read.at.Store(&sent)
		l.renewed.at.Store(&sent)
	}
	return err
}
