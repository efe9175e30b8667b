package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/crowd"
)

const (
	// maxLife is how long a gatekeeper lives at most after somebody led: some die while they start, some after their work.
	maxLife = 3500 * time.Millisecond
	// leadTime is how long it may take until somebody leads.
	leadTime = 30 * time.Second
)

// fleet is all replicas of the gatekeeper.
type fleet struct {
	cfg       Config
	sink      string
	faults    *faults
	replicas  []*replica
	runs      int
	handovers int // kills after which another replica led
}

// replica is one place where a gatekeeper runs.
type replica struct {
	name          string
	hooks, people string // addresses of its doors
	process       *process
}

// process is one life of a gatekeeper.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	over chan struct{} // closed when it has ended
	mu   sync.Mutex
	// killed says that its end is ours.
	killed bool
}

func newFleet(ctx context.Context, cfg Config, sink string, faults *faults) (*fleet, error) {
	f := &fleet{cfg: cfg, sink: sink, faults: faults}
	for i := range cfg.Replicas {
		r := &replica{name: fmt.Sprintf("gatekeeper-%d", i)}
		var err error
		if r.hooks, err = freeAddress(ctx); err != nil {
			return nil, err
		}
		if r.people, err = freeAddress(ctx); err != nil {
			return nil, err
		}
		f.replicas = append(f.replicas, r)
	}
	for _, r := range f.replicas {
		if err := f.start(ctx, r); err != nil {
			return nil, errors.Join(err, f.stop())
		}
	}
	return f, nil
}

// freeAddress is one of this machine that nobody listens on now.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// start lets a gatekeeper run. Each life has its own address of the receiver, by which that knows who sent what.
func (f *fleet) start(ctx context.Context, r *replica) error {
	f.runs++
	args := []string{
		"serve", "--hook-listen", r.hooks, "--listen", r.people, "--data", filepath.Join(f.cfg.Dir, r.name), "--policies", filepath.Join(f.cfg.Dir, "policies"),
		"--kubeconfig", filepath.Join(f.cfg.Dir, "kubeconfig"), "--webhook-url", fmt.Sprintf("%s/?run=%d", f.sink, f.runs),
	}
	if f.cfg.Database != "" {
		args = append(args, "--database", f.cfg.Database, "--lease", crowd.Namespace+"/gatekeeper", "--lease-time", leaseTime.String(), "--pod-name", r.name)
	}
	if err := os.MkdirAll(filepath.Join(f.cfg.Dir, r.name), 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	p := &process{log: &bytes.Buffer{}, over: make(chan struct{}), cmd: exec.CommandContext(ctx, f.cfg.Program, args...)}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start gatekeeper: %w", err)
	}
	r.process = p
	go func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.killed {
			f.faults.add("%s ended by itself: %v\n%s", r.name, err, tail(p.log.String()))
		}
		close(p.over)
	}()
	return nil
}

// kill9 ends a replica's process as nothing can prevent, and waits for its end.
func (r *replica) kill9() error {
	r.process.mu.Lock()
	r.process.killed = true
	r.process.mu.Unlock()
	if err := r.process.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", r.name, err)
	}
	<-r.process.over
	return nil
}

// stop ends all replicas.
func (f *fleet) stop() error {
	var errs []error
	for _, r := range f.replicas {
		if r.process != nil {
			errs = append(errs, r.kill9())
		}
	}
	return errors.Join(errs...)
}

// kill kills the one that leads, n times.
func (f *fleet) kill(ctx context.Context, n int, rng *rand.Rand, broken <-chan error) error {
	for i := range n {
		victim, err := f.victim(ctx, rng)
		if err != nil {
			return err
		}
		if err := victim.kill9(); err != nil {
			return err
		}
		// With a standby the one that was killed comes back at once, and leads on under its name, or too late for that.
		if len(f.replicas) > 1 && rng.IntN(2) == 0 {
			f.handovers++
			if _, err := f.leader(ctx); err != nil {
				return err
			}
		}
		if err := f.start(ctx, victim); err != nil {
			return err
		}
		if (i+1)%10 == 0 {
			f.cfg.Say(fmt.Sprintf("%d of %d kills", i+1, n))
		}
		select {
		case err := <-broken:
			return err
		default:
		}
	}
	_, err := f.leader(ctx)
	return err
}

// victim is the replica to be killed, when its moment has come: in its work, or while it starts.
func (f *fleet) victim(ctx context.Context, rng *rand.Rand) (*replica, error) {
	victim := f.replicas[0]
	if len(f.replicas) > 1 {
		var err error
		if victim, err = f.leader(ctx); err != nil {
			return nil, err
		}
	}
	return victim, pause(ctx, time.Duration(rng.Int64N(int64(maxLife))))
}

// leader waits until a replica leads.
func (f *fleet) leader(ctx context.Context) (*replica, error) {
	ctx, cancel := context.WithTimeout(ctx, leadTime)
	defer cancel()
	for {
		for _, r := range f.replicas {
			_, page, err := request(ctx, http.MethodGet, "http://"+r.people+"/metrics", "")
			if err == nil && strings.Contains(page, "\ngatekeeper_leader 1\n") {
				return r, nil
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for a replica that leads: %w\n%s", err, f.logs())
		}
	}
}

func (f *fleet) logs() string {
	var all strings.Builder
	for _, r := range f.replicas {
		_ = r.kill9() // its log is whole then; that it could not be killed is no news here
		fmt.Fprintf(&all, "%s:\n%s\n", r.name, tail(r.process.log.String()))
	}
	return all.String()
}

// tail is the end of a log.
func tail(text string) string { return text[max(0, len(text)-3000):] }

// any is one of the replicas.
func (f *fleet) any(rng *rand.Rand) *replica { return f.replicas[rng.IntN(len(f.replicas))] }

// rollout is one as the API tells of it.
type rollout struct {
	ID       string
	Result   string
	Revision struct{ DeployID string }
}

// rollouts are those of a Canary on record.
func (f *fleet) rollouts(ctx context.Context, r *replica, name string) ([]rollout, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	status, text, err := request(ctx, http.MethodGet, "http://"+r.people+"/api/v1/rollouts?canary="+url.QueryEscape(crowd.Namespace+"/"+name), "")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("ask for rollouts: %d: %s", status, text)
	}
	var page struct{ Rollouts []rollout }
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		return nil, fmt.Errorf("read rollouts: %w", err)
	}
	return page.Rollouts, nil
}

// entries counts the entries of the ledger that close each rollout.
func (f *fleet) entries(ctx context.Context, r *replica) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, leadTime)
	defer cancel()
	status, text, err := request(ctx, http.MethodGet, "http://"+r.people+"/api/v1/ledger", "")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("ask for the ledger: %d: %s", status, text)
	}
	closing := map[string]int{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `{"entry"`) { // a tick, or the file's own
			continue
		}
		var l struct {
			Entry struct{ Kind, Rollout string }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		if l.Entry.Kind == "rollout" {
			closing[l.Entry.Rollout]++
		}
	}
	return closing, nil
}
