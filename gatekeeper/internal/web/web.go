// Package web is the people's door: rollouts as JSON, the report as Markdown, probes and metrics.
package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/chart"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/trace"
)

// Desk is the door's consumer contract with whoever remembers rollouts. Get returns rollout.ErrNotFound for an id that
// is not there. Safe for concurrent use.
type Desk interface {
	List(ctx context.Context, canary string, limit int) ([]rollout.Rollout, error)
	Get(ctx context.Context, id string) (rollout.Rollout, error)
	Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error)
	Policy(ctx context.Context, digest string) ([]byte, error)
	// Account is the entry that closed a rollout, or rollout.ErrNotFound while there is none.
	Account(ctx context.Context, id string) (rollout.Entry, error)
	// Entries are the ledger's after seq, at most limit, in their order.
	Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error)
	// Adopted are the ids of rollouts that were closed before there was a ledger, the oldest first.
	Adopted(ctx context.Context) ([]string, error)
	// WriteLedger and WriteBackup write the ledger, and all that is remembered, as a file.
	WriteLedger(ctx context.Context, to io.Writer) error
	WriteBackup(ctx context.Context, to io.Writer) error
	// Find returns the rollouts that q chooses, newest first, and how many there are without its limit.
	Find(ctx context.Context, q rollout.Query) ([]rollout.Brief, int, error)
}

// Conductor is the door's consumer contract with whoever judges. Why and Decide return rollout.ErrUnknownCanary,
// rollout.ErrNotFound or rollout.ErrOver for what is not there. Safe for concurrent use.
type Conductor interface {
	Why(key rollout.Key) (policy.Standing, error)
	Standings() []policy.Standing
	// Canaries are all that the cluster has, from memory. The slice is the caller's.
	Canaries() []rollout.Canary
	// Decide is in sight of a version of the rollout; -1: of any.
	Decide(ctx context.Context, id string, inSightOf int, d rollout.Decision) (rollout.Rollout, error)
	// Alerted is told by whom.
	Alerted(ctx context.Context, by string, firing map[string]policy.Alert, over []string) error
}

// Config is what the door shows; all fields but Proxies, Links and Stopping are required.
type Config struct {
	Desk      Desk
	Conductor Conductor
	Policies  policy.Set
	Healthy   func() error
	Metrics   prometheus.Gatherer
	Log       *slog.Logger
	Now       func() time.Time
	// AlertTime is how long an alert fires without being told again.
	AlertTime time.Duration
	Access    Access
	// Rate is how many requests a second one client may send, for long; for short, twice as many.
	Rate float64
	// Proxies are the networks of proxies that are believed when they say who the client is.
	Proxies []netip.Prefix
	// SecureCookies says that browsers come by TLS, though it may end before this door.
	SecureCookies bool
	Slack         Slack
	// Links lead people to traces; the zero value: there are none.
	Links trace.Links
	// Stopping is closed when the process is about to end: what stays open ends then. nil: never.
	Stopping <-chan struct{}
}

// route is one line of the door's table.
type route struct {
	method, path string // path as Gin writes it
	needs        Role
	summary      string // in a few words, as in the OpenAPI document
	handle       gin.HandlerFunc
}

