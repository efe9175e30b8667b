package main

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/serve/check"
)

// commands is the command line: one table of flags, each with its environment variable.
type commands struct {
	Serve    serveCmd    `cmd:"" default:"withargs" help:"Answer Flagger's hooks, judge, notify and report (default)."`
	Policy   policyCmd   `cmd:"" help:"Work with policy documents."`
	Notify   notifyCmd   `cmd:"" help:"Try and check the sinks by which people are told."`
	Why      whyCmd      `cmd:"" help:"Say how a Canary's rollout stands: verdict, evidence, gates."`
	Approve  approveCmd  `cmd:"" help:"Let a rollout through its approval gate."`
	Reject   rejectCmd   `cmd:"" help:"Send a rollout back, before it has traffic or while it has."`
	Abort    abortCmd    `cmd:"" help:"Send a rollout back, whether or not a gate asks."`
	Hold     holdCmd     `cmd:"" help:"Keep a rollout where it is until it is resumed."`
	Resume   resumeCmd   `cmd:"" help:"Let a rollout that is held go on."`
	Wait     waitCmd     `cmd:"" help:"Wait for what becomes of a release, for pipelines."`
	Settle   settleCmd   `cmd:"" help:"Bring Helm's release back to what the primary runs, after a rollout that came back."`
	Report   reportCmd   `cmd:"" help:"Print a rollout's entry of the report, all that is recorded of it, or its chart."`
	Replay   replayCmd   `cmd:"" help:"Judge a recorded rollout again, by the same policy or another one."`
	Verify   verifyCmd   `cmd:"" help:"Recompute every hash and verdict of the ledger and name the first that does not fit."`
	Backup   backupCmd   `cmd:"" help:"Write all that a gatekeeper remembers into a file."`
	Restore  restoreCmd  `cmd:"" help:"Make a ledger from a backup, in an empty database."`
	Simulate simulateCmd `cmd:"" help:"Say how often and how soon a policy rolls back, by simulation."`
	Doctor   doctorCmd   `cmd:"" help:"Examine Canaries and what belongs to them for traps, and forecast what their traffic shows."`
	Check    checkCmd    `cmd:"" help:"Ask a URL and exit 0 when it answers 2xx; for probes and helm test."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cli commands
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("gatekeeper"),
		kong.Description("Judges canary releases for Flagger: hooks, verdicts, notifications, reports."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdout, stderr}),
	)
	if err != nil {
		return fmt.Errorf("build command line: %w", err)
	}
	command, err := parser.Parse(args)
	if exit == 0 {
		return nil // --help was asked for and printed
	}
	if err != nil {
		return fmt.Errorf("%w; see gatekeeper --help", err)
	}
	return command.Run()
}

// streams are the process's outputs, handed to commands instead of globals.
type streams struct{ out, err io.Writer }

type checkCmd struct{ check.Command }

// Run asks the URL.
func (c checkCmd) Run(ctx context.Context, s streams) error { return c.Command.Run(ctx, s.out) }

type versionCmd struct{}

// Run prints version and commit.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintf(s.out, "gatekeeper %s (%s)\n", version, commit)
	return err
}
