package fire

import (
	"context"
	"runtime"
	"time"
)

// look is how long nobody asks the shape again; what it says can change.
const look = 500 * time.Millisecond

// soon is too short for a timer to be worth its system calls: that long the
// processor is offered to others instead.
const soon = 20 * time.Microsecond

// alarm wakes the one goroutine that waits for it.
type alarm interface {
	// wait returns after d, over 0, or earlier, and at once when the context that it
	// was made with has ended.
	wait(d time.Duration)
	close()
}

// waiter waits for due times. One goroutine uses it, and closes its alarm.
type waiter struct {
	ctx   context.Context
	alarm alarm
}

func newWaiter(ctx context.Context) waiter { return waiter{ctx, newAlarm(ctx)} }

// until waits for at and returns true, or false when the context ends before. A
// lateness of ours would be counted as the server's.
func (w waiter) until(at time.Time) bool {
	runtime.Gosched() // lets the worker that was woken last send first
	for w.ctx.Err() == nil {
		wait := time.Until(at)
		switch {
		case wait <= 0:
			return true
		case wait <= soon:
			runtime.Gosched()
		default:
			w.alarm.wait(wait)
		}
	}
	return false
}

// coarseAlarm is one of Go's timers: good to about a millisecond.
type coarseAlarm struct {
	ctx   context.Context
	timer *time.Timer
}

func newCoarseAlarm(ctx context.Context) coarseAlarm {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return coarseAlarm{ctx, timer}
}

func (a coarseAlarm) wait(d time.Duration) {
	a.timer.Reset(d)
	select {
	case <-a.ctx.Done():
	case <-a.timer.C:
	}
}

func (a coarseAlarm) close() { a.timer.Stop() }
