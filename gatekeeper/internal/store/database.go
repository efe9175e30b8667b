package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // registers the driver "sqlite", in pure Go

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
)

//go:embed schema
var schema embed.FS

// maxConnections to PostgreSQL of one replica: one writes, the others read for people.
const maxConnections = 8

// connect opens what dsn names. where says it in errors, without a password.
func connect(dsn string) (db *sql.DB, where string, lite bool, err error) {
	if isPostgres(dsn) {
		config, err := pgx.ParseConfig(dsn)
		if err != nil { // its text could hold what is secret in the DSN
			return nil, "", false, errors.New("the database's DSN is neither a postgres:// URL nor a list of keywords such as host=… dbname=…")
		}
		// A leader that is cut off in the middle of a write must not keep its successor out.
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "10000"
		if config.RuntimeParams["application_name"] == "" {
			config.RuntimeParams["application_name"] = "gatekeeper"
		}
		db = stdlib.OpenDB(*config)
		db.SetMaxOpenConns(maxConnections)
		db.SetMaxIdleConns(maxConnections)
		return db, fmt.Sprintf("PostgreSQL database %s at %s", config.Database, config.Host), false, nil
	}
	file := strings.TrimPrefix(dsn, "file:")
	// WAL with synchronous=FULL: what was acknowledged survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	if db, err = sql.Open("sqlite", source.String()); err != nil {
		return nil, "", true, fmt.Errorf("open %s: %w", file, err)
	}
	// Exclusive: a second gatekeeper on the same volume, such as the one before that is not quite dead, must not write
	// too. It waits ten seconds for its turn, then gives up. That needs a single connection.
	db.SetMaxOpenConns(1)
	return db, file, true, nil
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") || regexp.MustCompile(`^\s*[a-z_]+\s*=`).MatchString(dsn)
}

// sound refuses a file whose pages are damaged: what is read from it can not be trusted.
func sound(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("the database is damaged (%s)", found)
	}
	return nil
}

// migrate brings the schema up to date. Replicas that start together do it one after the other.
func migrate(ctx context.Context, db *sql.DB, lite bool) error {
	dialect, folder := goose.DialectPostgres, "schema/postgres"
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(goose.NewGoMigration(4, &goose.GoFunc{RunTx: adopt}, nil))}
	if lite {
		dialect, folder = goose.DialectSQLite3, "schema/sqlite"
	} else {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return fmt.Errorf("read schema: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(schema, folder)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema: %w", err)
	}
	return nil
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
