package notify

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// tellTime bounds one attempt; a Slack bot may need two requests for it.
	tellTime = 25 * time.Second
	// stopTime is how long an attempt under way may go on after the stop: one that is cut off may have been received, and
	// will be made again.
	stopTime = 3 * time.Second
	// settleTime bounds the writing of what became of a message.
	settleTime = 5 * time.Second
	// maxRest bounds how long a sink that fails is left alone, maxDelay how long one message waits.
	maxRest  = time.Minute
	maxDelay = 5 * time.Minute
)

// Courier carries what is due from the outbox to the sinks. Each sink has a lane of its own, in which one message follows the
// other: a sink that does not answer delays nobody else.
type Courier struct {
	Outbox  Outbox
	Tellers map[string]Teller
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
	Every   time.Duration // how often the outbox is looked at
	GiveUp  time.Duration // age from which a message that fails is not tried again
}

// lane is what the courier knows of one sink. It belongs to the goroutine that carries, while one does.
type lane struct {
	sink     string
	teller   Teller
	busy     atomic.Bool
	failures int       // in a row
	rests    time.Time // until then the sink is left alone
	// unwritten are outcomes that the outbox could not take: they are written before anything is told again.
	unwritten map[string]Answer
}

// Run carries until ctx ends, and returns when nothing is under way any more. What is not delivered by then stays in the
// outbox.
func (c Courier) Run(ctx context.Context) error {
	lanes := map[string]*lane{}
	var under sync.WaitGroup
	defer under.Wait()
	ticker := time.NewTicker(c.Every)
	defer ticker.Stop()
	for {
		if err := c.dispatch(ctx, lanes, &under); err != nil && ctx.Err() == nil {
			c.Log.Warn("outbox could not be read, next try follows", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// dispatch sends what is due on its way, by sink. A lane that is still under way sees its part the next time.
func (c Courier) dispatch(ctx context.Context, lanes map[string]*lane, under *sync.WaitGroup) error {
	now := c.Now()
	// Before the outbox is read: a lane that ends meanwhile has settled messages that still wait in what is read now.
	carrying := map[*lane]bool{}
	for _, l := range lanes {
		carrying[l] = l.busy.Load()
	}
	due, err := c.Outbox.Due(ctx, now)
	if err != nil {
		return err
	}
	bySink := map[string][]rollout.Message{}
	for _, m := range due {
		bySink[m.Sink] = append(bySink[m.Sink], m)
	}
	for sink, batch := range bySink {
		l, known := lanes[sink]
		if !known {
			l = &lane{sink: sink, teller: c.Tellers[sink], unwritten: map[string]Answer{}}
			lanes[sink] = l
			if l.teller == nil {
				c.Log.Warn("messages wait for a sink that is not configured any more", "sink", sink, "until", c.GiveUp)
			}
		}
		if carrying[l] || now.Before(l.rests) {
			continue
		}
		l.busy.Store(true)
		under.Go(func() {
			defer l.busy.Store(false)
			c.carry(ctx, l, batch)
		})
	}
	waiting, err := c.Outbox.Waiting(ctx)
	if err != nil {
		return err
	}
	c.Metrics.wait(waiting)
	return nil
}

// carry tells one message after the other, until one fails in a way that the next would fail in too.
func (c Courier) carry(ctx context.Context, l *lane, batch []rollout.Message) {
	for _, m := range batch {
		if ctx.Err() != nil {
			return
		}
		a, known := l.unwritten[m.News.Key()]
		if !known {
			if a = c.tell(ctx, l, m); ctx.Err() != nil && a.Err != nil {
				return // we were stopped, the receiver said nothing
			}
			l.unwritten[m.News.Key()] = a
		}
		if err := c.settle(ctx, l, m, a); err != nil {
			c.Log.Error("what became of a notification could not be written, it is not sent again before that", "key", m.News.Key(), "sink", l.sink, "error", err)
			return
		}
		delete(l.unwritten, m.News.Key())
		if a.Err != nil && a.Retry {
			l.failures++
			l.rests = c.Now().Add(min(max(delay(l.failures-1), a.After), max(maxRest, a.After)))
			return
		}
		l.failures = 0
	}
}

// tell makes one attempt, which outlives the stop by stopTime.
func (c Courier) tell(ctx context.Context, l *lane, m rollout.Message) Answer {
	if l.teller == nil {
		return Answer{Err: fmt.Errorf("there is no sink %s any more", l.sink), Retry: true}
	}
	one, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(stopTime, cancel)
		context.AfterFunc(one, func() { t.Stop() })
	})()
	return l.teller.Tell(one, m)
}

// settle writes what became of a message, and counts it once it is written.
func (c Courier) settle(ctx context.Context, l *lane, m rollout.Message, a Answer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	key, now := m.News.Key(), c.Now()
	old := now.Sub(m.News.At) >= c.GiveUp
	became, err := delivered, error(nil)
	switch {
	case a.Err == nil:
		err = c.Outbox.Delivered(ctx, key, l.sink, a.Thread)
	case a.Retry && !old:
		became = retried
		due := now.Add(max(delay(m.Attempts), a.After))
		c.Log.Warn("notification not delivered, will be sent again", "key", key, "sink", l.sink, "attempts", m.Attempts+1, "due", due, "error", a.Err)
		err = c.Outbox.Retry(ctx, key, l.sink, a.Err.Error(), due)
	default:
		became = refused
		why := a.Err.Error()
		if a.Retry {
			why = fmt.Sprintf("given up after %s: %s", c.GiveUp, why)
		}
		c.Log.Error("notification refused, it is not sent again", "key", key, "sink", l.sink, "attempts", m.Attempts+1, "error", why)
		err = c.Outbox.Refused(ctx, key, l.sink, why)
	}
	if err == nil {
		c.Metrics.count(l.sink, became)
	}
	return err
}

// delay grows from 1 s by half at every attempt, with jitter, up to maxDelay.
func delay(attempts int) time.Duration {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = time.Second, maxDelay
	b.Reset()
	var d time.Duration
	for range min(attempts, 50) + 1 {
		d = b.NextBackOff()
	}
	return d
}
