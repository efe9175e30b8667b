package fire

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// look is how long nobody asks the shape again; what it says can change.
	look = 500 * time.Millisecond
	// coarse is how late a timer of an idle Go process can be: its poller counts
	// whole milliseconds.
	coarse = 1500 * time.Microsecond
	// slack is how late the kernel wakes a sleeper: Linux allows itself 50 µs. That
	// long is spent yielding instead, unless requests come so often that yielding
	// would take a processor from them.
	slack = 60 * time.Microsecond
	often = 500 * time.Microsecond
)

// waiter waits for due times. One goroutine uses it; it owns one timer.
type waiter struct {
	ctx   context.Context
	timer *time.Timer
}

func newWaiter(ctx context.Context) waiter {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return waiter{ctx, timer}
}

// until waits for at, most of it by the timer and the rest in the kernel, whose
// clock is finer: a lateness of ours would be counted as the server's. It returns
// false when the context ended.
func (w waiter) until(at time.Time) bool {
	if wait := time.Until(at) - coarse; wait > 0 {
		w.timer.Reset(wait)
		select {
		case <-w.ctx.Done():
			return false
		case <-w.timer.C:
		}
	}
	runtime.Gosched() // lets the worker that was woken last send first
	fine := slack
	if time.Until(at) < often {
		fine = 0
	}
	for {
		wait := time.Until(at)
		switch {
		case wait <= 0:
			return w.ctx.Err() == nil
		case wait <= fine:
			runtime.Gosched()
		default:
			// Select with a timeout alone is the sleep that every Unix has. A signal ends it
			// early; then what is left is slept.
			left := unix.NsecToTimeval(max(wait-fine, time.Microsecond).Nanoseconds())
			_, _ = unix.Select(0, nil, nil, nil, &left)
		}
	}
}
