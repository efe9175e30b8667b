// Package fire sends one attack's requests until it is done or its context ends.
package fire

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/shape"
)

// lastAnswers is how long a stopped attack waits for the requests under way.
const lastAnswers = 50 * time.Millisecond

// Plan is a checked attack, ready to run; NewPlan makes it.
type Plan struct {
	name    string
	targets []vegeta.Target // each as often as its weight says
	shape   shape.Shape
	options Options
}

// NewPlan checks the targets, which are sent in turn by their weights, and the
// options. The name goes out as X-Vegeta-Attack.
func NewPlan(name string, targets []Target, s shape.Shape, o Options) (Plan, error) {
	o, err := o.check()
	if err != nil {
		return Plan{}, err
	}
	if _, needs := s.(shape.TopUp); o.Seen != nil && !needs {
		return Plan{}, errors.New("seenQuery: is used by shape top-up alone")
	}
	ready, err := prepare(targets, o)
	if err != nil {
		return Plan{}, err
	}
	return Plan{name: name, targets: ready, shape: s, options: o}, nil
}

// Result is what became of one request. Its latency holds also how late this
// process itself was: some 0.1 ms, unless the machine is busy.
type Result struct {
	Code    int           // HTTP status, 0 when there was no complete answer
	Latency time.Duration // from the moment the request was due until its body was read
	Error   string        // why Code is 0, without method and URL
	Due     time.Time
	Trace   string // trace id of a sampled span, else empty

	// Unfinished is a request that the end of a stopped attack cut off: nobody knows
	// what would have become of it. Code is 0.
	Unfinished bool

	hit *vegeta.Result
}

// Attack is a Plan that is carried out, once.
type Attack struct {
	plan   Plan
	course course
	topUp  *topUp // the course, when it is one

	began    atomic.Pointer[time.Time] // nil before Run
	sent     atomic.Uint64             // the pacing goroutine writes it
	finished atomic.Uint64             // Run's own goroutine writes it
}

// Attack returns one that is ready to run.
func (p Plan) Attack() *Attack {
	a := &Attack{plan: p, course: fixed{p.shape}}
	if t, ok := p.shape.(shape.TopUp); ok {
		a.topUp = newTopUp(t, p.options.Seen)
		a.course = a.topUp
	}
	return a
}

// Progress is how far an attack is.
type Progress struct {
	Elapsed  time.Duration
	Rate     float64 // per second, as the shape wants it now
	Due      uint64  // requests that should have been sent until now
	Sent     uint64  // requests sent; more due than sent means that this process or its limits hold it up
	InFlight uint64

	Asked     bool   // a top-up asks what others have sent
	Seen      uint64 // their samples since the attack began
	SeenError error  // why Seen is older than it should be
}

// Progress may be called at any time from any goroutine.
func (a *Attack) Progress() Progress {
	began := a.began.Load()
	if began == nil {
		return Progress{}
	}
	elapsed := time.Since(*began)
	p := Progress{Elapsed: elapsed, Rate: a.course.rate(elapsed), Due: a.course.due(elapsed)}
	finished := a.finished.Load() // first: it never passes sent
	p.Sent = max(a.sent.Load(), finished)
	p.InFlight = p.Sent - finished
	if a.topUp != nil && a.topUp.ask != nil {
		p.Asked = true
		p.Seen, p.SeenError = a.topUp.others()
	}
	return p
}

// Run fires until the shape ends, and then waits for the requests still under
// way. When ctx ends it sends nothing more, gives those requests 50 ms and cuts
// the others off. It calls observe once for every request it sent, one call at a
// time, and not after it returned.
func (a *Attack) Run(ctx context.Context, observe func(Result)) {
	requests, cut := context.WithCancel(context.Background())
	defer cut()
	if o := a.plan.options; o.Tracing != nil && o.Parent.IsValid() {
		requests = trace.ContextWithRemoteSpanContext(requests, o.Parent)
	}
	transport := a.plan.options.transport()
	// vegeta leaves its connections open when it is done.
	defer transport.CloseIdleConnections()
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{
			Transport: newSingle(requests, a.plan.options.traced(transport), a.plan.options.Timeout),
			// A redirect is an answer. Following it would measure two requests as
			// one and could leave the hosts that the attack was allowed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		vegeta.MaxWorkers(uint64(a.plan.options.InFlight)),
		vegeta.MaxBody(0), // bodies are read to the end and thrown away, never kept
	)
	began := time.Now()
	a.began.Store(&began)

	var helpers sync.WaitGroup
	defer helpers.Wait()
	over, done := context.WithCancel(ctx)
	defer done()
	if a.topUp != nil && a.topUp.ask != nil {
		helpers.Go(func() { a.topUp.watch(over, began) })
	}
	helpers.Go(func() {
		<-over.Done()
		if ctx.Err() == nil {
			return
		}
		attacker.Stop() // also out of the wait for a free worker
		select {
		case <-time.After(lastAnswers):
			cut()
		case <-requests.Done(): // all were answered before
		}
	})
	waiter := newWaiter(ctx)
	defer waiter.alarm.close()
	pacer := pacer{a, began, waiter}
	for hit := range attacker.Attack(vegeta.NewStaticTargeter(a.plan.targets...), pacer, 0, a.plan.name) {
		a.finished.Add(1)
		observe(a.result(began, hit))
	}
	cut()
}

// result measures a hit from when it was due. vegeta's clock starts when a worker
// takes the request up; one that had to wait for its turn was late for its user
// from the moment it was due.
func (a *Attack) result(began time.Time, hit *vegeta.Result) Result {
	due := began.Add(a.course.at(hit.Seq))
	r := Result{Code: int(hit.Code), Due: due, Latency: hit.End().Sub(due), hit: hit}
	if id := hit.Headers[traceKey]; len(id) > 0 {
		r.Trace = id[0]
	}
	if r.Code == 0 {
		// Nobody else cancels: a timeout has another text.
		r.Unfinished = strings.HasSuffix(hit.Error, context.Canceled.Error())
		r.Error = cause(hit.Error)
	}
	return r
}

// pacer waits inside Pace, under ctx, because vegeta's own wait cannot be
// interrupted: at one hit in three seconds its Stop was seen to take twelve.
type pacer struct {
	*Attack
	began time.Time
	wait  waiter
}

// Pace is called with the number of hits that workers have taken.
func (p pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	p.sent.Store(hits)
	for p.wait.ctx.Err() == nil {
		elapsed := time.Since(p.began)
		due, end := p.course.next(elapsed, hits)
		if end {
			return 0, true
		}
		if due > elapsed+look {
			p.wait.until(p.began.Add(elapsed + look))
			continue
		}
		return 0, !p.wait.until(p.began.Add(due))
	}
	return 0, true
}

// Rate is the other half of vegeta's Pacer; its engine does not ask it.
func (p pacer) Rate(elapsed time.Duration) float64 { return p.course.rate(elapsed) }
