package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	gather      = 100 * time.Millisecond // changes this close to each other make one reload
	firstPause  = 100 * time.Millisecond // before the first restart
	secondPause = time.Second            // before the next one; from then on doubled
	lastPause   = 30 * time.Second       // also how long NGINX has to run to be trusted again
)

// supervisor keeps NGINX running and its configuration current. One goroutine owns it.
type supervisor struct {
	*Controller
	log  *slog.Logger
	list func() (objects, error)

	process   *process        // nil while NGINX is down
	wanted    string          // what the API asks for
	installed string          // what NGINX starts with
	loaded    string          // what it runs with
	told      map[string]bool // problems already logged
}

func newSupervisor(c *Controller, list func() (objects, error)) *supervisor {
	return &supervisor{Controller: c, log: c.config.Log, list: list}
}

// run returns when ctx ends and NGINX is gone. That NGINX does not start the first time is an error; later it is tried
// again and again.
func (s *supervisor) run(ctx context.Context, changed <-chan struct{}) error {
	defer s.healthy.Store(false)
	// Nothing but a 404 at first: should the real configuration be refused, there is one to stay with.
	empty, _ := build(s.config.Class, objects{})
	text, err := render(s.settings, empty)
	if err != nil {
		return err
	}
	if err := s.nginx.install(ctx, text); err != nil {
		return err
	}
	s.installed = text
	if err := s.start(ctx); err != nil {
		return err
	}
	var due, again <-chan time.Time
	var pause time.Duration
	since := time.Now()
	for {
		s.healthy.Store(s.process != nil && s.loaded == s.wanted)
		var gone <-chan struct{}
		if s.process != nil {
			gone = s.process.gone
		}
		select {
		case <-ctx.Done():
			if gone != nil {
				<-gone
			}
			return nil
		case <-changed:
			if due == nil {
				due = time.After(gather)
			}
		case <-due:
			due = nil
			s.apply(ctx)
		case <-gone:
			pause = nextPause(pause, time.Since(since))
			again = time.After(pause)
			s.process = nil
		case <-again:
			s.log.Error("nginx died, restarting", "after", pause)
			since = time.Now()
			if err := s.start(ctx); err != nil {
				s.log.Error("nginx not restarted", "error", err)
				pause = nextPause(pause, 0)
				again = time.After(pause)
			}
		}
	}
}

// nextPause says how long to wait before a restart, after the pause before the last one and the time NGINX ran since.
func nextPause(last, ran time.Duration) time.Duration {
	switch {
	case last == 0 || ran >= lastPause:
		return firstPause
	case last == firstPause:
		return secondPause
	}
	return min(2*last, lastPause)
}

// start runs NGINX with what is installed. After an error nothing of it is left.
func (s *supervisor) start(ctx context.Context) error {
	p, err := s.nginx.start(ctx, s.metrics)
	if err != nil {
		return err
	}
	if err := p.serving(ctx); err != nil {
		return errors.Join(err, p.kill())
	}
	s.process, s.loaded = p, s.installed
	s.log.Info("nginx runs", "pid", p.cmd.Process.Pid, "listen", s.config.Listen)
	return nil
}

// apply brings NGINX to what the API asks for.
func (s *supervisor) apply(ctx context.Context) {
	text, err := s.configuration()
	if err != nil {
		s.log.Error("configuration not written", "error", err)
		return
	}
	if text == s.wanted {
		return
	}
	s.wanted = text
	if err := s.nginx.install(ctx, text); err != nil && ctx.Err() != nil {
		return
	} else if err != nil {
		s.metrics.refused()
		s.log.Error("configuration refused, the old one stays", "error", err)
		return
	}
	s.installed = text
	if s.process == nil {
		return // the restart will take it
	}
	if err := s.process.reload(ctx); err != nil {
		s.wanted = "" // so that the next change tries again
		s.metrics.refused()
		s.log.Error("configuration not loaded", "error", err)
		return
	}
	s.loaded = text
	s.metrics.reloaded(text)
	s.log.Info("configuration loaded", "bytes", len(text))
}

// configuration is the text that the API asks for. A problem is logged when it is new.
func (s *supervisor) configuration() (string, error) {
	o, err := s.list()
	if err != nil {
		return "", fmt.Errorf("list objects: %w", err)
	}
	m, problems := build(s.config.Class, o)
	told := map[string]bool{}
	for _, p := range problems {
		if told[p.String()] = true; !s.told[p.String()] {
			s.log.Warn("ingress not served", "ingress", p.Ingress, "error", p.Err)
		}
	}
	s.told = told
	return render(s.settings, m)
}
