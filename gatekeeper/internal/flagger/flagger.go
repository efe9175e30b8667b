// Package flagger is the hook door: it decodes Flagger's calls, asks, and answers in Flagger's status language.
package flagger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// Answerer is the door's consumer contract with whoever knows the rollouts. Ask answers from memory; Heard and Finished
// return once what they were told is durable. Safe for concurrent use.
type Answerer interface {
	Ask(hook rollout.Hook, key rollout.Key) (yes bool, why string, err error)
	Heard(ctx context.Context, key rollout.Key, text string) error
	Finished(ctx context.Context, key rollout.Key, phase rollout.Phase) error
}

// Payload is what Flagger sends with every hook (pkg/apis/flagger/v1beta1/canary.go: CanaryWebhookPayload). It carries
// no hook type: that is in the URL.
type Payload struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Phase     rollout.Phase     `json:"phase"`
	Checksum  string            `json:"checksum"`
	Metadata  map[string]string `json:"metadata"`
}

// Key names the Canary.
func (p Payload) Key() rollout.Key { return rollout.Key{Namespace: p.Namespace, Name: p.Name} }

// maxBody is far over any payload Flagger makes.
const maxBody = 64 << 10

// Decode reads a payload. Unknown fields are let through, so that a newer Flagger is understood; a payload that names
// no Canary is refused.
func Decode(body io.Reader) (Payload, error) {
	var p Payload
	if err := json.NewDecoder(body).Decode(&p); err != nil {
		return Payload{}, fmt.Errorf("decode hook: %w", err)
	}
	if p.Name == "" || p.Namespace == "" {
		return Payload{}, errors.New("decode hook: name and namespace of the Canary are missing")
	}
	return p, nil
}

// no is the status that says no to each hook. Flagger reads 200 to 202 as yes and all else as no, but loses the reason
// with 429 and 5xx and takes the empty 204 for no (pkg/controller/webhook.go), so every no is a 4xx with a text. A no
// to pre-rollout or rollout burns one of the Canary's failed checks.
func no(hook rollout.Hook) int {
	switch hook {
	case rollout.PreRollout, rollout.RolloutCheck:
		return http.StatusConflict
	default:
		return http.StatusForbidden
	}
}

// After refusalBurst lines of the log about hooks without a password there is one more every refusalEvery: who guesses, or a
// Canary without its token, must not fill the log.
const (
	refusalEvery = 5 * time.Second
	refusalBurst = 20
)

// door holds what the handlers share.
type door struct {
	answerer Answerer
	known    func(password string) bool
	log      *slog.Logger
	refusals *rate.Limiter // of the lines that say so; the metric counts each
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// New returns the hook door: eight routes under /hooks/v1, the probes, and 404 for all else. A catch-all that answered
// 200 would roll every release back. With known hooks need Basic authentication, the one kind that Flagger can send (from
// its webhooks' URLs), with a password that is known; with nil whoever reaches the door may ask.
func New(answerer Answerer, healthy func() error, known func(password string) bool, reg prometheus.Registerer, log *slog.Logger) http.Handler {
	f := promauto.With(reg)
	d := &door{
		answerer: answerer,
		known:    known,
		log:      log,
		refusals: rate.NewLimiter(rate.Every(refusalEvery), refusalBurst),
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: "gatekeeper_hook_requests_total", Help: "Hook calls, by hook and status code."}, []string{"hook", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{Name: "gatekeeper_hook_duration_seconds", Help: "Time to answer a hook.", Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1}}, []string{"hook"}),
	}
	router := gin.New()
	router.RedirectTrailingSlash = false // a path is a hook or it is not
	_ = router.SetTrustedProxies(nil)    // nil can not be malformed
	router.Use(gin.Recovery())
	hooks := router.Group("/hooks/v1")
	for _, hook := range rollout.Hooks() {
		hooks.POST("/"+string(hook), d.measured(hook))
	}
	router.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	router.GET("/readyz", func(c *gin.Context) {
		if err := healthy(); err != nil {
			c.String(http.StatusServiceUnavailable, "%s\n", err)
			return
		}
		c.String(http.StatusOK, "ok\n")
	})
	return router
}

func (d *door) measured(hook rollout.Hook) gin.HandlerFunc {
	handle := d.ask
	switch hook {
	case rollout.EventHook:
		handle = d.heard
	case rollout.PostRollout:
		handle = d.finished
	}
	duration := d.duration.WithLabelValues(string(hook))
	d.requests.WithLabelValues(string(hook), "200") // from 0 on: the first one is to be seen too
	return func(c *gin.Context) {
		began := time.Now()
		if !d.mayAsk(c.Request) {
			if d.refusals.Allow() {
				d.log.Warn("hook without a password that is known refused", "hook", hook, "from", c.RemoteIP())
			}
			c.String(http.StatusUnauthorized, "the webhook's URL needs a token of the role flagger: http://flagger:TOKEN@host/hooks/v1/%s\n", hook)
			d.requests.WithLabelValues(string(hook), "401").Inc()
			return
		}
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
		payload, err := Decode(c.Request.Body)
		switch tooBig := new(http.MaxBytesError); {
		case errors.As(err, &tooBig):
			c.String(http.StatusRequestEntityTooLarge, "%s\n", err)
		case err != nil:
			c.String(http.StatusBadRequest, "%s\n", err)
		default:
			handle(c, hook, payload)
		}
		duration.Observe(time.Since(began).Seconds())
		d.requests.WithLabelValues(string(hook), strconv.Itoa(c.Writer.Status())).Inc()
	}
}

func (d *door) mayAsk(r *http.Request) bool {
	if d.known == nil {
		return true
	}
	_, password, given := r.BasicAuth()
	return given && d.known(password)
}

// ask answers the six questions. For the rollback hook yes, 200, means "roll back".
func (d *door) ask(c *gin.Context, hook rollout.Hook, p Payload) {
	yes, why, err := d.answerer.Ask(hook, p.Key())
	switch {
	case errors.Is(err, rollout.ErrUnknownCanary) && hook == rollout.RolloutCheck:
		c.String(http.StatusOK, "%s\n", err) // nothing is known against it
	case err != nil:
		c.String(no(hook), "%s\n", err)
	case yes:
		c.String(http.StatusOK, "%s\n", why)
	default:
		c.String(no(hook), "%s\n", why)
	}
	d.log.Debug("hook answered", "hook", hook, "canary", p.Key().String(), "status", c.Writer.Status(), "why", why)
}

func (d *door) heard(c *gin.Context, _ rollout.Hook, p Payload) {
	d.told(c, p, d.answerer.Heard(c.Request.Context(), p.Key(), cut(p.Metadata["eventMessage"])))
}

func (d *door) finished(c *gin.Context, _ rollout.Hook, p Payload) {
	d.told(c, p, d.answerer.Finished(c.Request.Context(), p.Key(), rollout.Phase(cut(string(p.Phase)))))
}

// maxText bounds what of a message is kept, in bytes: a rollout's record is written anew every second.
const maxText = 2000

// cut shortens text to maxText, at the end of a character.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// told answers a message: 200 once it is durable. A 500 lets Flagger send a post-rollout again, as far as its retries go.
func (d *door) told(c *gin.Context, p Payload, err error) {
	if err != nil {
		d.log.Error("hook could not be recorded", "canary", p.Key().String(), "error", err)
		c.String(http.StatusInternalServerError, "not recorded\n")
		return
	}
	c.String(http.StatusOK, "noted\n")
}