// routes are all of the door: the router and the test of the OpenAPI document are made from them.
func (d door) routes() []route {
	return []route{
		{"GET", "/api/v1/rollouts", Viewer, "Rollouts, newest first", d.list},
		{"GET", "/api/v1/rollouts/:id", Viewer, "One rollout", d.get},
		{"GET", "/api/v1/rollouts/:id/report.md", Viewer, "Its entry of the report", d.costly(d.turns.quick, d.entry)},
		{"GET", "/api/v1/rollouts/:id/chart.svg", Viewer, "Its picture, light or ?palette=dark", d.chart},
		{"GET", "/api/v1/rollouts/:id/events", Viewer, "What happens to it, as it happens", d.events},
		{"GET", "/api/v1/rollouts/:id/tape", Viewer, "Its ticks and verdicts, to be judged again", d.costly(d.turns.quick, d.tape)},
		{"POST", "/api/v1/rollouts/:id/approve", Operator, "Let it through its approval gate", d.decide(rollout.Approve)},
		{"POST", "/api/v1/rollouts/:id/reject", Operator, "Send it back instead of approving it", d.decide(rollout.Reject)},
		{"POST", "/api/v1/rollouts/:id/abort", CI, "Send it back", d.decide(rollout.Abort)},
		{"POST", "/api/v1/rollouts/:id/hold", Operator, "Keep it where it is", d.decide(rollout.Pause)},
		{"POST", "/api/v1/rollouts/:id/resume", Operator, "Let it go on", d.decide(rollout.Resume)},
		{"GET", "/api/v1/why", Viewer, "How a Canary stands", d.why},
		{"GET", "/api/v1/dora", Viewer, "Delivery metrics of the last 30 days", d.costly(d.turns.quick, d.delivery)},
		{"GET", "/api/v1/standings", Viewer, "How all Canaries stand", d.standings},
		{"GET", "/api/v1/verdict", Viewer, "What became of a deploy id", d.verdict},
		{"POST", "/api/v1/alerts", Alerts, "Alerts that fire or are over, from Alertmanager", d.alerts},
		{"POST", "/slack/actions", None, "Buttons pressed in Slack, proven by Slack's signature", d.slack},
		{"GET", "/api/v1/ledger", Viewer, "The whole ledger with all ticks, to be verified", d.costly(d.turns.long, d.file(d.cfg.Desk.WriteLedger))},
		{"GET", "/api/v1/backup", Operator, "All that is remembered, to be restored", d.costly(d.turns.long, d.file(d.cfg.Desk.WriteBackup))},
		{"GET", "/api/v1/openapi.yaml", Viewer, "This document", d.openAPI},
		{"GET", "/api/v1/openapi.json", Viewer, "This document as JSON", d.openAPIAsJSON},
		{"GET", "/deployment_report.md", Viewer, "The whole report", d.costly(d.turns.long, d.report)},
		{"GET", "/metrics", Viewer, "Metrics for Prometheus", gin.WrapH(promhttp.HandlerFor(d.cfg.Metrics, promhttp.HandlerOpts{}))},
		{"GET", "/healthz", None, "The process answers", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") }},
		{"GET", "/readyz", None, "The gatekeeper can be trusted now", d.ready},
	}
}

// New returns the people's door: the routes of the table, each for the role that it needs, and 404 for all else.
func New(cfg Config) http.Handler {
	router := gin.New()
	router.RedirectTrailingSlash = false // a path is in the table or it is not
	proxies := make([]string, len(cfg.Proxies))
	for i, network := range cfg.Proxies {
		proxies[i] = network.String()
	}
	_ = router.SetTrustedProxies(proxies) // networks can not be malformed
	d := door{
		cfg: cfg, presses: &presses{seen: map[string]time.Time{}}, stays: &stays{of: map[string]int{}},
		asked: newLimits(rate.Limit(cfg.Rate), max(1, int(2*cfg.Rate))), failed: newLimits(rate.Every(failedEvery), failedBurst),
	}
	d.turns = newTurns()
	d.pictures, _ = lru.New[string, []byte](maxPictures) // only a size under 1 is refused
	router.Use(secured(), d.recovered, d.limited)
	sessions := newSessions(cfg.Access.Tokens, cfg.Now)
	d.identifiers = append(d.identifiers, sessions.identify)
	newPages(d, sessions).route(router)
	for _, r := range d.routes() {
		router.Handle(r.method, r.path, d.enter(r.needs), r.handle)
	}
	return router
}

type door struct {
	cfg         Config
	identifiers []identify // beside the bearer token, in this order
	presses     *presses
	stays       *stays
	turns       turns
	pictures    *lru.Cache[string, []byte] // charts, by what they show
	asked       *limits                    // requests of any kind
	failed      *limits                    // attempts with credentials that do not hold
}

func (d door) ready(c *gin.Context) {
	if err := d.cfg.Healthy(); err != nil {
		c.String(http.StatusServiceUnavailable, "%s\n", err)
		return
	}
	c.String(http.StatusOK, "ok\n")
}

func (d door) get(c *gin.Context) {
	r, err := d.cfg.Desk.Get(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	v := newView(r)
	v.TraceID, v.TraceURL = d.cfg.Links.ID(r.ID, r.Revision.Traceparent), d.cfg.Links.Rollout(r.ID, r.Revision.Traceparent)
	for _, f := range r.Failing {
		v.Failing = append(v.Failing, failingView{f, d.cfg.Links.To(f.Trace)})
	}
	c.JSON(http.StatusOK, v)
}

// refuse maps an error's kind to a status. What is not of a known kind is ours: it is logged, not shown.
func (d door) refuse(c *gin.Context, err error) {
	for kind, status := range map[error]int{
		rollout.ErrNotFound: http.StatusNotFound, chart.ErrNothing: http.StatusNotFound, rollout.ErrUnknownCanary: http.StatusNotFound, rollout.ErrOver: http.StatusConflict, rollout.ErrChanged: http.StatusConflict,
	} {
		if errors.Is(err, kind) {
			c.JSON(status, gin.H{"error": err.Error()})
			return
		}
	}
	d.cfg.Log.Error("request failed", "path", c.FullPath(), "error", err)
	c.JSON(http.StatusInternalServerError, gin.H{"error": "internal error, see the gatekeeper's log"})
}

// view is a rollout as the API shows it: the record, with null for times that have not come and ages in seconds.
type view struct {
	rollout.Rollout
	FirstTrafficAt *time.Time `json:"firstTrafficAt"`
	EndedAt        *time.Time `json:"endedAt"`
	Weight         int        `json:"weight"`
	Steps          []stepView `json:"steps"`
	Latest         tickView   `json:"latest"`
	// TraceID is empty where the rollout's trace is not sent, and a URL where nobody said how people come to traces.
	TraceID  string        `json:"traceId,omitempty"`
	TraceURL string        `json:"traceUrl,omitempty"`
	Failing  []failingView `json:"failing,omitempty"`
}

type failingView struct {
	rollout.Failing
	URL string `json:"url,omitempty"` // of its trace
}

type stepView struct {
	rollout.Step
	To *time.Time `json:"to"`
}

type tickView struct {
	rollout.Tick
	Age float64 `json:"age"` // seconds
}

func newView(r rollout.Rollout) view {
	v := view{
		Rollout:        r,
		FirstTrafficAt: orNull(r.FirstTrafficAt),
		EndedAt:        orNull(r.EndedAt),
		Weight:         r.Latest.Weight,
		Steps:          make([]stepView, 0, len(r.Steps)),
		Latest:         tickView{Tick: r.Latest, Age: r.Latest.Age.Seconds()},
	}
	for _, s := range r.Steps {
		v.Steps = append(v.Steps, stepView{Step: s, To: orNull(s.To)})
	}
	return v
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
