package web

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/dora"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

// delivery are the delivery metrics of the last 30 days, of all Canaries or of the one that ?canary= names.
func (d door) delivery(c *gin.Context) {
	to := d.cfg.Now().UTC()
	from := to.Add(-dora.Window)
	rollouts, err := Ended(c.Request.Context(), d.cfg.Desk, c.Query("canary"), from)
	if err != nil {
		d.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"from": from, "to": to, "all": dora.Of(rollouts, from, to), "canaries": dora.ByCanary(rollouts, from, to)})
}

// finder is who finds rollouts.
type finder interface {
	Find(ctx context.Context, q rollout.Query) ([]rollout.Brief, int, error)
}

// longest is how long before a window a rollout that ended in it may have begun.
const longest = 30 * 24 * time.Hour

// Ended are the rollouts that may have ended at from or later, of one Canary ("namespace/name") or of all ("").
func Ended(ctx context.Context, desk finder, canary string, from time.Time) ([]rollout.Brief, error) {
	const page = 1000
	q := rollout.Query{Canary: canary, Since: from.Add(-longest), Limit: page}
	var all []rollout.Brief
	for {
		found, total, err := desk.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if q.Offset += page; q.Offset >= total || len(found) == 0 {
			return all, nil
		}
	}
}
