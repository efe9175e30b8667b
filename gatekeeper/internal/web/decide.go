package web

import (
	"crypto/subtle"
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

// may lets through who has the token. Without a token in the configuration nobody has it.
func (d door) may(token string) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
		got, isBearer := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		switch {
		case token == "":
			c.AbortWithStatusJSON(http.StatusForbidden, gin.H{"error": "not enabled: the gatekeeper was started without a token for this"})
		case !isBearer || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1:
			d.cfg.Log.Warn("request without the right token refused", "path", c.FullPath(), "from", c.Request.RemoteAddr)
			c.Header("WWW-Authenticate", "Bearer")
			c.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"error": "a bearer token is needed"})
		}
	}
}

// said is what a person sends.
type said struct {
	By  string `json:"by"`
	Why string `json:"why"`
}

func (d door) decide(kind rollout.DecisionKind) gin.HandlerFunc {
	return func(c *gin.Context) {
		var s said
		if err := read(c.Request.Body, &s); err != nil {
			c.JSON(http.StatusBadRequest, gin.H{"error": err.Error()})
			return
		}
		if s.By == "" || len(s.By)+len(s.Why) > maxWords {
			c.JSON(http.StatusBadRequest, gin.H{"error": fmt.Sprintf("say who decides in \"by\"; by and why together may have %d bytes", maxWords)})
			return
		}
		r, err := d.cfg.Conductor.Decide(c.Request.Context(), c.Param("id"), -1, rollout.Decision{Kind: kind, By: s.By, Why: s.Why})
		if err != nil {
			d.refuse(c, err)
			return
		}
		d.cfg.Log.Info("a person decided", "rollout", r.ID, "what", kind, "by", s.By, "from", c.Request.RemoteAddr)
		c.JSON(http.StatusOK, newView(r))
	}
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
		c.JSON(http.StatusBadRequest, gin.H{"error": "read Alertmanager's notification: " + err.Error()})
		return
	}
	firing, over := map[string]policy.Alert{}, []string(nil)
	for _, a := range n.Alerts {
		switch {
		case a.Fingerprint == "" || len(a.Labels) == 0:
			c.JSON(http.StatusBadRequest, gin.H{"error": "an alert has no fingerprint or no labels: send what Alertmanager's webhook_config sends"})
			return
		case a.Status == "resolved":
			over = append(over, a.Fingerprint)
		default:
			firing[a.Fingerprint] = policy.Alert{Labels: a.Labels, Summary: a.Annotations["summary"], Since: a.StartsAt, Until: d.cfg.Now().Add(d.cfg.AlertTime)}
		}
	}
	if err := d.cfg.Conductor.Alerted(c.Request.Context(), firing, over); err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"firing": len(firing), "resolved": len(over)})
}

func (d door) why(c *gin.Context) {
	namespace, name, ok := strings.Cut(c.Query("canary"), "/")
	if !ok {
		c.JSON(http.StatusBadRequest, gin.H{"error": "ask for ?canary=namespace/name"})
		return
	}
	s, err := d.cfg.Conductor.Why(rollout.Key{Namespace: namespace, Name: name})
	if err != nil {
		d.refuse(c, err)
		return
	}
	answer := standing{Standing: s}
	if s.Rollout != nil {
		v := newView(*s.Rollout)
		answer.Rollout = &v
	}
	c.JSON(http.StatusOK, answer)
}

// standing is how a Canary stands, its rollout as everywhere in the API.
type standing struct {
	policy.Standing
	Rollout *view `json:"rollout"`
}
