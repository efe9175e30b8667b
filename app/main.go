// Command app is the small REST API that a rollout releases: it counts its own
// answers for the analysis and can be told to misbehave.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Written by the linker: -ldflags "-X main.version=1.0.0 -X main.commit=abc".
var version, commit = "dev", "none"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}
