// Package crash kills gatekeepers at random moments while releases run and a receiver fails, and says what was lost or came twice.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Config is what a run needs; all fields but Database are required.
type Config struct {
	Program  string // the gatekeeper, as Build makes it
	Dir      string // for its data
	Kills    int
	Rollouts int    // that are under way at once
	Seed     uint64 // of all that is random
	// Replicas that share Database, a PostgreSQL DSN; one with SQLite in Dir without it.
	Replicas int
	Database string
	Say      func(string)
}

// leaseTime is short, so that a standby takes over in seconds.
const leaseTime = 2 * time.Second

// policy lets rollouts end in seconds; what it asks of a release is what a real one does.
const policy = `name: default
bake: {first: 2s, step: 1s}
evidence: {minRequests: 50}
confidence: {block: 500ms}
`

// endTime is what the last rollouts and messages get after the last kill.
const endTime = 3 * time.Minute

// Build makes dir/gatekeeper, the program that is killed: the one that ships.
func Build(ctx context.Context, root, dir string) error {
	build := sh.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "gatekeeper"), ".")
	build.Dir, build.Env = filepath.Join(root, "gatekeeper"), []string{"GOWORK=off", "CGO_ENABLED=0"}
	if err := build.Run(ctx); err != nil {
		return fmt.Errorf("build gatekeeper: %w", err)
	}
	return nil
}

// Run kills until it has killed enough, lets everything come to its end, and judges. The error says what could not be run;
// what went wrong with the gatekeeper stands in the Result.
func Run(ctx context.Context, cfg Config) (Result, error) {
	begun := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cluster, err := crowd.Empty(ctx)
	if err != nil {
		return Result{}, err
	}
	defer cluster.Close()
	sink, err := openSink(ctx, rand.New(rand.NewPCG(cfg.Seed, 1)))
	if err != nil {
		return Result{}, err
	}
	defer sink.close()
	if err := prepare(cfg, cluster.Kubeconfig()); err != nil {
		return Result{}, err
	}
	faults := &faults{}
	fleet, err := newFleet(ctx, cfg, sink.url, faults)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = fleet.stop() }() // what can not be killed has ended

	f := &flagger{fleet: fleet, faults: faults, asked: newTally()}
	var wg sync.WaitGroup
	var enough atomic.Bool
	expected := make([]map[string]string, cfg.Rollouts)
	broken := make(chan error, cfg.Rollouts)
	for i := range cfg.Rollouts {
		member, err := cluster.Join(ctx, crowd.Name(i))
		if err != nil {
			stopAll(cancel, &wg)
			return Result{}, err
		}
		r := &releases{flagger: f, member: member, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(100+i))), expected: map[string]string{}, number: i}
		expected[i] = r.expected
		wg.Go(func() {
			if err := r.run(ctx, &enough); err != nil {
				broken <- err
			}
		})
	}
	if err := fleet.kill(ctx, cfg.Kills, rand.New(rand.NewPCG(cfg.Seed, 2)), broken); err != nil {
		stopAll(cancel, &wg)
		return Result{}, err
	}
	enough.Store(true)
	sink.recover()
	cfg.Say("no more kills: the last releases come to their ends")
	if err := finish(ctx, &wg, broken); err != nil {
		stopAll(cancel, &wg)
		return Result{}, err
	}
	cfg.Say("all releases have ended: the last entries and notifications are waited for")
	result, err := judge(ctx, fleet, sink, expected)
	if err != nil {
		return Result{}, err
	}
	result.Kills, result.Seed, result.Took, result.Hooks = cfg.Kills, cfg.Seed, time.Since(begun), f.asked.counts()
	result.Handovers = fleet.handovers
	result.Faults = append(faults.all(), result.Faults...)
	return result, nil
}

func prepare(cfg Config, kubeconfig string) error {
	policies := filepath.Join(cfg.Dir, "policies")
	if err := os.MkdirAll(policies, 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for file, text := range map[string]string{filepath.Join(policies, "default.yaml"): policy, filepath.Join(cfg.Dir, "kubeconfig"): kubeconfig} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func stopAll(cancel func(), wg *sync.WaitGroup) {
	cancel()
	wg.Wait()
}

// finish waits until all releases have ended.
func finish(ctx context.Context, wg *sync.WaitGroup, broken <-chan error) error {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		select {
		case err := <-broken:
			return err
		default:
			return nil
		}
	case err := <-broken:
		return err
	case <-time.After(endTime):
		return fmt.Errorf("releases have not ended %s after the last kill", endTime)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// faults are what the gatekeeper did wrong. Safe for concurrent use.
type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
