// Package storetest starts a real PostgreSQL for tests, from the programs that Debian's package installs.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// environment names a running server to use, as a DSN whose role may create databases; Main sets it for its tests.
const environment = "GATEKEEPER_TEST_POSTGRES"

// startTime bounds the making of a server: initdb and the start on a busy machine.
const startTime = 2 * time.Minute

// errMissing is why there is no server to be had.
var errMissing = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// Main runs a package's tests with one server for all of them; call it from TestMain and exit with its result.
func Main(m *testing.M) int {
	if os.Getenv(environment) != "" {
		return m.Run()
	}
	server, err := New()
	if errors.Is(err, errMissing) {
		return m.Run() // each test that needs it skips and says why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Remove()
	if err := errors.Join(server.Start(), os.Setenv(environment, server.DSN())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Postgres is the DSN of an empty database that is the test's own. The test is skipped where PostgreSQL is not installed.
func Postgres(t testing.TB) string {
	t.Helper()
	at := os.Getenv(environment)
	if at == "" {
		at = Own(t).DSN()
	}
	dsn, err := create(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// Own is a server that is the test's alone, started: the test may stop it.
func Own(t testing.TB) *Server {
	t.Helper()
	s, err := New()
	if errors.Is(err, errMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Server is one PostgreSQL, reached through a socket in its own folder.
type Server struct {
	folder string
	bin    string
	as     *syscall.SysProcAttr // PostgreSQL refuses to run as root
	run    *exec.Cmd
	stop   io.Closer
}

// New makes the files of a server; Start starts it.
func New() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.folder, err = os.MkdirTemp("", "pg"); err != nil { // short: a socket's path has 107 bytes
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := s.lower(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.folder))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", s.data(), "--username", "gatekeeper", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = s.as, s.folder
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.folder))
	}
	return s, nil
}

// lower lets the server run as a user without rights, to whom its folder belongs.
func (s *Server) lower() error {
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("find a user for PostgreSQL, which does not run as root: %w", err)
		}
	}
	uid, uidErr := strconv.ParseUint(who.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(who.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
	}
	s.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return os.Chown(s.folder, int(uid), int(gid))
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// DSN reaches the server's database postgres.
func (s *Server) DSN() string { return "host=" + s.folder + " user=gatekeeper dbname=postgres" }

// Start starts the server and waits until it answers. It goes down with this process, however that ends.
func (s *Server) Start() error {
	// The shell waits for the end of its input, which comes with Stop or with the end of this process.
	script := `"$0" -D "$1" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=100 & server=$!; read end; kill -QUIT $server; wait $server`
	s.run = exec.CommandContext(context.Background(), "/bin/sh", "-c", script, filepath.Join(s.bin, "postgres"), s.data(), s.folder)
	s.run.SysProcAttr, s.run.Dir = s.as, s.folder
	log, err := os.Create(filepath.Join(s.folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.run.Stdout, s.run.Stderr = log, log
	if s.stop, err = s.run.StdinPipe(); err != nil {
		return err
	}
	if err := s.run.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		connection, err := pgx.Connect(ctx, s.DSN())
		if err == nil {
			return connection.Close(ctx)
		}
		if ctx.Err() != nil {
			text, _ := os.ReadFile(log.Name()) // explains, if it is there
			return fmt.Errorf("start PostgreSQL: %w: %s", err, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop ends the server at once, as a crash does: connections break, and the next Start recovers what was acknowledged.
func (s *Server) Stop() {
	if s.run == nil {
		return
	}
	_ = s.stop.Close()
	_ = s.run.Wait() // its status says only that it was told to end
	s.run = nil
}

// Remove stops the server and deletes its files.
func (s *Server) Remove() {
	s.Stop()
	_ = os.RemoveAll(s.folder) // what stays is in the folder for temporary files
}

// create makes an empty database at the server that dsn reaches, and returns its DSN.
func create(ctx context.Context, dsn string) (string, error) {
	connection, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("reach PostgreSQL: %w", err)
	}
	defer func() { _ = connection.Close(ctx) }() // it asked its one question
	name := fmt.Sprintf("test_%d", time.Now().UnixNano())
	if _, err := connection.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", fmt.Errorf("make a database: %w", err)
	}
	config := connection.Config()
	fresh := fmt.Sprintf("host=%s port=%d user=%s dbname=%s", config.Host, config.Port, config.User, name)
	if config.Password != "" {
		fresh += " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(config.Password) + "'"
	}
	return fresh, nil
}

// programs finds the folder of initdb and postgres: the newest that Debian's packages have, else where PATH leads.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	newest := 0
	for i, path := range found {
		if version(path) > version(found[newest]) {
			newest = i
		}
	}
	if len(found) > 0 {
		return filepath.Dir(found[newest]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errMissing
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 for a folder that is no version
	return n
}
