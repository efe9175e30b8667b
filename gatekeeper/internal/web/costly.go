package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// maxCostly bounds how many answers are made at once for which all ticks of a rollout or much of the ledger are read:
	// the evaluator wants the same processors and the same database, every second.
	maxCostly = 2
	// maxQueue is how long such a request waits for its turn.
	maxQueue = 8 * time.Second
	// maxPictures bounds how many charts are kept, of some 20 KB each.
	maxPictures = 64
	// ticksAPicture is after how many ticks, seconds under traffic, an open rollout's chart is drawn anew.
	ticksAPicture = 5
)

// turns are the places for costly answers: one kind for what is made at once, one for what a client's line may slow down.
type turns struct{ quick, long chan struct{} }

func newTurns() turns { return turns{make(chan struct{}, maxCostly), make(chan struct{}, maxCostly)} }

// turn waits for a place, or answers that there is none.
func (d door) turn(c *gin.Context, places chan struct{}) (leave func(), ok bool) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), maxQueue)
	defer cancel()
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	case <-ctx.Done():
		d.turnAway(c, http.StatusTooManyRequests, fmt.Sprintf("too many charts, tapes or files of the ledger are asked for at once, no more than %d are made at a time: ask again", maxCostly))
		return nil, false
	}
}

// costly lets handle make its answer when a place is free.
func (d door) costly(places chan struct{}, handle gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		leave, ok := d.turn(c, places)
		if !ok {
			return
		}
		defer leave()
		handle(c)
	}
}
