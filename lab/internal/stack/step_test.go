package stack

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	broken := errors.New("it broke")
	for name, c := range map[string]struct {
		done []bool // what Done says, call by call; nil: there is no Done
		run  error
		ran  bool
		fail string
	}{
		"what is done is not run":                   {done: []bool{true}},
		"what is not done is run":                   {done: []bool{false, true}, ran: true},
		"what ran and is still not done has failed": {done: []bool{false, false}, ran: true, fail: "is not done"},
		"without a check it is always run":          {ran: true},
		"an error of the step names the step":       {run: broken, ran: true, fail: "flagger: it broke"},
	} {
		t.Run(name, func(t *testing.T) {
			ran, later := false, false
			step := Step{Name: "flagger", Run: func(context.Context) error { ran = true; return c.run }}
			if c.done != nil {
				step.Done = func(context.Context) (bool, error) {
					answer := c.done[0]
					c.done = c.done[1:]
					return answer, nil
				}
			}
			next := Step{Name: "next", Run: func(context.Context) error { later = true; return nil }}
			err := Run(t.Context(), &Progress{Out: &bytes.Buffer{}}, []Step{step, next})
			if ran != c.ran {
				t.Errorf("ran is %v, want %v", ran, c.ran)
			}
			if c.fail == "" && err != nil || c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
				t.Errorf("error is %v, want %q", err, c.fail)
			}
			if later != (c.fail == "") {
				t.Errorf("the next step ran: %v", later)
			}
		})
	}
}

func TestAFailingCheckEndsTheRun(t *testing.T) {
	step := Step{
		Name: "cluster",
		Done: func(context.Context) (bool, error) { return false, errors.New("no answer") },
		Run:  func(context.Context) error { t.Error("must not run"); return nil },
	}
	if err := Run(t.Context(), &Progress{Out: &bytes.Buffer{}}, []Step{step}); err == nil {
		t.Error("want an error")
	}
}

func TestProgress(t *testing.T) {
	steps := []Step{
		{Name: "cluster", Done: func(context.Context) (bool, error) { return true, nil }},
		{Name: "images", Run: func(context.Context) error { return nil }},
		{Name: "flagger", Run: func(context.Context) error { return errors.New("no") }},
	}
	var plain bytes.Buffer
	if err := Run(t.Context(), &Progress{Out: &plain}, steps); err == nil {
		t.Error("want an error")
	}
	want := regexp.MustCompile(`^✓ cluster \d+\.\ds, already done\n✓ images \d+\.\ds\n✗ flagger \d+\.\ds\n$`)
	if !want.MatchString(plain.String()) {
		t.Errorf("plain output is %q", plain.String())
	}
	var terminal bytes.Buffer
	_ = Run(t.Context(), &Progress{Out: &terminal, Terminal: true}, steps)
	if got := terminal.String(); !strings.Contains(got, "• images 0s") {
		t.Errorf("a terminal must see what runs: %q", got)
	}
	last := func(s string) string { return s[strings.LastIndex(s, "\x1b[K")+len("\x1b[K"):] }
	if lines := slices.Collect(strings.Lines(last(terminal.String()))); len(lines) != 1 || !strings.HasPrefix(lines[0], "✗ flagger") {
		t.Errorf("the moving line must be gone at the end: %q", terminal.String())
	}
}
