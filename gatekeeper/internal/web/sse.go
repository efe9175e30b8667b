package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-contrib/sse"
	"github.com/gin-gonic/gin"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

const (
	// heartbeat is how often a silent stream says that it is alive: proxies cut off what is silent for a minute.
	heartbeat = 15 * time.Second
	// maxStream is when a stream ends for the client to come again, with credentials that still hold.
	maxStream = 30 * time.Minute
)

// moment is what a stream of events tells of a rollout: all that moves. Its mark is the event's id.
type moment struct {
	ID      string          `json:"id"`
	Phase   rollout.Phase   `json:"phase"`
	Result  rollout.Result  `json:"result"`
	Weight  int             `json:"weight"` // percent
	Canary  rollout.Counts  `json:"canary"`
	Primary rollout.Counts  `json:"primary"`
	Verdict rollout.Verdict `json:"verdict"`
	Gates   []policy.Gate   `json:"gates"`
	Version int             `json:"version"` // to decide in sight of
}

// mark changes with all that a moment tells but the verdict's own time and the ages in its numbers.
func (m moment) mark() string {
	seen := []any{m.ID, m.Phase, m.Result, m.Weight, m.Canary, m.Primary, m.Version, m.Verdict.Outcome}
	for _, r := range m.Verdict.Reasons {
		seen = append(seen, r.Kind)
	}
	for _, g := range m.Gates {
		seen = append(seen, g.Kind, g.Open, g.OpensAt)
	}
	return markOf(seen)
}

// moment is how a rollout stands now: from memory while it is under way, else as it was recorded.
func (d door) moment(ctx context.Context, key rollout.Key, id string) (moment, error) {
	var gates []policy.Gate
	s, err := d.cfg.Conductor.Why(key)
	r := s.Rollout
	switch {
	case err != nil && !errors.Is(err, rollout.ErrUnknownCanary):
		return moment{}, err
	case r != nil && r.ID == id:
		gates = s.Gates
	default:
		recorded, err := d.cfg.Desk.Get(ctx, id)
		if err != nil {
			return moment{}, err
		}
		r = &recorded
	}
	return moment{
		ID: id, Phase: r.Phase, Result: r.Result, Weight: r.Latest.Weight, Canary: r.Latest.Canary, Primary: r.Latest.Primary, Verdict: r.Verdict, Gates: gates,
		Version: r.Version,
	}, nil
}

// events streams a rollout: how it stands at once, then each change, at most one a second, and its end, after which there
// is nothing more to come. A client that comes again with the id of the last event is told only what is new.
func (d door) events(c *gin.Context) {
	ctx := c.Request.Context()
	r, err := d.cfg.Desk.Get(ctx, c.Param("id"))
	if err != nil {
		d.refuse(c, err)
		return
	}
	now, err := d.moment(ctx, r.Canary, r.ID)
	if err != nil {
		d.refuse(c, err)
		return
	}
	last := c.GetHeader("Last-Event-ID")
	if now.Result != "" && last == now.mark() {
		c.Status(http.StatusNoContent) // which tells an EventSource not to come again
		return
	}
	leave, ok := d.stay(c)
	if !ok {
		return
	}
	defer leave()
	c.Header("Content-Type", sse.ContentType)
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no") // NGINX would keep events until it has 4 KiB of them
	c.Status(http.StatusOK)
	c.Writer.Flush() // the client may know all that there is to tell
	s := stream{w: c.Writer, control: http.NewResponseController(c.Writer), last: last}
	if err := d.follow(ctx, s, r.Canary, now); err != nil && ctx.Err() == nil {
		d.cfg.Log.Debug("event stream broke off", "rollout", r.ID, "error", err)
	}
}

// follow writes moments until the rollout ends, the client goes, or somebody wants to end.
func (d door) follow(ctx context.Context, s stream, key rollout.Key, now moment) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	over := time.NewTimer(maxStream)
	defer over.Stop()
	for {
		if err := s.tell(now); err != nil || now.Result != "" {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.cfg.Stopping:
			return nil
		case <-over.C:
			return nil
		case <-alive.C:
			if err := s.write(func(w io.Writer) error { _, err := io.WriteString(w, ": alive\n\n"); return err }); err != nil {
				return err
			}
		case <-look.C:
			var err error
			if now, err = d.moment(ctx, key, now.ID); err != nil {
				return err
			}
		}
	}
}

// stream is one client that listens.
type stream struct {
	w       io.Writer
	control *http.ResponseController
	last    string // mark of what it was told last
}

// tell writes m when it is not what the client knows.
func (s *stream) tell(m moment) error {
	mark := m.mark()
	if mark == s.last {
		return nil
	}
	s.last = mark
	event := sse.Event{Id: mark, Event: "state", Data: m}
	if m.Result != "" {
		event.Event = "end"
	}
	return s.write(func(w io.Writer) error { return sse.Encode(w, event) })
}

// write sends at once, within the time that a client has for it: the server's own deadline is for whole answers.
func (s *stream) write(what func(io.Writer) error) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("lift the write deadline: %w", err)
	}
	if err := what(s.w); err != nil {
		return err
	}
	return s.control.Flush()
}
