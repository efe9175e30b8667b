// Package keeper conducts: it holds each rollout's state, judges on its own ticks, answers hooks from memory, records and tells.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Cluster is keeper's contract with whoever watches the cluster. Canaries are only asked for once Synced is true; they
// must come from memory. Safe for concurrent use.
type Cluster interface {
	Synced() bool
	Canaries() ([]rollout.Canary, error)
}

// Meter is keeper's contract with whoever counts. Read adds what the pods say to book, which is the caller's, and
// returns the counts since the rollout's first traffic; pods that do not answer make the tick older, not smaller.
type Meter interface {
	Read(ctx context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, book rollout.Book, isGood func(status string) bool) rollout.Tick
}

// Ledger is keeper's contract with whoever remembers. Save returns once everything is durable.
type Ledger interface {
	Open(ctx context.Context) ([]rollout.Rollout, []rollout.Book, error)
	Save(ctx context.Context, r rollout.Rollout, book rollout.Book, news ...rollout.News) error
}

// AppendReport adds an entry to the report unless it has the mark already; durable on return.
type AppendReport func(mark, entry string) error

// settleTime is how long after its end a rollout's last responses are waited for: Kubernetes' default grace of 30 s is
// rarely used up, and a report that is late is worse than one that says when it was closed.
const settleTime = 20 * time.Second

// parallelReads bounds how many rollouts are measured at once.
const parallelReads = 16

// Config is what a Keeper needs; all fields but Log are required.
type Config struct {
	Cluster  Cluster
	Meter    Meter
	Ledger   Ledger
	Append   AppendReport
	Policies policy.Set
	Metrics  *Metrics
	Log      *slog.Logger
	Now      func() time.Time
}

// run is one rollout that has no report entry yet.
type run struct {
	rollout rollout.Rollout
	book    rollout.Book
	news    []rollout.News // not durable yet
}

// Keeper is the conductor. Its state is written under mu by Tick and by the hooks.
type Keeper struct {
	cfg Config

	mu         sync.Mutex
	canaries   map[rollout.Key]rollout.Canary
	candidates map[rollout.Key]string // revisions under analysis that have no rollout yet
	runs       map[string]*run        // by rollout id: under way, or ended and not reported yet
	lastTick   time.Time
	trouble    error // of the last evaluation: while there is any nothing is allowed to go on
}

// New takes up the rollouts that the ledger left open. A ledger that can not be read is an error: starting without it
// would forget a verdict.
func New(ctx context.Context, cfg Config) (*Keeper, error) {
	k := &Keeper{
		cfg:        cfg,
		canaries:   map[rollout.Key]rollout.Canary{},
		candidates: map[rollout.Key]string{},
		runs:       map[string]*run{},
	}
	rollouts, books, err := cfg.Ledger.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("take up open rollouts: %w", err)
	}
	now := cfg.Now()
	for i, r := range rollouts {
		if older := k.open(r.Canary); older != nil && r.Result == "" {
			k.end(older, rollout.Superseded, older.rollout.Phase, now) // its end was on its way to the disk
		}
		r.Note(now, "gatekeeper", "gatekeeper restarted and took the rollout up again")
		k.runs[r.ID] = &run{rollout: r, book: books[i]}
		cfg.Log.Info("rollout taken up again", "rollout", r.ID, "requests", r.Latest.Canary.Total())
	}
	return k, nil
}

