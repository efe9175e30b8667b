package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// maxList bounds one answer, pageSize is what one has when nobody says; the newest rollouts come first.
	maxList  = 200
	pageSize = 100
	// maxOffset is far over what a ledger that somebody still leafs through has.
	maxOffset = 1_000_000
	// maxText bounds what is searched for, in bytes.
	maxText = 200
)

// list is a page of rollouts, in short, and how many there are in all.
func (d door) list(c *gin.Context) {
	q, err := query(c.Request.URL.Query())
	if err != nil {
		d.badRequest(c, err)
		return
	}
	page, total, err := d.cfg.Desk.Find(c.Request.Context(), q)
	if err != nil {
		d.refuse(c, err)
		return
	}
	if page == nil {
		page = []rollout.Brief{}
	}
	c.JSON(http.StatusOK, gin.H{"rollouts": page, "total": total})
}

// query reads what a list is to have.
func query(v url.Values) (rollout.Query, error) {
	q := rollout.Query{Canary: v.Get("canary"), DeployID: v.Get("deployId"), Result: rollout.Result(v.Get("result")), Text: v.Get("q")}
	var err error
	if q.Limit, err = whole(v, "limit", pageSize, 1, maxList); err != nil {
		return q, err
	}
	if q.Offset, err = whole(v, "offset", 0, 0, maxOffset); err != nil {
		return q, err
	}
	if q.Since, err = timeOf(v, "since"); err != nil {
		return q, err
	}
	if q.Before, err = timeOf(v, "before"); err != nil {
		return q, err
	}
	switch q.Result {
	case "", rollout.Open, rollout.Promoted, rollout.RolledBack, rollout.Superseded, rollout.Aborted, rollout.Stuck:
	default:
		return q, errors.New("result is open, promoted, rolled-back, superseded, aborted or stuck")
	}
	if q.Canary != "" && !isKey(q.Canary) {
		return q, errors.New("canary is namespace/name")
	}
	if len(q.Text) > maxText || len(q.DeployID) > maxDeployID || len(q.Canary) > maxText {
		return q, errors.New("what is asked for is too long")
	}
	return q, nil
}

// whole reads a whole number between least and most.
func whole(v url.Values, name string, otherwise, least, most int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is a number from %d to %d", name, least, most)
	}
	return n, nil
}

// timeOf reads a time, or a day, which begins at midnight UTC.
func timeOf(v url.Values, name string) (time.Time, error) {
	text := v.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is a time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31", name)
}
