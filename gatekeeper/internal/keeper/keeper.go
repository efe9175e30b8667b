// Package keeper conducts: it holds each rollout's state, judges on its own ticks, answers hooks from memory, records and tells.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Cluster is keeper's contract with whoever watches the cluster. Canaries are only asked for once Synced is true; they
// must come from memory. Safe for concurrent use.
type Cluster interface {
	Synced() bool
	Canaries() ([]rollout.Canary, error)
}

// Meter is keeper's contract with whoever counts. Read adds what the sources say to book, which is the caller's, and
// returns the counts since the rollout's first traffic; sources that do not answer make the tick older, not smaller.
// Safe for concurrent use on different books.
type Meter interface {
	Read(ctx context.Context, now time.Time, r rollout.Rollout, c rollout.Canary, book rollout.Book, sli rollout.SLI) rollout.Tick
}

// Ledger is keeper's contract with whoever remembers. Save returns once all of it is durable, in one transaction.
type Ledger interface {
	Open(ctx context.Context) ([]rollout.Rollout, []rollout.Book, error)
	Save(ctx context.Context, changes ...rollout.Change) error
	// SavePolicy and Policy keep the rules of rollouts, so that one is judged by the same rules from its begin to its end,
	// and can be judged again by them. Policy returns rollout.ErrNotFound for a digest that is not there.
	SavePolicy(ctx context.Context, digest string, document []byte) error
	Policy(ctx context.Context, digest string) ([]byte, error)
	// SaveMemo and Memo keep small documents by name. Memo returns rollout.ErrNotFound for one that is not there.
	SaveMemo(ctx context.Context, name string, document []byte, entries ...rollout.Entry) error
	Memo(ctx context.Context, name string) ([]byte, error)
	// Find returns the rollouts that q chooses, newest first, and how many there are without its limit.
	Find(ctx context.Context, q rollout.Query) (page []rollout.Brief, total int, err error)
}

// Brake takes a Canary's traffic back to the primary at once, past Flagger, and says what the canary's weight was, in
// percent; 0 when there was nothing to do.
type Brake func(ctx context.Context, key rollout.Key) (was int, err error)

// Route names the sinks that are told of news about a rollout with these rules.
type Route func(policy.Rules, rollout.News) []string

// settleTime is how long after its end a rollout's last responses are waited for: Kubernetes' default grace of 30 s is
// rarely used up, and a report that is late is worse than one that says when it was closed.
const settleTime = 20 * time.Second

// readsPerMillisecond spreads the reading of many rollouts over their second: all at once would take the processors from
// the hooks, which are to be answered in milliseconds.
const readsPerMillisecond = 2

// parallelReads bounds how many rollouts are measured at once.
const parallelReads = 64

const (
	// saveTime bounds one save: a ledger that hangs is a failure, and must not hold up the next verdict.
	saveTime = 5 * time.Second
	// ticksAtOnce are what is surely written in saveTime. After hours without a ledger there are more: they go by several
	// saves, and one rollout that has more gets more time.
	ticksAtOnce = 20_000
)

// Config is what a Keeper needs; all fields but Wall (nil: Now), Brake and Budget are required.
type Config struct {
	Cluster  Cluster
	Meter    Meter
	Ledger   Ledger
	Route    Route
	Policies policy.Set
	Repeat   time.Duration // after which people are told again of what lasts; 0: never
	Metrics  *Metrics
	Log      *slog.Logger
	Version  string           // of the gatekeeper, with its architecture; written into what it judges
	Now      func() time.Time // never steps: what is measured, and in which order, goes by it
	Wall     func() time.Time // steps when it is set right: freezes go by it
	Brake    Brake            // nil: the gatekeeper may not brake, whatever a policy says
	Budget   Budget           // nil: nobody knows what is left of error budgets
}

// run is one rollout that the ledger has no closing entry of yet.
type run struct {
	rollout  rollout.Rollout
	rules    policy.Rules
	book     rollout.Book
	interval time.Duration        // of Flagger's looks
	ahead    time.Duration        // how much later than Config.Now it is in the rollout's own time, which never goes back
	news     []rollout.News       // not durable yet, as is
	ticks    []rollout.JudgedTick // these
	entries  []rollout.Entry      // and these
	moving   time.Time            // since when Flagger promotes it, by Config.Now; zero: it does not
}

