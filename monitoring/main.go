// Command monitoring writes the files of this folder that are made from slo.yaml and from code: Prometheus rules and
// Grafana dashboards.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

// commands is the command line. Each command stands in a file of its own.
type commands struct {
	Rules      rulesCmd      `cmd:"" help:"Write alert_rules.yaml and the PrometheusRule from slo.yaml, or check that they are up to date."`
	Dashboards dashboardsCmd `cmd:"" help:"Write grafana_dashboards/, or check that it is up to date."`
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	parser, err := kong.New(&commands{},
		kong.Name("monitoring"),
		kong.Description("Writes Prometheus rules and Grafana dashboards."),
		kong.Writers(stdout, stderr),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(stdout, (*io.Writer)(nil)),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w (monitoring --help shows the commands)", err)
	}
	return command.Run()
}
