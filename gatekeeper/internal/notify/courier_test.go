package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/sinks"
)

// box is an outbox in memory that keeps the contract's order.
type box struct {
	mu   sync.Mutex
	rows []*row
	full error         // when set nothing can be written
	slow time.Duration // how long it takes to read
}

type row struct {
	rollout.Message
	due   time.Time
	state string
	why   string
}

func (b *box) put(sink string, ids ...string) {
	for _, id := range ids {
		n := sinks.Sample(rollout.Happening(rollout.Promoted), time.Now())
		n.Rollout = id
		b.rows = append(b.rows, &row{Message: rollout.Message{News: n, Sink: sink}, due: time.Now()})
	}
}

func (b *box) Due(_ context.Context, now time.Time) (due []rollout.Message, err error) {
	defer func() { time.Sleep(b.slow) }() // deferred first, it comes after the unlocking
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rows {
		if r.state == "" && !r.due.After(now) {
			due = append(due, r.Message)
		}
	}
	return due, nil
}

func (b *box) set(key, sink string, change func(*row)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full != nil {
		return b.full
	}
	for _, r := range b.rows {
		if r.News.Key() == key && r.Sink == sink {
			r.Attempts++
			change(r)
		}
	}
	return nil
}

func (b *box) Delivered(_ context.Context, key, sink, thread string) error {
	return b.set(key, sink, func(r *row) { r.state, r.Thread = "delivered", thread })
}

func (b *box) Refused(_ context.Context, key, sink, why string) error {
	return b.set(key, sink, func(r *row) { r.state, r.why = "refused", why })
}

func (b *box) Retry(_ context.Context, key, sink, why string, due time.Time) error {
	return b.set(key, sink, func(r *row) { r.due, r.why = due, why })
}

func (b *box) Waiting(context.Context) (map[string]int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := map[string]int{}
	for _, r := range b.rows {
		if r.state == "" {
			waiting[r.Sink]++
		}
	}
	return waiting, nil
}

// states are what became of all messages: "sink/rollout state".
func (b *box) states() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, r := range b.rows {
		all = append(all, fmt.Sprintf("%s/%s %s", r.Sink, r.News.Rollout, r.state))
	}
	return strings.Join(all, ", ")
}

// telling is a teller made of a function.
type telling func(ctx context.Context, m rollout.Message) Answer

func (telling) Payload(rollout.Message) ([]byte, error)              { return nil, nil }
func (t telling) Tell(ctx context.Context, m rollout.Message) Answer { return t(ctx, m) }
func delivers(context.Context, rollout.Message) Answer               { return Answer{Thread: "t"} }
func hangs(ctx context.Context, _ rollout.Message) Answer {
	<-ctx.Done()
	return Answer{Err: ctx.Err(), Retry: true}
}
func isDown(context.Context, rollout.Message) Answer  { return Answer{Err: io.EOF, Retry: true} }
func refuses(context.Context, rollout.Message) Answer { return Answer{Err: errors.New("410")} }

// courier has a lane for each teller. It works on the bubble's clock.
func courier(b *box, log io.Writer, tellers map[string]telling) (Courier, *prometheus.Registry) {
	c := sinks.Config{}
	all := map[string]Teller{}
	for _, name := range slices.Sorted(maps.Keys(tellers)) {
		c.Sinks = append(c.Sinks, sinks.Sink{Name: name})
		all[name] = tellers[name]
	}
	reg := prometheus.NewRegistry()
	return Courier{
		Outbox: b, Tellers: all, Metrics: NewMetrics(reg, c), Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now, Every: time.Second, GiveUp: 24 * time.Hour,
	}, reg
}

// carry lets the courier work for a while of the bubble's clock, then stops it and waits for its end.
func carry(t *testing.T, c Courier, d time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestADeadSinkDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("dead", "r1", "r2")
		b.put("alive", "r1", "r2", "r3")
		b.put("gone", "r1")
		c, reg := courier(b, io.Discard, map[string]telling{"dead": hangs, "alive": delivers, "gone": refuses})
		carry(t, c, 500*time.Millisecond)
		if got, want := b.states(), "dead/r1 , dead/r2 , alive/r1 delivered, alive/r2 delivered, alive/r3 delivered, gone/r1 refused"; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if n, err := testutil.GatherAndCount(reg, "gatekeeper_notifications_total"); err != nil || n != 9 {
			t.Errorf("%d series of attempts (%v), want 3 of each sink", n, err)
		}
		for r, want := range map[result]float64{delivered: 3, retried: 0, refused: 0} {
			if got := testutil.ToFloat64(c.Metrics.attempts.WithLabelValues("alive", string(r))); got != want {
				t.Errorf("%s %v times, want %v", r, got, want)
			}
		}
	})
}

