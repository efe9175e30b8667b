// Package bench measures the load generator and the app against other programs on the same machine, in pairs.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/packages"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// The other programs, as they are to be had from the Go module proxy.
const (
	vegetaModule = "github.com/tsenart/vegeta/v12@v12.13.0"
	heyModule    = "github.com/rakyll/hey@v0.1.4"
)

// Config is what a Bench needs.
type Config struct {
	Root   string // of the repository
	Cache  string // for the other programs
	Dir    string // for what is built and written on the way
	Rounds int    // of each comparison, at least 1
	Finder packages.Finder
	Say    func(string) // progress, one line
}

// Bench holds the programs that are compared. Prepare makes them.
type Bench struct {
	Config
	pin                        pinning
	nginx, wrk                 string // wrk may be "": it is not to be had everywhere
	wrkEnv                     []string
	loadgen, app, plain, peers string
	vegeta, hey                string
	seconds                    time.Duration // of one run at full speed
	notes                      []string
}

// Prepare builds our programs and gets the others.
func Prepare(ctx context.Context, cfg Config) (*Bench, error) {
	if cfg.Rounds < 1 {
		return nil, fmt.Errorf("rounds %d: at least 1 is needed", cfg.Rounds)
	}
	b := &Bench{Config: cfg, pin: newPinning(), seconds: 3 * time.Second}
	for _, dir := range []string{cfg.Cache, cfg.Dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	for _, program := range []struct {
		into        *string
		name        string
		module, pkg string
	}{
		{&b.loadgen, "loadgen", "loadgen", "."},
		{&b.app, "app", "app", "."},
		{&b.plain, "plain", "app", "./plain"},
		{&b.peers, "peers", "lab", "./peers"},
	} {
		*program.into = filepath.Join(cfg.Dir, program.name)
		build := sh.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", *program.into, program.pkg)
		build.Dir, build.Env = filepath.Join(cfg.Root, program.module), []string{"GOWORK=off", "CGO_ENABLED=0"}
		b.Say("building " + program.name)
		if err := build.Run(ctx); err != nil {
			return nil, fmt.Errorf("build %s: %w", program.name, err)
		}
	}
	for _, other := range []struct {
		into         *string
		name, module string
	}{{&b.vegeta, "vegeta", vegetaModule}, {&b.hey, "hey", heyModule}} {
		*other.into = filepath.Join(cfg.Cache, other.name)
		if _, err := os.Stat(*other.into); err == nil {
			continue
		}
		b.Say("building " + other.module)
		install := sh.Command("go", "install", other.module)
		install.Env = []string{"GOBIN=" + cfg.Cache, "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS="}
		if err := install.Run(ctx); err != nil {
			return nil, fmt.Errorf("get %s: %w", other.name, err)
		}
	}
	if err := cfg.Finder.Fetch(ctx); err != nil {
		return nil, err
	}
	found, _ := cfg.Finder.Find()
	b.nginx = found.NGINX
	var err error
	if b.wrk, b.wrkEnv, err = cfg.Finder.Wrk(ctx); err != nil {
		b.notes = append(b.notes, "SKIPPED wrk: "+firstLine(err.Error()))
	}
	if !b.pin.works() {
		b.notes = append(b.notes, "server and load generator share all processors: there is no taskset, or only one processor")
	}
	return b, nil
}

// Run measures what names list, all of it for none: load, truth, app, canaries.
func (b *Bench) Run(ctx context.Context, names []string) (Report, error) {
	parts := []struct {
		name string
		run  func(context.Context) ([]Table, error)
	}{{"load", b.load}, {"truth", b.truth}, {"app", b.service}, {"canaries", b.canaries}}
	report := Report{Machine: machine(), Rounds: b.Rounds, Notes: b.notes}
	for _, part := range parts {
		if len(names) > 0 && !slices.Contains(names, part.name) {
			continue
		}
		tables, err := part.run(ctx)
		if err != nil {
			return report, fmt.Errorf("measure %s: %w", part.name, err)
		}
		report.Tables = append(report.Tables, tables...)
	}
	if len(report.Tables) == 0 {
		return report, errors.New("there is nothing of that name to measure; choose from load, truth, app, canaries")
	}
	return report, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// write puts text into a file of ours and returns its path.
func (b *Bench) write(name, text string) (string, error) {
	path := filepath.Join(b.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// machine says what the figures are from.
func machine() string {
	return fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}
