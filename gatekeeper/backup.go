package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

type backupCmd struct {
	server `embed:""`

	File string `arg:"" help:"File to write; it is replaced only by a complete backup. Keep it where the gatekeeper's volume is not."`
}

// Run asks a gatekeeper for all that it remembers, and keeps it once it is complete.
func (c backupCmd) Run(ctx context.Context, s streams) error {
	lines, err := c.client().stream(ctx, "/api/v1/backup")
	if err != nil {
		return err
	}
	defer lines.Close()
	file, err := renameio.NewPendingFile(c.File, renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	defer func() { _ = file.Cleanup() }() // after the replacement there is nothing to clean up
	to := bufio.NewWriterSize(file, 1<<16)
	count := newCounter(s)
	var sum ledger.Summary
	for line, err := range ledger.Read(io.TeeReader(lines, to)) {
		if err != nil {
			return fmt.Errorf("the backup is not complete, %s stays as it was: %w", c.File, err)
		}
		switch {
		case line.Entry != nil:
			sum.Entries, sum.Hash = line.Entry.Seq, line.Entry.Hash
		case line.Rollout != nil:
			sum.Open++
		}
		count.show(func() ledger.Summary { return sum })
	}
	count.end()
	if err := errors.Join(to.Flush(), file.CloseAtomicallyReplace()); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	fmt.Fprintf(s.out, "%s: %d entries and %d rollouts without one; gatekeeper verify %s says whether they fit together\n", c.File, sum.Entries, sum.Open, c.File)
	return nil
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

type restoreCmd struct {
	offlineData `embed:""`

	File string `arg:"" type:"existingfile" help:"File that gatekeeper backup wrote."`
}

// Run makes a ledger from a backup, in an empty database that no gatekeeper has open.
func (c restoreCmd) Run(ctx context.Context, s streams) (err error) {
	dsn, err := c.dsn()
	if err != nil {
		return err
	}
	if dsn == "" {
		return errors.New("say where to: --data for a SQLite file in that folder, or --database")
	}
	file, err := os.Open(c.File)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	defer file.Close()
	isNew := dsn == filepath.Join(c.Data, databaseName) && missing(dsn)
	memory, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() {
		closed := memory.Close()
		if err != nil && isNew { // a gatekeeper would start with the empty ledger as if it were the one that is missing
			err = errors.Join(err, closed, os.RemoveAll(dsn), os.RemoveAll(dsn+"-wal"), os.RemoveAll(dsn+"-shm"))
		}
	}()
	if err := memory.Lead(ctx); err != nil {
		return err
	}
	sum, err := memory.Restore(ctx, file, judge())
	var misfit *ledger.Misfit
	if errors.As(err, &misfit) {
		return exitError{fmt.Errorf("nothing is restored: %w", err), exitMisfit}
	}
	if err != nil {
		return fmt.Errorf("nothing is restored: %w", err)
	}
	fmt.Fprint(s.out, verified{Source: c.File, Fits: true, Summary: sum}.text()+"restored\n")
	return nil
}