// Keeper is the conductor. Hooks are answered from a board that each evaluation hangs up new, without waiting for it.
type Keeper struct {
	cfg      Config
	board    atomic.Pointer[board]
	calls    calls
	passages passages
	began    time.Time

	// writing is held while changes are made and saved: they reach the ledger in the order in which they were made. It is
	// taken before mu, which guards what follows and is never held while somebody waits for a disk or a network.
	writing    sync.Mutex
	mu         sync.Mutex
	canaries   map[rollout.Key]rollout.Canary
	candidates map[rollout.Key]string // revisions under analysis that have no rollout yet
	runs       map[string]*run        // by rollout id: under way, or ended and not reported yet
	known      map[string]rest        // by namespace/name: how Canaries were when they last rested
	learnt     bool                   // it has something that is not durable yet
	doubts     map[rollout.Key]doubt  // rests that belong to no rollout that is known
	clocks     clocks
	alerts     map[string]policy.Alert
	budgets    map[rollout.Key]budget
	lastTick   time.Time
	interval   time.Duration // of evaluations
	trouble    error         // of the last evaluation: while there is any nothing is allowed to go on
}

// New takes up the rollouts that the ledger left open. A ledger that can not be read is an error: starting without it
// would forget a verdict.
func New(ctx context.Context, cfg Config) (*Keeper, error) {
	if cfg.Wall == nil {
		cfg.Wall = cfg.Now
	}
	k := &Keeper{
		cfg:        cfg,
		canaries:   map[rollout.Key]rollout.Canary{},
		candidates: map[rollout.Key]string{},
		runs:       map[string]*run{},
		known:      map[string]rest{},
		doubts:     map[rollout.Key]doubt{},
		alerts:     map[string]policy.Alert{},
		budgets:    map[rollout.Key]budget{},
		began:      cfg.Now(),
	}
	k.board.Store(&board{})
	rollouts, books, err := cfg.Ledger.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("take up open rollouts: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Policies)) {
		document, digest, err := cfg.Policies[name].Document()
		if err != nil {
			return nil, err
		}
		if err := cfg.Ledger.SavePolicy(ctx, digest, document); err != nil {
			return nil, err
		}
	}
	if err := k.recall(ctx); err != nil {
		return nil, err
	}
	now := cfg.Now()
	for i, r := range rollouts {
		rules, err := k.rulesKept(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("take up rollout %s: %w", r.ID, err)
		}
		if older := k.open(r.Canary); older != nil && r.Result == "" {
			k.end(older, rollout.Superseded, older.rollout.Phase) // its end was on its way to the disk
		}
		taken := &run{rollout: r, rules: rules, book: books[i], ahead: ahead(now, r.Moment())}
		if !slices.Contains(r.JudgedBy, cfg.Version) {
			taken.rollout.JudgedBy = append(taken.rollout.JudgedBy, cfg.Version)
		}
		taken.rollout.Note(now.Add(taken.ahead), "gatekeeper", "gatekeeper restarted and took the rollout up again")
		k.runs[r.ID] = taken
		cfg.Metrics.begun(r.Canary)
		cfg.Log.Info("rollout taken up again", "rollout", r.ID, "requests", r.Latest.Canary.Total())
	}
	k.startClocks(now)
	return k, nil
}

// rulesKept are the rules that a rollout began with. One from before rules were kept goes on by the policy of its name.
func (k *Keeper) rulesKept(ctx context.Context, r rollout.Rollout) (policy.Rules, error) {
	if r.PolicyDigest == "" {
		return k.cfg.Policies.For(r.Policy), nil
	}
	document, err := k.cfg.Ledger.Policy(ctx, r.PolicyDigest)
	if err != nil {
		return policy.Rules{}, err
	}
	return policy.FromDocument(document)
}

// Run evaluates every interval until ctx ends.
func (k *Keeper) Run(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	k.mu.Lock()
	k.interval = interval
	k.mu.Unlock()
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

// Tick looks at the cluster, opens and ends rollouts, measures and judges those under way, brakes where it must, saves all
// of it, and reports rollouts whose counts are final.
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

	k.writing.Lock()
	defer k.writing.Unlock()
	changed, err := k.apply(measured)
	k.mu.Lock()
	k.publish() // a fail must not wait for the disk; a pass is found again from what is on it
	k.mu.Unlock()
	k.brake(ctx, changed)
	found, errFound := k.missed(ctx)
	err = errors.Join(err, errFound, k.record(ctx, append(changed, found...)))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trouble = err
	now := k.cfg.Now()
	var lag time.Duration
	if !k.lastTick.IsZero() {
		lag = now.Sub(k.lastTick) - k.interval
	}
	k.lastTick = now
	k.cfg.Metrics.observe(k.cfg.Wall(), err == nil, now.Sub(began), lag, k.underWay())
	k.publish()
	return err
}

