// Package fire sends one attack's requests until it is done or its context ends.
package fire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Shape is fire's contract with whoever plans the load: vegeta's Pacer, and when
// hit n (from 0) is due after the start. It is asked from several goroutines and
// must answer from its arguments alone.
type Shape interface {
	vegeta.Pacer
	At(n uint64) time.Duration
}

// Plan is a checked attack, ready to run; NewPlan makes it.
type Plan struct {
	name    string
	targets []vegeta.Target
	shape   Shape
	timeout time.Duration
	proxy   *url.URL // nil: none
}

// Result is what became of one request. Its latency holds also how late this
// process itself was, usually under a millisecond: timers are no finer.
type Result struct {
	Code    int           // HTTP status, 0 when there was no complete answer
	Latency time.Duration // from the moment the request was due until its body was read
	Error   string        // why Code is 0, without method and URL
}

// NewPlan checks the targets, which are sent in turn. Timeout is how long one
// request may take, its body included, and so also how long Run can outlive its
// context.
func NewPlan(name string, targets []Target, shape Shape, timeout time.Duration) (Plan, error) {
	if len(targets) == 0 {
		return Plan{}, errors.New("targets: at least one is needed")
	}
	if timeout <= 0 {
		return Plan{}, fmt.Errorf("timeout %s: must be over 0", timeout)
	}
	p := Plan{name: name, shape: shape, timeout: timeout}
	for i, target := range targets {
		ready, err := target.prepare()
		if err != nil {
			return Plan{}, fmt.Errorf("target %d: %w", i+1, err)
		}
		p.targets = append(p.targets, ready)
	}
	return p, nil
}

// Through returns the same plan, sent through a proxy: http://host:port or, for
// the network alone, socks5h://host:port, which leaves names to the proxy. Nil is
// no proxy.
func (p Plan) Through(proxy *url.URL) Plan {
	p.proxy = proxy
	return p
}

// Run fires until the shape or ctx ends, then waits for the requests still under
// way. It calls observe once for every request it sent, one call at a time, and
// not after it returned.
func (p Plan) Run(ctx context.Context, observe func(Result)) {
	transport := &http.Transport{
		// Only the proxy that was asked for, none from the environment: load goes
		// where its URL says. Nil is none.
		Proxy: http.ProxyURL(p.proxy),
		// Idle connections are kept for every worker, or a busy attack would open a
		// new one for most requests.
		MaxIdleConnsPerHost: 10_000,
		IdleConnTimeout:     30 * time.Second, // before servers do it: nginx waits 75 s
		DisableCompression:  true,
	}
	// vegeta leaves its connections open when it is done.
	defer transport.CloseIdleConnections()
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{
			Timeout:   p.timeout,
			Transport: once{transport},
			// A redirect is an answer. Following it would measure two requests as
			// one and could leave the hosts that the attack was allowed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		vegeta.MaxBody(0), // bodies are read to the end and thrown away, never kept
	)
	began := time.Now()
	hits := attacker.Attack(vegeta.NewStaticTargeter(p.targets...), pacer{p.shape, ctx}, 0, p.name)
	for hit := range hits {
		// vegeta's clock starts when a worker takes the request up. A request that
		// had to wait for its turn was late for its user from the moment it was due.
		due := began.Add(p.shape.At(hit.Seq))
		r := Result{Code: int(hit.Code), Latency: hit.End().Sub(due)}
		if r.Code == 0 {
			r.Error = cause(hit.Error)
		}
		observe(r)
	}
}

// pacer waits inside Pace, under ctx, because vegeta's own wait cannot be
// interrupted: at one hit in three seconds its Stop was seen to take twelve.
type pacer struct {
	Shape
	ctx context.Context
}

func (p pacer) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	wait, stop := p.Shape.Pace(elapsed, hits)
	if stop || p.ctx.Err() != nil {
		return 0, true
	}
	if wait <= 0 {
		return 0, false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return 0, true
	case <-timer.C:
		return 0, false
	}
}
