package stack

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Step is one thing to be done on the way. Done, which may be nil, says whether it is: a step that is done is not run,
// and one that ran and is not done has failed. A step may thus be run again after anything.
type Step struct {
	Name string
	Done func(context.Context) (bool, error)
	Run  func(context.Context) error
}

// Run does the steps in their order up to the first that fails.
func Run(ctx context.Context, p *Progress, steps []Step) error {
	for _, step := range steps {
		finish := p.start(step.Name)
		note, err := step.do(ctx)
		finish(note, err)
		if err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return nil
}

func (s Step) do(ctx context.Context) (note string, err error) {
	if s.Done != nil {
		if done, err := s.Done(ctx); err != nil || done {
			return "already done", err
		}
	}
	if err := s.Run(ctx); err != nil || s.Done == nil {
		return "", err
	}
	done, err := s.Done(ctx)
	if err == nil && !done {
		err = fmt.Errorf("it ran without an error, but is not done")
	}
	return "", err
}

// Progress shows steps to a person. On a terminal the running step has a line that moves; elsewhere each step is one
// plain line when it has ended.
type Progress struct {
	Out      io.Writer
	Terminal bool

	mu sync.Mutex // one line at a time
}

// clear empties the terminal's line.
const clear = "\r\x1b[K"

// Say shows a line to whoever watches, also while a step runs.
func (p *Progress) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Terminal {
		fmt.Fprint(p.Out, clear)
	}
	fmt.Fprintln(p.Out, "  "+line)
}

// start shows that a step runs; what it returns shows that it has ended.
func (p *Progress) start(name string) func(note string, err error) {
	begin := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	if !p.Terminal {
		close(stopped)
	} else {
		go func() {
			defer close(stopped)
			p.spin(name, begin, stop)
		}()
	}
	var once sync.Once
	return func(note string, err error) {
		once.Do(func() { close(stop) })
		<-stopped
		mark, took := "✓", fmt.Sprintf("%.1fs", time.Since(begin).Seconds())
		if err != nil {
			mark = "✗"
		}
		if note != "" {
			took += ", " + note
		}
		fmt.Fprintf(p.Out, "%s %s %s\n", mark, name, took)
	}
}

// spin repaints the running step's line until stop is closed, and leaves it empty.
func (p *Progress) spin(name string, begin time.Time, stop <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		p.paint("%s• %s %.0fs", clear, name, time.Since(begin).Seconds())
		select {
		case <-tick.C:
		case <-stop:
			p.paint(clear)
			return
		}
	}
}

func (p *Progress) paint(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.Out, format, args...)
}