// reconcile takes in the cluster's view and returns copies of what is to be measured.
func (k *Keeper) reconcile(canaries []rollout.Canary, now time.Time) []measurement {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lookAtClocks(now)
	k.canaries = make(map[rollout.Key]rollout.Canary, len(canaries))
	for _, c := range canaries {
		k.canaries[c.Key] = c
	}
	k.cfg.Metrics.look(k.canaries, now)
	for _, c := range canaries {
		k.follow(c, now)
	}
	k.forget()
	var work []measurement
	for _, r := range k.runs {
		if r.rollout.Reported {
			continue // its story is closed, and waits for the disk
		}
		c, exists := k.canaries[r.rollout.Canary]
		if !exists && r.rollout.Result == "" {
			r.rollout.Note(now.Add(r.ahead), "gatekeeper", "the Canary object was deleted")
			k.end(r, rollout.Aborted, r.rollout.Phase)
		}
		work = append(work, measurement{id: r.rollout.ID, rollout: r.rollout.Copy(), canary: c, book: r.book.Clone(), sli: r.rules.SLI(), ahead: r.ahead})
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
	// A Canary that was looked at all the time can not have had another revision under way.
	away := k.lastTick.IsZero() || now.Sub(k.lastTick) > c.Interval
	move, seen := next(current, c, k.candidates[c.Key], away)
	k.candidates[c.Key] = seen
	if open != nil {
		open.follow(c, now)
		if open.rollout.FirstTrafficAt.IsZero() && len(c.Changes) > 0 {
			open.rollout.Changes = c.Changes // Flagger tells of changed files only when its analysis begins
		}
	}
	if move.end != "" {
		k.end(open, move.end, c.Phase)
	}
	k.rests(c, move.end, now)
	if move.open {
		k.begin(c, move.end == rollout.Superseded, now)
	}
}

// begin opens the rollout of c's current revision. When it supersedes another, the weight is that one's until Flagger
// sets it back at its next tick.
func (k *Keeper) begin(c rollout.Canary, supersedes bool, now time.Time) {
	ahead := ahead(now, k.known[c.Key.String()].Last)
	now = now.Add(ahead)
	r := &run{ahead: ahead, rollout: rollout.New(c, now), rules: k.cfg.Policies.For(c.Policy), book: rollout.Book{}, interval: c.Interval}
	_, r.rollout.PolicyDigest, _ = r.rules.Document() // it was kept when the keeper began
	r.rollout.AwaitsReset, r.rollout.Supersedes, r.rollout.JudgedBy = supersedes, supersedes, []string{k.cfg.Version}
	if _, known := k.cfg.Policies[c.Policy]; !known {
		r.rollout.Note(now, "gatekeeper", fmt.Sprintf("there is no policy %q, the rollout is judged by the default policy", c.Policy))
		k.cfg.Log.Warn("unknown policy, default is used", "rollout", r.rollout.ID, "policy", c.Policy)
	}
	k.tellOf(r, r.rollout.News(rollout.HasStarted, now))
	k.runs[r.rollout.ID] = r
	k.cfg.Metrics.begun(c.Key)
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
func (k *Keeper) end(r *run, result rollout.Result, phase rollout.Phase) {
	k.pass(r)
	now := k.cfg.Now().Add(r.ahead)
	r.rollout.End(result, phase, now)
	k.lasted(r.rollout.Canary, now)
	k.remember(r.rollout.Canary, result, r.rollout.Revision.Drill)
	k.tellOf(r, r.rollout.News(rollout.Happening(result), now))
	k.cfg.Metrics.ended(r.rollout, k.cfg.Now())
	k.cfg.Log.Info("rollout ended", "rollout", r.rollout.ID, "result", result, "why", r.rollout.Summary())
}

// tellOf prepares news for everybody who is told of it. The caller saves.
func (k *Keeper) tellOf(r *run, news rollout.News) {
	news.At = k.cfg.Wall() // by which the courier goes
	news.Asks = policy.Asks(r.rules, r.rollout, news.At)
	news.Sinks = k.cfg.Route(r.rules, news)
	r.news = append(r.news, news)
}

// measurement is one rollout on its way through the meter, which works outside the lock on copies.
type measurement struct {
	id      string
	rollout rollout.Rollout
	canary  rollout.Canary
	book    rollout.Book
	sli     rollout.SLI
	tick    rollout.Tick
	ahead   time.Duration
}

func (k *Keeper) measure(ctx context.Context, work []measurement) []measurement {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelReads)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := range work {
		if i > 0 && i%readsPerMillisecond == 0 {
			<-pace.C
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			m := &work[i]
			m.tick = k.cfg.Meter.Read(ctx, k.cfg.Now().Add(m.ahead), m.rollout, m.canary, m.book, m.sli)
		})
	}
	wg.Wait()
	return work
}

