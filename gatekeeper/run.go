package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
)

// commands is the command line: one table of flags, each with its environment variable.
type commands struct {
	Serve   serveCmd   `cmd:"" default:"withargs" help:"Answer Flagger's hooks, judge, notify and report (default)."`
	Policy  policyCmd  `cmd:"" help:"Work with policy documents."`
	Check   checkCmd   `cmd:"" help:"Ask a URL and exit 0 when it answers 2xx; for probes and helm test."`
	Version versionCmd `cmd:"" help:"Print the version."`
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

type policyCmd struct {
	Check policyCheckCmd `cmd:"" help:"Read a policy document and say what is wrong with it."`
}

type policyCheckCmd struct {
	File string `arg:"" type:"existingfile" help:"Policy document (YAML)."`
}

// Run prints what the policy asks for, or fails with the line that is wrong.
func (c policyCheckCmd) Run(s streams) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	rules, err := policyfile.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	fmt.Fprintf(s.out, "policy %s: objective %v %% of %v; fails over %v %% errors in the first %s; bakes %s at the first weight, %s at each later one; needs %d requests, holds at most %s\n",
		rules.Name, rules.SLO.Objective, rules.SLO.Good, rules.FailFast.ErrorRate, rules.FailFast.Within,
		rules.Bake.First, rules.Bake.Step, rules.Evidence.MinRequests, rules.Evidence.MaxHold)
	return nil
}

type checkCmd struct {
	URL     string        `arg:"" help:"URL to ask."`
	Timeout time.Duration `default:"5s" help:"Time the answer may take."`
}

// Run asks once.
func (c checkCmd) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fmt.Errorf("check %s: %w", c.URL, err)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		return fmt.Errorf("check %s: %w", c.URL, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status decides; the body only explains
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("check %s: status %s: %s", c.URL, resp.Status, body)
	}
	fmt.Fprintf(s.out, "%s: %s\n", c.URL, resp.Status)
	return nil
}

type versionCmd struct{}

// Run prints version and commit.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintf(s.out, "gatekeeper %s (%s)\n", version, commit)
	return err
}