// Run evaluates every interval until ctx ends.
func (k *Keeper) Run(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var told string
	for {
		err := k.Tick(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			k.cfg.Log.Error("evaluation incomplete, nothing may go on until it succeeds", "error", err)
		}
		told = fmt.Sprint(err) // the same failure every second is one line
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Tick looks at the cluster, opens and ends rollouts, measures and judges those under way, and reports those whose
// counts are final.
func (k *Keeper) Tick(ctx context.Context) error {
	if !k.cfg.Cluster.Synced() {
		return nil
	}
	canaries, err := k.cfg.Cluster.Canaries()
	if err != nil {
		return err
	}
	began := k.cfg.Now()
	measured := k.measure(ctx, k.reconcile(canaries, began))

	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, m := range measured {
		errs = append(errs, k.apply(ctx, m))
	}
	k.trouble = errors.Join(errs...)
	k.lastTick = k.cfg.Now()
	k.cfg.Metrics.observe(k.lastTick, k.lastTick.Sub(began), k.underWay())
	return k.trouble
}

// reconcile takes in the cluster's view and returns copies of what is to be measured.
func (k *Keeper) reconcile(canaries []rollout.Canary, now time.Time) []measurement {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.canaries = make(map[rollout.Key]rollout.Canary, len(canaries))
	for _, c := range canaries {
		k.canaries[c.Key] = c
		k.follow(c, now)
	}
	var work []measurement
	for _, r := range k.runs {
		c, exists := k.canaries[r.rollout.Canary]
		if !exists && r.rollout.Result == "" {
			r.rollout.Note(now, "gatekeeper", "the Canary object was deleted")
			k.end(r, rollout.Aborted, r.rollout.Phase, now)
		}
		work = append(work, measurement{id: r.rollout.ID, rollout: r.rollout, canary: c, book: maps.Clone(r.book)})
	}
	// Oldest first: what a newer one supersedes is saved, and told, before it.
	slices.SortFunc(work, func(a, b measurement) int { return a.rollout.StartedAt.Compare(b.rollout.StartedAt) })
	return work
}

// follow lets the Canary's phase and revision open or end a rollout.
func (k *Keeper) follow(c rollout.Canary, now time.Time) {
	open := k.open(c.Key)
	var current *rollout.Rollout
	if open != nil {
		current = &open.rollout
	}
	move, seen := next(current, c, k.candidates[c.Key])
	k.candidates[c.Key] = seen
	if open != nil {
		open.rollout.Phase = c.Phase
	}
	if move.end != "" {
		k.end(open, move.end, c.Phase, now)
	}
	if move.open {
		k.begin(c, move.end == rollout.Superseded, now)
	}
}

// begin opens the rollout of c's current revision. When it supersedes another, the weight is that one's until Flagger
// sets it back at its next tick.
func (k *Keeper) begin(c rollout.Canary, supersedes bool, now time.Time) {
	r := &run{rollout: rollout.New(c, now), book: rollout.Book{}}
	r.rollout.AwaitsReset = supersedes
	if _, known := k.cfg.Policies[c.Policy]; !known {
		r.rollout.Note(now, "gatekeeper", fmt.Sprintf("there is no policy %q, the rollout is judged by the default policy", c.Policy))
		k.cfg.Log.Warn("unknown policy, default is used", "rollout", r.rollout.ID, "policy", c.Policy)
	}
	r.news = append(r.news, r.rollout.News(rollout.HasStarted, now))
	k.runs[r.rollout.ID] = r
	k.cfg.Log.Info("rollout started", "rollout", r.rollout.ID, "image", c.Revision.Image, "policy", c.Policy)
}

// open is the rollout of a Canary that has no result yet, nil when there is none.
func (k *Keeper) open(key rollout.Key) *run {
	for _, r := range k.runs {
		if r.rollout.Canary == key && r.rollout.Result == "" {
			return r
		}
	}
	return nil
}

func (k *Keeper) underWay() int {
	n := 0
	for _, r := range k.runs {
		if r.rollout.Result == "" {
			n++
		}
	}
	return n
}

// end closes a rollout and prepares the news of it. The caller saves.
func (k *Keeper) end(r *run, result rollout.Result, phase rollout.Phase, now time.Time) {
	r.rollout.End(result, phase, now)
	r.news = append(r.news, r.rollout.News(rollout.Happening(result), now))
	k.cfg.Metrics.ended(result)
	k.cfg.Log.Info("rollout ended", "rollout", r.rollout.ID, "result", result, "why", r.rollout.Summary())
}

// measurement is one rollout on its way through the meter, which works outside the lock on copies.
type measurement struct {
	id      string
	rollout rollout.Rollout
	canary  rollout.Canary
	book    rollout.Book
	tick    rollout.Tick
}

func (k *Keeper) measure(ctx context.Context, work []measurement) []measurement {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelReads)
	for i := range work {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m := &work[i]
			m.tick = k.cfg.Meter.Read(ctx, k.cfg.Now(), m.rollout, m.canary, m.book, k.cfg.Policies.For(m.rollout.Policy).SLO.IsGood)
		})
	}
	wg.Wait()
	return work
}

// apply takes in a measurement, judges, saves, and writes the report entry of a rollout whose counts are final.
func (k *Keeper) apply(ctx context.Context, m measurement) error {
	r, ok := k.runs[m.id]
	if !ok {
		return nil
	}
	r.book = m.book
	r.rollout.Observe(m.tick)
	if r.rollout.Result == "" && r.rollout.Phase.Analysed() {
		k.judge(r, m.tick.At)
	}
	if r.rollout.Result != "" && final(r.rollout, m) {
		if err := k.report(r); err != nil {
			return errors.Join(err, k.save(ctx, r))
		}
	}
	if err := k.save(ctx, r); err != nil {
		return err
	}
	if r.rollout.Reported {
		delete(k.runs, m.id)
	}
	return nil
}

func (k *Keeper) judge(r *run, now time.Time) {
	before := r.rollout.Verdict.Outcome
	r.rollout.Judge(policy.Decide(k.cfg.Policies.For(r.rollout.Policy), r.rollout, now))
	if after := r.rollout.Verdict.Outcome; after != before && after == rollout.Fail {
		k.cfg.Log.Info("verdict is fail, Flagger will be told to roll back", "rollout", r.rollout.ID, "why", r.rollout.Verdict.Text())
	}
}

// final reports whether the ended rollout's pods are gone, or have had their time.
func final(r rollout.Rollout, m measurement) bool {
	if m.tick.At.Sub(r.EndedAt) > settleTime {
		return true
	}
	for _, p := range m.canary.Pods {
		if p.Track == rollout.TrackCanary && p.Hash == r.Revision.Hash {
			return false
		}
	}
	return true
}

func (k *Keeper) report(r *run) error {
	entry := &strings.Builder{}
	if err := report.Write(entry, r.rollout, k.cfg.Policies.For(r.rollout.Policy)); err != nil {
		return err
	}
	if err := k.cfg.Append(report.Mark(r.rollout.ID), entry.String()); err != nil {
		return fmt.Errorf("report rollout %s: %w", r.rollout.ID, err)
	}
	r.rollout.Reported = true
	return nil
}

// save makes the rollout and its news durable. News that could not be saved are tried again with the next save.
func (k *Keeper) save(ctx context.Context, r *run) error {
	if err := k.cfg.Ledger.Save(ctx, r.rollout, r.book, r.news...); err != nil {
		return err
	}
	r.news = nil
	return nil
}

// Healthy says why the keeper cannot be trusted now, nil when it can: the watches must be complete and the last
// evaluation younger than limit.
func (k *Keeper) Healthy(limit time.Duration) error {
	if !k.cfg.Cluster.Synced() {
		return errors.New("the cluster's objects are not all read yet")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if age := k.cfg.Now().Sub(k.lastTick); age > limit {
		return fmt.Errorf("the last complete evaluation is %s old", age.Round(time.Second))
	}
	return nil
}