// apply takes in measurements, judges, and writes the entries of rollouts whose counts are final. It returns what
// is to be saved.
func (k *Keeper) apply(measured []measurement) ([]*run, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := k.closed()
	var errs []error
	for _, m := range measured {
		r, ok := k.runs[m.id]
		if !ok {
			continue
		}
		changed = append(changed, r)
		r.book = m.book
		before := r.rollout.Verdict
		open := r.rollout.Result == ""
		policy.Advance(r.rules, &r.rollout, m.tick)
		if !open {
			if final(r.rollout, m) {
				r.rollout.Budget = k.left(r.rollout.Canary)
				errs = append(errs, r.close(m.tick.At))
			}
			continue
		}
		// A release that waits for days, without traffic, says the same every second: once is enough to judge it again.
		if !r.rollout.FirstTrafficAt.IsZero() || before.Outcome != r.rollout.Verdict.Outcome || before.Kind() != r.rollout.Verdict.Kind() {
			tick := rollout.Judge(m.tick, r.rollout.Verdict)
			r.ticks, r.rollout.Tape = append(r.ticks, tick), r.rollout.Tape.Add(tick)
		}
		k.tell(r, before, m.tick.At)
	}
	return changed, errors.Join(errs...)
}

// tell logs a new fail and prepares news of a rollout that waits for a person.
func (k *Keeper) tell(r *run, before rollout.Verdict, now time.Time) {
	after := r.rollout.Verdict
	if after.Outcome == rollout.Fail && before.Outcome != rollout.Fail {
		k.cfg.Log.Info("verdict is fail, Flagger will be told to roll back", "rollout", r.rollout.ID, "why", after.Text())
	}
	k.pass(r)
	k.waits(r, now)
	k.watch(r, now)
	k.watchPromotion(r, now)
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

// close writes the entry that ends the rollout's story; its files are made from the ledger afterwards.
func (r *run) close(now time.Time) error {
	rules, _, err := r.rules.Document()
	if err != nil {
		return err
	}
	r.rollout.Reported = true
	body, err := json.Marshal(rollout.Account{Rollout: r.rollout, Rules: rules})
	if err != nil {
		return fmt.Errorf("encode entry of rollout %s: %w", r.rollout.ID, err)
	}
	r.entries = append(r.entries, rollout.Entry{At: now, Kind: rollout.EntryRollout, Rollout: r.rollout.ID, Body: body})
	return nil
}

// save makes rollouts, their ticks and their news durable. What could not be saved is tried again with the next save; what
// is added meanwhile, too. The caller holds writing.
func (k *Keeper) save(ctx context.Context, runs ...*run) error {
	for len(runs) > 0 {
		n, ticks := 1, len(runs[0].ticks)
		for n < len(runs) && ticks+len(runs[n].ticks) <= ticksAtOnce {
			ticks += len(runs[n].ticks)
			n++
		}
		limit := saveTime * time.Duration(1+ticks/ticksAtOnce)
		if err := k.saveAtOnce(ctx, limit, runs[:n]); err != nil {
			return err
		}
		runs = runs[n:]
	}
	return nil
}

// saveAtOnce is one save, in one transaction.
func (k *Keeper) saveAtOnce(ctx context.Context, limit time.Duration, runs []*run) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	k.mu.Lock()
	changes := make([]rollout.Change, 0, len(runs))
	for _, r := range runs {
		changes = append(changes, rollout.Change{Rollout: r.rollout.Copy(), Book: r.book, Ticks: slices.Clip(r.ticks), News: slices.Clip(r.news), Entries: slices.Clip(r.entries)})
	}
	k.mu.Unlock()
	if err := k.cfg.Ledger.Save(ctx, changes...); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, r := range runs {
		r.news, r.ticks, r.entries = r.news[len(changes[i].News):], r.ticks[len(changes[i].Ticks):], r.entries[len(changes[i].Entries):]
		if changes[i].Rollout.Reported {
			delete(k.runs, r.rollout.ID)
		}
	}
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
