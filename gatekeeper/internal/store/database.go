package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite" // the driver "sqlite", in pure Go
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

//go:embed schema
var schema embed.FS

// maxConnections to PostgreSQL of one replica: one writes, the others read for people.
const maxConnections = 8

// place is the database that a DSN names.
type place struct {
	server *pgx.ConnConfig // nil: SQLite
	file   string
}

func placeOf(dsn string) (place, error) {
	isServer := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") || regexp.MustCompile(`^\s*[a-z_]+\s*=`).MatchString(dsn)
	if !isServer {
		return place{file: strings.TrimPrefix(dsn, "file:")}, nil
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil { // its text could hold what is secret in the DSN
		return place{}, errors.New("the database's DSN is neither a postgres:// URL nor a list of keywords such as host=… dbname=…")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatekeeper"
	}
	return place{server: config}, nil
}

// String names the place without a password.
func (p place) String() string {
	if p.server != nil {
		return fmt.Sprintf("PostgreSQL database %s at %s", p.server.Database, p.server.Host)
	}
	return p.file
}

func (p place) open() (*sql.DB, error) {
	if p.server != nil {
		// A leader that is cut off in the middle of a write must not keep its successor out.
		p.server.RuntimeParams["idle_in_transaction_session_timeout"] = "10000"
		return pool(p.server), nil
	}
	// WAL with synchronous=FULL: what was acknowledged survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
	// Exclusive: a second gatekeeper on the same volume, such as the one before that is not quite dead, must not write
	// too. It waits ten seconds for its turn, then gives up. That needs a single connection.
	return openFile(p.file, url.Values{
		"_pragma": {"busy_timeout(10000)", "locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	})
}

// openToRead opens what is there and changes nothing.
func (p place) openToRead() (*sql.DB, error) {
	if p.server != nil {
		p.server.RuntimeParams["default_transaction_read_only"] = "on"
		return pool(p.server), nil
	}
	if _, err := os.Stat(p.file); err != nil {
		return nil, err
	}
	// A file without a log was closed in order, and nobody has it open: it can be read on a volume that can not be written.
	if _, err := os.Stat(p.file + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return openFile(p.file, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	}
	return openFile(p.file, url.Values{"_pragma": {"busy_timeout(1000)", "query_only(1)"}})
}

func pool(config *pgx.ConnConfig) *sql.DB {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	return db
}

func openFile(file string, options url.Values) (*sql.DB, error) {
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// sound refuses a file whose pages are damaged: what is read from it can not be trusted.
func sound(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, found)
	}
	return nil
}

// ErrNewer is a database that a newer gatekeeper has written: this one would misread it.
var ErrNewer = errors.New("a newer version of the gatekeeper has written the database: go back to that version, or restore a backup of this one")

// ErrDamaged is a database whose file can not be trusted.
var ErrDamaged = errors.New("the database is damaged")

// explain says what to do about SQLite's errors (sqlite.org/rescode.html) that come from the disk and not from us.
func explain(err error) error {
	advice := ""
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch code := e.Code() & 0xff; code {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		default:
			advice = map[int]string{
				sqlite3.SQLITE_BUSY: "another gatekeeper has the file open", sqlite3.SQLITE_FULL: "the disk is full: make room, the gatekeeper goes on by itself",
				sqlite3.SQLITE_READONLY: "the volume can not be written", sqlite3.SQLITE_CANTOPEN: "the folder is missing or can not be written",
				sqlite3.SQLITE_IOERR: "the disk fails",
			}[code]
		}
	}
	if errors.Is(err, ErrDamaged) {
		advice = "move the file away and restore a backup with gatekeeper restore; what was decided since that backup is lost"
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// migrate brings the schema up to date. Replicas that start together do it one after the other.
func migrate(ctx context.Context, db *sql.DB, lite bool) error {
	migrations, err := migrations(db, lite)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	known := migrations.ListSources()
	last := known[len(known)-1].Version
	if is, err := migrations.GetDBVersion(ctx); err == nil && is > last {
		return fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, is, last)
	}
	if _, err := migrations.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
}

func migrations(db *sql.DB, lite bool) (*goose.Provider, error) {
	dialect, folder := goose.DialectPostgres, "schema/postgres"
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(goose.NewGoMigration(4, &goose.GoFunc{RunTx: adopt}, nil))}
	if lite {
		dialect, folder = goose.DialectSQLite3, "schema/sqlite"
	} else {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(schema, folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files, options...)
}

// adopt gives rollouts from before the ledger what lists and tapes need.
func adopt(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT record, counters FROM records`)
	if err != nil {
		return fmt.Errorf("read rollouts: %w", err)
	}
	var all []rollout.Change
	err = each(rows, func() error {
		var c rollout.Change
		err := decode(rows, &c.Rollout, &c.Book)
		all = append(all, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("read rollouts: %w", err)
	}
	for i := range all {
		all[i].Rollout.JudgedBy = []string{"before the ledger"}
		ticks, err := ticksOf(ctx, tx, all[i].Rollout.ID)
		if err != nil {
			return err
		}
		for _, t := range ticks {
			all[i].Rollout.Tape = all[i].Rollout.Tape.Add(t)
		}
	}
	return saveRecords(ctx, tx, all)
}
