// Package packages finds NGINX and Prometheus on this machine, or gets them from its distribution into a folder.
package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// Programs are the paths of what was found.
type Programs struct {
	NGINX, Prometheus, Promtool string
}

// Finder looks in the usual places and in its own folder.
type Finder struct {
	Dir string              // where fetched packages go
	Say func(string)        // told before anything is fetched
	Env func(string) string // os.Getenv
	// Usual are folders to look in beside the PATH; nil are those where distributions put servers.
	Usual []string
}

// names of the programs and of the packages that may hold them: on Debian 12 nginx has the program, on Ubuntu 22.04
// nginx-core has.
func wanted() map[string][]string {
	return map[string][]string{"nginx": {"nginx", "nginx-core"}, "prometheus": {"prometheus"}, "promtool": {"prometheus"}}
}

// Find returns the programs that are there, and the names of those that are not.
func (f Finder) Find() (Programs, []string) {
	var missing []string
	usual := f.Usual
	if usual == nil {
		usual = []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"}
	}
	dirs := slices.Concat(filepath.SplitList(f.Env("PATH")), usual, []string{f.root("usr/sbin"), f.root("usr/bin")})
	find := func(name string) string {
		for _, dir := range dirs {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
				return path
			}
		}
		missing = append(missing, name)
		return ""
	}
	return Programs{NGINX: find("nginx"), Prometheus: find("prometheus"), Promtool: find("promtool")}, missing
}

// Fetch gets what is missing. It needs no rights: packages of Debian and Ubuntu are unpacked into Dir and not
// installed, so no service of theirs starts either. Where that is not possible, the error says in one line what to do.
func (f Finder) Fetch(ctx context.Context) (err error) {
	if _, missing := f.Find(); len(missing) == 0 {
		return nil
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	_, missing := f.Find() // somebody else may have fetched them in the meantime
	if len(missing) == 0 {
		return nil
	}
	switch {
	case f.has("apt-get") && f.has("dpkg-deb"):
		f.Say(fmt.Sprintf("%s not found: fetching packages of this distribution into %s (nothing is installed outside it)", strings.Join(missing, ", "), f.Dir))
		err = f.apt(ctx, missing)
	case f.has("brew"):
		f.Say(strings.Join(missing, ", ") + " not found: brew install nginx prometheus")
		err = sh.Command("brew", "install", "nginx", "prometheus").Run(ctx)
	default:
		err = errors.New("there is neither apt-get nor brew")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, still := f.Find(); len(still) > 0 {
		return fmt.Errorf("%s not found and not to be had here: install the packages nginx and prometheus, then start again%s", strings.Join(still, ", "), reason(err))
	}
	if err := f.work(ctx); err != nil {
		// What does not run must not be found the next time.
		return errors.Join(err, os.RemoveAll(f.root("")))
	}
	return nil
}

// Wrk returns the load generator wrk and the environment it needs. Where it is neither on the PATH nor in Dir, its
// package is unpacked into Dir. Only benchmarks want it, so Fetch leaves it out.
func (f Finder) Wrk(ctx context.Context) (program string, env []string, err error) {
	if path, err := exec.LookPath("wrk"); err == nil {
		return path, nil, nil
	}
	program = f.root("usr/bin/wrk")
	if _, err := os.Stat(program); err != nil {
		if err := f.fetchWrk(ctx); err != nil {
			return "", nil, fmt.Errorf("wrk not found and not to be had here: %w", err)
		}
	}
	libraries, err := filepath.Glob(f.root("usr/lib/*-linux-gnu"))
	if err != nil {
		return "", nil, fmt.Errorf("find wrk's libraries: %w", err)
	}
	return program, []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, string(os.PathListSeparator))}, nil
}

func (f Finder) fetchWrk(ctx context.Context) (err error) {
	if !f.has("apt-get") || !f.has("dpkg-deb") {
		return errors.New("there is no apt-get: install wrk")
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f.Say("wrk not found: fetching its package into " + f.Dir)
	if err := f.lists(ctx); err != nil {
		return err
	}
	// Either library does; Ubuntu and Debian have not always both.
	if err := f.unpack(ctx, "libluajit-5.1-2"); err != nil {
		if err := f.unpack(ctx, "libluajit2-5.1-2"); err != nil {
			return err
		}
	}
	return f.unpack(ctx, "wrk")
}

// lock lets one process at a time fetch, until the function it returns is called.
func (f Finder) lock() (unlock func() error, err error) {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder for packages: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(f.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock packages: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock packages: %w", errors.Join(err, file.Close()))
	}
	return file.Close, nil
}

// reason is an error's first line, so that what to do stays one line.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	var failed *sh.Error
	if errors.As(err, &failed) && strings.TrimSpace(failed.Output) != "" {
		lines := strings.Split(strings.TrimSpace(failed.Output), "\n")
		text = lines[len(lines)-1]
	}
	first, _, _ := strings.Cut(text, "\n")
	return " (" + first + ")"
}

// work starts each program once: an unpacked one may lack a library.
func (f Finder) work(ctx context.Context) error {
	programs, _ := f.Find()
	if err := sh.Command(programs.NGINX, "-v").Run(ctx); err != nil {
		return fmt.Errorf("nginx does not run: install the package nginx, then start again%s", reason(err))
	}
	if err := sh.Command(programs.Prometheus, "--version").Run(ctx); err != nil {
		return fmt.Errorf("prometheus does not run: install the package prometheus, then start again%s", reason(err))
	}
	return nil
}

func (f Finder) has(program string) bool {
	for _, dir := range filepath.SplitList(f.Env("PATH")) {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return true
		}
	}
	return false
}

func (f Finder) root(path string) string { return filepath.Join(f.Dir, "root", path) }

// apt downloads and unpacks what is missing.
func (f Finder) apt(ctx context.Context, missing []string) error {
	if err := f.lists(ctx); err != nil {
		return err
	}
	for _, program := range missing {
		if err := f.first(ctx, program); err != nil {
			return err
		}
	}
	return nil
}

// lists makes folders and fetches package lists of our own, for those of the machine may be empty and are root's.
func (f Finder) lists(ctx context.Context) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "root"} {
		if err := os.MkdirAll(filepath.Join(f.Dir, dir), 0o755); err != nil {
			return fmt.Errorf("make folder for packages: %w", err)
		}
	}
	// One list that is out of reach must not hide the others: what counts is whether the packages are found.
	if err := f.aptGet(ctx, "update"); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

func (f Finder) aptGet(ctx context.Context, args ...string) error {
	own := []string{"-qq", "-o", "Dir::State::lists=" + filepath.Join(f.Dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(f.Dir, "cache"), "-o", "APT::Sandbox::User=root"}
	command := sh.Command("apt-get", append(own, args...)...)
	command.Dir = f.Dir
	return command.Run(ctx)
}

// first takes the packages that may hold a program, one by one, until it is there.
func (f Finder) first(ctx context.Context, program string) error {
	var last error
	for _, name := range wanted()[program] {
		if _, missing := f.Find(); !slices.Contains(missing, program) {
			return nil
		}
		last = f.unpack(ctx, name)
	}
	return last
}

// unpack downloads one package and unpacks it into our folder.
func (f Finder) unpack(ctx context.Context, name string) error {
	if err := f.aptGet(ctx, "download", name); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(f.Dir, name+"_*.deb"))
	if err != nil || len(archives) == 0 {
		return fmt.Errorf("find package %s in %s: %w", name, f.Dir, errors.Join(err, os.ErrNotExist))
	}
	return sh.Command("dpkg-deb", "--extract", archives[len(archives)-1], f.root("")).Run(ctx)
}
