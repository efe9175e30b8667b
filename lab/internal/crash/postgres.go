package crash

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// ErrNoPostgres says that there is no server to start.
var ErrNoPostgres = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// StartPostgres makes an empty PostgreSQL server in a folder of its own and starts it. Its dsn is for whoever runs on this
// machine. Stop ends it and removes the folder.
func StartPostgres(ctx context.Context) (dsn string, stop func() error, err error) {
	bin, err := programs()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "lab-postgres-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder: %w", err)
	}
	as, err := servant(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "gatekeeper", "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("make a PostgreSQL database: %w\n%s", err, out), os.RemoveAll(dir))
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("read address: %w", err), os.RemoveAll(dir))
	}
	server := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
	server.SysProcAttr, server.Dir = as, dir
	if err := server.Start(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), os.RemoveAll(dir))
	}
	stop = func() error {
		_ = server.Process.Signal(os.Interrupt) // fast shutdown; one that has ended is fine
		_ = server.Wait()                       // it was interrupted, so an error says nothing
		return os.RemoveAll(dir)
	}
	if err := accepts(ctx, address); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return "postgres://gatekeeper@" + address + "/postgres?sslmode=disable", stop, nil
}

// programs is the folder of initdb and postgres: Debian keeps them out of the PATH, by version.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", fmt.Errorf("find PostgreSQL: %w", err)
	}
	if len(found) > 0 {
		slices.Sort(found)
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNoPostgres
	}
	return filepath.Dir(path), nil
}

// servant is who the server runs as: PostgreSQL refuses root. The folder becomes his.
func servant(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, errUID := strconv.ParseUint(who.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(who.Gid, 10, 32)
	if err := errors.Join(errUID, errGID, os.Chown(dir, int(uid), int(gid))); err != nil {
		return nil, fmt.Errorf("give PostgreSQL its folder: %w", err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// accepts waits until a server takes connections.
func accepts(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return connection.Close()
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("wait for PostgreSQL: %w", err)
		}
	}
}
