// Package web is the people's door: rollouts as JSON, the report as Markdown, probes and metrics.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Desk is the door's consumer contract with whoever remembers rollouts. Get returns rollout.ErrNotFound for an id that
// is not there. Safe for concurrent use.
type Desk interface {
	List(ctx context.Context, canary string, limit int) ([]rollout.Rollout, error)
	Get(ctx context.Context, id string) (rollout.Rollout, error)
	Ticks(ctx context.Context, id string) ([]rollout.JudgedTick, error)
	Policy(ctx context.Context, digest string) ([]byte, error)
	// Entries are the ledger's after seq, at most limit, in their order.
	Entries(ctx context.Context, after int64, limit int) ([]rollout.Entry, error)
}

// Conductor is the door's consumer contract with whoever judges. Why and Decide return rollout.ErrUnknownCanary,
// rollout.ErrNotFound or rollout.ErrOver for what is not there. Safe for concurrent use.
type Conductor interface {
	Why(key rollout.Key) (policy.Standing, error)
	Standings() []policy.Standing
	// Decide is in sight of a version of the rollout; -1: of any.
	Decide(ctx context.Context, id string, inSightOf int, d rollout.Decision) (rollout.Rollout, error)
	Alerted(ctx context.Context, firing map[string]policy.Alert, over []string) error
}

// maxList bounds one answer; the newest rollouts come first.
const maxList = 200

// Config is what the door shows; all fields but the tokens are required.
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
	// OperatorToken lets people decide, AlertsToken lets Alertmanager tell. "": nobody may.
	OperatorToken, AlertsToken string
}

// New returns the people's door. Only the routes that need a token change anything.
func New(cfg Config) http.Handler {
	router := gin.New()
	_ = router.SetTrustedProxies(nil) // nil can not be malformed
	router.Use(gin.Recovery())
	d := door{cfg}
	api := router.Group("/api/v1")
	api.GET("/rollouts", d.list)
	api.GET("/rollouts/:id", d.get)
	api.GET("/rollouts/:id/report.md", d.entry)
	api.GET("/rollouts/:id/tape", d.tape)
	api.GET("/why", d.why)
	api.POST("/rollouts/:id/approve", d.may(cfg.OperatorToken), d.decide(rollout.Approve))
	api.POST("/rollouts/:id/reject", d.may(cfg.OperatorToken), d.decide(rollout.Reject))
	api.POST("/alerts", d.may(cfg.AlertsToken), d.alerts)
	router.GET("/deployment_report.md", d.report)
	router.GET("/metrics", gin.WrapH(promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})))
	router.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	router.GET("/readyz", d.ready)
	return router
}

type door struct{ cfg Config }

func (d door) ready(c *gin.Context) {
	if err := d.cfg.Healthy(); err != nil {
		c.String(http.StatusServiceUnavailable, "%s\n", err)
		return
	}
	c.String(http.StatusOK, "ok\n")
}

func (d door) list(c *gin.Context) {
	all, err := d.cfg.Desk.List(c.Request.Context(), c.Query("canary"), maxList)
	if err != nil {
		d.refuse(c, err)
		return
	}
	views := make([]view, 0, len(all))
	for _, r := range all {
		views = append(views, newView(r))
	}
	c.JSON(http.StatusOK, gin.H{"rollouts": views})
}

func (d door) get(c *gin.Context) {
	r, err := d.cfg.Desk.Get(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, newView(r))
}

// refuse maps an error's kind to a status. What is not of a known kind is ours: it is logged, not shown.
func (d door) refuse(c *gin.Context, err error) {
	for kind, status := range map[error]int{
		rollout.ErrNotFound: http.StatusNotFound, rollout.ErrUnknownCanary: http.StatusNotFound, rollout.ErrOver: http.StatusConflict, rollout.ErrChanged: http.StatusConflict,
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
