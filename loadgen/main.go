// Loadgen sends load to HTTP services: once from the command line, or as a
// service that Flagger and people start and stop attacks on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/loadgen/internal/tally"
)

// Set by the linker.
var version, commit = "dev", "none"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
	}
	os.Exit(exitCode(err))
}

// commands is the command line: every flag, its environment fallback, its help.
type commands struct {
	Run     runCommand     `cmd:"" help:"Send load to a URL and print what came back. Exit code 2 when a threshold is missed, 1 on any other trouble."`
	Serve   serveCommand   `cmd:"" help:"Start and stop attacks over HTTP: for people at /api/v1/attacks, for Flagger at /hooks/v1/load."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// streams are where a command reads and writes: its result to out, all else to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	parser, err := kong.New(&commands{},
		kong.Name("loadgen"),
		kong.Description("Sends load in a chosen shape and counts every answer."),
		kong.Writers(stdout, stderr),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdin, stdout, stderr}),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w (loadgen --help shows the commands)", err)
	}
	return command.Run()
}

// exitCode tells a missed threshold, which is a result, from trouble.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, tally.ErrMissed):
		return 2
	}
	return 1
}

type versionCommand struct{}

func (versionCommand) Run(std streams) error {
	_, err := fmt.Fprintf(std.out, "loadgen %s (%s)\n", version, commit)
	return err
}