// A sink that was down for an hour is told everything, in order, soon after it is back, and was not stormed meanwhile.
func TestASinkThatRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("s", "r1", "r2", "r3")
		up := time.Now().Add(time.Hour)
		attempts := 0
		c, _ := courier(b, io.Discard, map[string]telling{"s": func(ctx context.Context, m rollout.Message) Answer {
			attempts++
			if time.Now().Before(up) {
				return isDown(ctx, m)
			}
			return delivers(ctx, m)
		}})
		carry(t, c, time.Hour-time.Second)
		if attempts < 10 || attempts > 150 {
			t.Errorf("%d attempts in an hour", attempts)
		}
		if got := b.states(); strings.Contains(got, "ed") {
			t.Errorf("something became of a message to a sink that is down: %s", got)
		}
		carry(t, c, maxDelay*2)
		if got, want := b.states(), "s/r1 delivered, s/r2 delivered, s/r3 delivered"; got != want {
			t.Errorf("got %s", got)
		}
	})
}

func TestGivesUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("s", "r1")
		b.put("removed", "r1")
		c, _ := courier(b, io.Discard, map[string]telling{"s": isDown})
		carry(t, c, 24*time.Hour-time.Minute)
		if got := b.states(); got != "s/r1 , removed/r1 " {
			t.Errorf("before a day is over: %s", got)
		}
		carry(t, c, 10*time.Minute)
		if got := b.states(); got != "s/r1 refused, removed/r1 refused" {
			t.Errorf("after a day: %s", got)
		}
		if why := b.rows[0].why; !strings.Contains(why, "given up after 24h0m0s: EOF") {
			t.Errorf("why: %s", why)
		}
	})
}

// What the other side asks for is kept, for the message and for all others of the sink.
func TestWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("s", "r1", "r2")
		start, times := time.Now(), []time.Duration(nil)
		c, _ := courier(b, io.Discard, map[string]telling{"s": func(ctx context.Context, m rollout.Message) Answer {
			times = append(times, time.Since(start))
			if len(times) == 1 {
				return Answer{Err: io.EOF, Retry: true, After: 10 * time.Minute}
			}
			return delivers(ctx, m)
		}})
		carry(t, c, time.Hour)
		if len(times) != 3 || times[1] < 10*time.Minute || times[1] > 11*time.Minute {
			t.Errorf("attempts after %v", times)
		}
	})
}

// The receiver has it, the disk is full: it must not be told a second time, before or after there is room again.
func TestADeliveryThatCanNotBeWrittenIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{full: errors.New("disk full")}
		b.put("s", "r1", "r2")
		told := map[string]int{}
		c, _ := courier(b, io.Discard, map[string]telling{"s": func(_ context.Context, m rollout.Message) Answer {
			told[m.News.Rollout]++
			return Answer{}
		}})
		time.AfterFunc(time.Minute, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.full = nil
		})
		carry(t, c, 2*time.Minute)
		if told["r1"] != 1 || told["r2"] != 1 || b.states() != "s/r1 delivered, s/r2 delivered" {
			t.Errorf("told %v: %s", told, b.states())
		}
		if got := testutil.ToFloat64(c.Metrics.attempts.WithLabelValues("s", "delivered")); got != 2 {
			t.Errorf("counted %v deliveries", got)
		}
	})
}

// A message that is delivered while the outbox is read is in what was read.
func TestAMessageDeliveredMeanwhileIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{slow: 300 * time.Millisecond}
		b.put("s", "r1")
		told := 0
		c, _ := courier(b, io.Discard, map[string]telling{"s": func(context.Context, rollout.Message) Answer {
			told++
			time.Sleep(800 * time.Millisecond) // so that it ends in the middle of the next reading
			return Answer{}
		}})
		carry(t, c, 5*time.Second)
		if told != 1 || b.states() != "s/r1 delivered" {
			t.Errorf("told %d times: %s", told, b.states())
		}
	})
}

// An attempt under way at the stop may end; one that does not end in time is cut off, and the message stays.
func TestTheStopWaitsForAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("slow", "r1")
		b.put("dead", "r1")
		c, _ := courier(b, io.Discard, map[string]telling{"dead": hangs, "slow": func(ctx context.Context, _ rollout.Message) Answer {
			select {
			case <-ctx.Done():
				return Answer{Err: ctx.Err(), Retry: true}
			case <-time.After(2 * time.Second):
				return Answer{}
			}
		}})
		start := time.Now()
		carry(t, c, time.Second)
		if took := time.Since(start); took != time.Second+stopTime {
			t.Errorf("the stop took %s", took)
		}
		if got := b.states(); got != "slow/r1 delivered, dead/r1 " || b.rows[1].Attempts != 0 {
			t.Errorf("got %s", got)
		}
	})
}

func TestWaitingIsShownBySink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.put("down", "r1", "r2")
		c, reg := courier(b, io.Discard, map[string]telling{"down": isDown, "idle": delivers})
		carry(t, c, 100*time.Millisecond)
		want := `# HELP gatekeeper_notifications_waiting Notifications that are not delivered yet, by sink.
# TYPE gatekeeper_notifications_waiting gauge
gatekeeper_notifications_waiting{sink="down"} 2
gatekeeper_notifications_waiting{sink="idle"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "gatekeeper_notifications_waiting"); err != nil {
			t.Error(err)
		}
	})
}

func TestDelayGrowsAndIsBounded(t *testing.T) {
	if first, late := delay(0), delay(1000); first > 2*time.Second || late < time.Minute || late > 10*time.Minute {
		t.Errorf("first %s, late %s", first, late)
	}
}
