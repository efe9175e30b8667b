// Package api serves the REST API, its metrics and its probes, and applies chaos to business routes only.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/chaos"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/app/internal/peers"
)

// maxBody bounds every request body, in bytes; the largest valid one is far smaller.
const maxBody = 64 << 10

// Config is all that New needs. Now and Log are required; what else has to be
// there is said beside it.
type Config struct {
	Version, Revision, Commit string

	Hostname string // the pod's name; siblings must not share it
	Now      func() time.Time
	Log      *slog.Logger

	// ChaosToken opens /chaos, which is off when it is empty. Crash is required
	// with it: it ends the process, for a plan that asks so.
	ChaosToken string
	Crash      func()
	// Peers is the host:port of a headless Service with all pods of the release, or
	// empty. Lookup resolves it, and is required with it.
	Peers  string
	Lookup peers.Lookup

	// Tracer makes the spans of business requests; nil makes none. Propagator reads
	// and writes the trace headers; nil ignores them.
	Tracer     trace.TracerProvider
	Propagator propagation.TextMapPropagator

	// NoMetrics switches counting and /metrics off. A service without them can not
	// be judged: it exists so that a benchmark can tell what they cost.
	NoMetrics bool
}

// API is one instance of the service; two of them share nothing.
type API struct {
	cfg     Config
	items   *store
	metrics *metrics
	chaos   *faults
	fleet   *peers.Fleet // nil without Config.Peers
	ready   atomic.Bool  // written by Ready and Drain
	handler http.Handler

	draining context.Context // ended by drain
	drain    func()
}

// route is a business route with the statuses it can answer by itself. The metrics of
// these exist at zero before the first request.
type route struct {
	method, path string
	statuses     []int
	handle       gin.HandlerFunc
}

// New builds the service, not yet ready.
func New(cfg Config) (*API, error) {
	switch {
	case cfg.Now == nil || cfg.Log == nil:
		return nil, errors.New("set Now and Log: both are required")
	case cfg.ChaosToken != "" && cfg.Crash == nil:
		return nil, errors.New("set Crash: it is required with ChaosToken")
	case cfg.Peers != "" && cfg.Lookup == nil:
		return nil, errors.New("set Lookup: it is required with Peers")
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.NewCompositeTextMapPropagator()
	}
	a := &API{cfg: cfg, items: newStore(maxItems)}
	a.draining, a.drain = context.WithCancel(context.Background())
	a.chaos = newFaults(cfg, a.countFault)
	a.metrics = newMetrics(cfg, a.chaos)
	var err error
	if cfg.Peers != "" {
		if a.fleet, err = peers.New(cfg.Peers, cfg.Lookup); err != nil {
			return nil, err
		}
	}
	if a.handler, err = a.router(); err != nil {
		return nil, err
	}
	return a, nil
}

// Handler answers all requests. Safe for concurrent use.
func (a *API) Handler() http.Handler { return a.handler }

// Ready turns /readyz to 200; call it once the listener is open.
func (a *API) Ready() { a.ready.Store(true) }

// Drain turns /readyz to 503. Everything else is still served, but each answer
// asks the client to close its connection, and requests that hang are cut.
func (a *API) Drain() {
	a.ready.Store(false)
	a.drain()
}

// Close ends the plan in force and returns once its pressure is released. The
// service must not be asked any more.
func (a *API) Close() { a.chaos.clear() }

// routes is the business API: what is counted, and what chaos may touch.
func (a *API) routes() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []route{
		{get, "/", []int{200}, a.showVersion},
		{get, "/api/items", []int{200, 400}, a.listItems},
		{post, "/api/items", []int{201, 400, 413, 415}, a.createItem},
		{get, "/api/items/:id", []int{200, 404}, a.showItem},
		{put, "/api/items/:id", []int{200, 400, 404, 413, 415}, a.replaceItem},
		{del, "/api/items/:id", []int{204, 404}, a.deleteItem},
	}
}

// paths lists the business route templates, each once, in order.
func (a *API) paths() []string {
	var paths []string
	for _, r := range a.routes() {
		if !slices.Contains(paths, r.path) {
			paths = append(paths, r.path)
		}
	}
	return paths
}

// router joins routes and middleware. Tracing is outermost, so that counting knows
// the trace; then counting, so that it sees the status of recovered panics and
// injected faults; chaos hangs on the business routes alone, so that it cannot reach
// probes, metrics or its own switch.
func (a *API) router() (http.Handler, error) {
	engine := gin.New()
	if err := engine.SetTrustedProxies(nil); err != nil { // the audit line names the real peer
		return nil, fmt.Errorf("trust no proxies: %w", err)
	}
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false // a redirect would be one more status that is not 2xx
	if a.cfg.Tracer != nil {
		engine.Use(a.traced())
	}
	if !a.cfg.NoMetrics {
		engine.Use(a.observe)
		engine.GET("/metrics", gin.WrapH(a.metrics.handler(a.cfg.Log)))
	}
	engine.Use(gin.CustomRecoveryWithWriter(nil, a.recovered), a.limit)

	business := engine.Group("/", a.inject)
	for _, r := range a.routes() {
		business.Handle(r.method, r.path, r.handle)
		for _, status := range append([]int{statusClientGone, 500, 503}, r.statuses...) {
			a.metrics.expect(r.method, r.path, status)
		}
	}
	a.metrics.expect(http.MethodGet, unmatched, http.StatusNotFound)

	engine.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "alive"}) })
	engine.GET("/readyz", a.showReady)
	if a.cfg.ChaosToken != "" {
		door := engine.Group("/chaos", a.follow, a.authorize)
		door.GET("", a.showChaos)
		door.PUT("", a.setChaos)
		door.DELETE("", a.clearChaos)
	}
	engine.NoRoute(func(c *gin.Context) { a.fail(c, errNoRoute) })
	engine.NoMethod(func(c *gin.Context) { a.fail(c, errNoMethod) })
	return engine, nil
}

// limit bounds the body, and while draining ends the connection with the answer.
func (a *API) limit(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
	if !a.ready.Load() {
		c.Header("Connection", "close")
	}
}

// recovered answers for a handler that panicked: the client learns nothing but 500.
func (a *API) recovered(c *gin.Context, cause any) {
	a.cfg.Log.ErrorContext(c.Request.Context(), "handler panicked", "path", c.FullPath(), "cause", cause, "stack", string(debug.Stack()))
	refuse(c, problem{Status: http.StatusInternalServerError})
}

func (a *API) showVersion(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{
		"version": a.cfg.Version, "revision": a.cfg.Revision, "commit": a.cfg.Commit, "hostname": a.cfg.Hostname,
	})
}

func (a *API) showReady(c *gin.Context) {
	if !a.ready.Load() {
		a.fail(c, errDraining)
		return
	}
	if a.chaos.active().Unready {
		a.countFault(chaos.Unready)
		a.fail(c, errUnready)
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}
