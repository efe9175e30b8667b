package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
)

// TestCostlyAnswersTakeTurns fills the places: the next one waits, gets one that is left in time, and is turned away when none is.
func TestCostlyAnswersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := door{cfg: Config{Log: slog.New(slog.DiscardHandler), Now: time.Now}, turns: newTurns()}
		ask := func() (leave func(), ok bool, status int) {
			rec := httptest.NewRecorder()
			c, _ := gin.CreateTestContext(rec)
			c.Request = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			leave, ok = d.turn(c, d.turns.quick)
			return leave, ok, rec.Code
		}
		var places []func()
		for range maxCostly {
			leave, ok, _ := ask()
			if !ok {
				t.Fatal("a free place was not given")
			}
			places = append(places, leave)
		}
		began := time.Now()
		if _, ok, status := ask(); ok || status != http.StatusTooManyRequests || time.Since(began) != maxQueue {
			t.Errorf("with all places taken: %v, %d after %s", ok, status, time.Since(began))
		}
		time.AfterFunc(time.Second, places[0])
		leave, ok, _ := ask()
		if !ok {
			t.Fatal("a place that was left was not given")
		}
		leave()
		places[1]()
		if len(d.turns.quick) != 0 {
			t.Errorf("%d places are still taken", len(d.turns.quick))
		}
	})
}
