package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// maxBody bounds what is read of a request: Alertmanager groups hundreds of alerts into one.
	maxBody = 1 << 20
	// maxWords bounds what a person may say, in bytes.
	maxWords = 1000
)

// said is what a person sends: in whose name, why, and in sight of which version of the rollout.
type said struct {
	By      string `json:"by"`
	Why     string `json:"why"`
	Version *int   `json:"version"` // absent: of any
}

// decide records what was said. Who said it is the identity that was proven; "by" is only what the sender claims.
func (d door) decide(kind rollout.DecisionKind) gin.HandlerFunc {
	return func(c *gin.Context) {
		var s said
		if err := read(c.Request.Body, &s); err != nil {
			d.badRequest(c, err)
			return
		}
		if len(s.By)+len(s.Why) > maxWords {
			d.badRequest(c, fmt.Errorf("by and why together may have %d bytes", maxWords))
			return
		}
		inSightOf := anyVersion
		if s.Version != nil {
			inSightOf = *s.Version
		}
		if s.Version != nil && inSightOf < 0 {
			d.badRequest(c, errors.New("a version is not negative"))
			return
		}
		r, err := d.say(c, inSightOf, rollout.Decision{Kind: kind, Claims: s.By, Why: s.Why})
		switch {
		case errors.Is(err, rollout.ErrChanged):
			d.changed(c, err)
		case err != nil:
			d.refuse(c, err)
		default:
			c.JSON(http.StatusOK, newView(r))
		}
	}
}

// anyVersion of a rollout is decided about when the sender does not say which one he saw.
const anyVersion = -1

// say records a decision about the rollout in the path, in the name of whoever sent the request.
func (d door) say(c *gin.Context, inSightOf int, decision rollout.Decision) (rollout.Rollout, error) {
	who := whoIs(c.Request.Context())
	decision.By, decision.Via = who.Name, who.Via
	if decision.Claims == decision.By {
		decision.Claims = ""
	}
	r, err := d.cfg.Conductor.Decide(c.Request.Context(), c.Param("id"), inSightOf, decision)
	if err == nil {
		d.cfg.Log.Info("a person decided", "rollout", r.ID, "what", decision.Kind, "by", who.Name, "claims", decision.Claims, "role", who.Role, "via", who.Via, "from", c.ClientIP())
	}
	return r, err
}

// changed answers who decided in sight of an older version, with the rollout as it is now.
func (d door) changed(c *gin.Context, why error) {
	r, err := d.cfg.Desk.Get(c.Request.Context(), c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusConflict, gin.H{"error": why.Error(), "rollout": newView(r)})
}

// badRequest answers what the sender got wrong.
func (d door) badRequest(c *gin.Context, err error) {
	status := http.StatusBadRequest
	if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
		status = http.StatusRequestEntityTooLarge
	}
	c.JSON(status, gin.H{"error": err.Error()})
}

// read decodes one JSON document strictly.
func read(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if decoder.More() {
		return errors.New("read request: there is more than one JSON document")
	}
	return nil
}

// notification is what Alertmanager posts (prometheus.io/docs/alerting/latest/configuration, webhook_config, version 4), as far
// as it matters here.
type notification struct {
	Alerts []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	} `json:"alerts"`
}

// alerts takes in what fires and what is over.
func (d door) alerts(c *gin.Context) {
	var n notification
	if err := json.NewDecoder(c.Request.Body).Decode(&n); err != nil {
		d.badRequest(c, fmt.Errorf("read Alertmanager's notification: %w", err))
		return
	}
	firing, over := map[string]policy.Alert{}, []string(nil)
	for _, a := range n.Alerts {
		switch {
		case a.Fingerprint == "" || len(a.Labels) == 0:
			d.badRequest(c, errors.New("an alert has no fingerprint or no labels: send what Alertmanager's webhook_config sends"))
			return
		case a.Status == "resolved":
			over = append(over, a.Fingerprint)
		default:
			firing[a.Fingerprint] = policy.Alert{Labels: a.Labels, Summary: a.Annotations["summary"], Since: a.StartsAt, Until: d.cfg.Now().Add(d.cfg.AlertTime)}
		}
	}
	who := whoIs(c.Request.Context())
	if err := d.cfg.Conductor.Alerted(c.Request.Context(), who.Name, firing, over); err != nil {
		d.refuse(c, err)
		return
	}
	d.cfg.Log.Info("alerts were told", "firing", len(firing), "over", len(over), "by", who.Name, "from", c.ClientIP())
	c.JSON(http.StatusOK, gin.H{"firing": len(firing), "resolved": len(over)})
}

func (d door) why(c *gin.Context) {
	if !isKey(c.Query("canary")) {
		d.badRequest(c, errors.New("ask for ?canary=namespace/name"))
		return
	}
	namespace, name, _ := strings.Cut(c.Query("canary"), "/")
	s, err := d.cfg.Conductor.Why(rollout.Key{Namespace: namespace, Name: name})
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, newStanding(s))
}

func (d door) standings(c *gin.Context) {
	all := d.cfg.Conductor.Standings()
	views := make([]standing, 0, len(all))
	for _, s := range all {
		views = append(views, newStanding(s))
	}
	c.JSON(http.StatusOK, gin.H{"standings": views})
}

// standing is how a Canary stands, its rollout as everywhere in the API.
type standing struct {
	policy.Standing
	Rollout *view `json:"rollout"`
}

func newStanding(s policy.Standing) standing {
	answer := standing{Standing: s}
	if s.Rollout != nil {
		v := newView(*s.Rollout)
		answer.Rollout = &v
	}
	return answer
}
