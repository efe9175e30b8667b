// Command lab brings the whole system up on a Kubernetes cluster, shows it, proves it and takes it down again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/embedded"
)

// Written by the linker: -ldflags "-X main.version=1.0.0 -X main.commit=abc".
var version, commit = "dev", "none"

func main() {
	if server, err := embedded.Entrypoint(os.Args[1:], os.Environ(), os.Getenv); server {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(exitCode(err))
	}
}
