package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/recipe"
)

type docsCmd struct {
	Env   string   `enum:"repo,cluster,adopt" required:"" help:"Run the blocks marked with this environment: repo, cluster or adopt. hack/documents has what each needs."`
	Files []string `arg:"" help:"Documents, in this order."`
}

// errDocs says that a document's command failed; its output is above.
var errDocs = errors.New("a document has a command that does not work as it stands there")

// docs runs the commands of documents as they stand there, each document in a new copy of the repository.
func (c *cli) docs(ctx context.Context, stdout, stderr io.Writer) error {
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return fmt.Errorf("find root: %w", err)
	}
	failed := false
	for _, name := range c.Docs.Files {
		source, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read document: %w", err)
		}
		blocks, err := recipe.Blocks(source)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		d := document{name: name, blocks: blocks, out: stdout}
		if err := d.run(ctx, root, c.Docs.Env, stderr); err != nil {
			fmt.Fprintf(stdout, "%s: %v\n", name, err)
			failed = true
		}
	}
	if failed {
		return errDocs
	}
	return ctx.Err()
}

// document is one that is being run.
type document struct {
	name   string
	blocks []recipe.Block
	out    io.Writer
}

func (d document) run(ctx context.Context, root, env string, stderr io.Writer) error {
	script := recipe.Script(d.blocks, env)
	if !strings.Contains(script, "begin") {
		return nil
	}
	events, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer events.Close()
	bash := exec.CommandContext(ctx, "bash", filepath.Join(root, "hack", "documents", "run"), env)
	bash.Stdin, bash.Stdout, bash.Stderr, bash.ExtraFiles = strings.NewReader(script), d.out, stderr, []*os.File{tell}
	// The group has what the commands started; it gets time to end it.
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	bash.Cancel = func() error { return syscall.Kill(-bash.Process.Pid, syscall.SIGTERM) }
	bash.WaitDelay = 30 * time.Second
	if err := bash.Start(); err != nil {
		return errors.Join(fmt.Errorf("start bash: %w", err), tell.Close())
	}
	_ = tell.Close() // bash has its own
	went := d.follow(events)
	err = bash.Wait()
	if err != nil && went.failed >= 0 {
		b := d.blocks[went.failed]
		return fmt.Errorf("the block at line %d, %q: %w", b.Line, b.Heading, err)
	}
	if err != nil {
		return fmt.Errorf("environment %s: %w", env, err)
	}
	fmt.Fprintf(d.out, "✓ %s: %d blocks in %s\n", d.name, went.ended, went.total.Round(time.Second))
	return nil
}

// course is how far a document came.
type course struct {
	failed int // the block that began and did not end; -1 is none
	ended  int
	total  time.Duration // from the first block's begin to the last one's end
}

// follow reads what the script writes about its progress, until it ends, and prints how long each block took.
func (d document) follow(events io.Reader) course {
	c, begun, first := course{failed: -1}, time.Time{}, time.Time{}
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var what string
		var i int
		if _, err := fmt.Sscan(lines.Text(), &what, &i); err != nil || i < 0 || i >= len(d.blocks) {
			continue
		}
		if what == "begin" {
			c.failed, begun = i, time.Now()
			if first.IsZero() {
				first = begun
			}
			fmt.Fprintf(d.out, "▸ %s:%d %s\n", d.name, d.blocks[i].Line, d.blocks[i].Heading)
			continue
		}
		c.failed, c.total = -1, time.Since(first)
		c.ended++
		fmt.Fprintf(d.out, "  %s:%d took %.1f s\n", d.name, d.blocks[i].Line, time.Since(begun).Seconds())
	}
	return c
}
