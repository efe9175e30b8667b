package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/ledger"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/store"
)

// exitMisfit is the code of a ledger or a file that does not fit together.
const exitMisfit = 2

type verifyCmd struct {
	server      `embed:""`
	offlineData `embed:""`

	Files  []string `arg:"" optional:"" type:"existingfile" help:"Sidecars (JSON files beside deployment_report.md) to compare with the ledger; or one backup, to verify instead of a gatekeeper's ledger."`
	Alone  bool     `help:"Check sidecars by themselves, without a ledger."`
	Output string   `enum:"text,json" default:"text" help:"text or json."`
}

// offlineData says which database to open instead of asking a gatekeeper.
type offlineData struct {
	databaseFlags `embed:""`

	Data string `type:"existingdir" help:"Folder with the SQLite file of a gatekeeper that does not run."`
}

// dsn is the database that is meant, "" for none.
func (d offlineData) dsn() (string, error) {
	dsn, err := secret(d.Database, d.DatabaseFile)
	if err != nil || dsn != "" || d.Data == "" {
		return dsn, err
	}
	return filepath.Join(d.Data, databaseName), nil
}

// verified is the answer of the command, as --output json has it.
type verified struct {
	Fits   bool   `json:"fits"`
	Source string `json:"source"`
	ledger.Summary
	Misfit *ledger.Misfit `json:"misfit,omitempty"`
}

// Run verifies, prints what was checked, and fails with exitMisfit when something does not fit.
func (c verifyCmd) Run(ctx context.Context, s streams) error {
	backup, sidecars, err := c.files()
	if err != nil {
		return err
	}
	result := verified{Source: "sidecars alone"}
	if c.Alone {
		err = checkAlone(sidecars, &result.Summary)
	} else {
		err = c.ledger(ctx, s, backup, sidecars, &result)
	}
	if errors.Is(err, store.ErrDamaged) {
		return exitError{err, exitMisfit}
	}
	if err != nil && !errors.As(err, &result.Misfit) {
		return err
	}
	result.Fits = err == nil
	if c.Output == "json" {
		if err := json.NewEncoder(s.out).Encode(result); err != nil {
			return err
		}
	} else if result.Fits {
		fmt.Fprint(s.out, result.text())
	}
	if err != nil {
		return exitError{err, exitMisfit}
	}
	return nil
}

// files are the backup among the arguments, "" for none, and the sidecars by their names.
func (c verifyCmd) files() (backup string, sidecars map[string][]byte, err error) {
	sidecars = map[string][]byte{}
	for _, name := range c.Files {
		isBackup, err := beginsLikeABackup(name)
		switch {
		case err != nil:
			return "", nil, err
		case isBackup && backup != "":
			return "", nil, fmt.Errorf("%s and %s: verify one backup at a time", backup, name)
		case isBackup:
			backup = name
			continue
		}
		if sidecars[name], err = os.ReadFile(name); err != nil {
			return "", nil, fmt.Errorf("read sidecar: %w", err)
		}
	}
	if c.Alone && (len(sidecars) == 0 || backup != "") {
		return "", nil, errors.New("--alone is for sidecars: name some, and no backup")
	}
	return backup, sidecars, nil
}

// beginsLikeABackup looks at a file's first bytes.
func beginsLikeABackup(name string) (bool, error) {
	file, err := os.Open(name)
	if err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	defer file.Close()
	begin := make([]byte, len(`{"ledger"`))
	n, err := io.ReadFull(file, begin)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return string(begin[:n]) == `{"ledger"`, nil
}

func checkAlone(sidecars map[string][]byte, sum *ledger.Summary) error {
	for name, text := range sidecars {
		one, err := ledger.SidecarAlone(judge(), name, text)
		sum.Sidecars, sum.Verdicts, sum.Notes = sum.Sidecars+1, sum.Verdicts+one.Verdicts, append(sum.Notes, one.Notes...)
		if err != nil {
			return err
		}
	}
	return nil
}

// ledger verifies the one that the flags name, and the sidecars with it.
func (c verifyCmd) ledger(ctx context.Context, s streams, backup string, sidecars map[string][]byte, result *verified) error {
	lines, source, err := c.lines(ctx, backup)
	if err != nil {
		return err
	}
	defer lines.Close()
	result.Source = source
	v := ledger.NewVerifier(judge())
	for name, text := range sidecars {
		if err := v.Sidecar(name, text); err != nil {
			return err
		}
	}
	count := newCounter(s)
	defer count.end()
	for line, err := range ledger.Read(lines) {
		if err != nil {
			return fmt.Errorf("read the ledger from %s: %w", source, err)
		}
		if err := v.Take(line); err != nil {
			return err
		}
		count.show(v.Summary)
	}
	if result.Summary, err = v.Close(); err != nil {
		return err
	}
	if database, ok := lines.(closers); ok {
		return database.memory.CheckLists(ctx, judge())
	}
	return nil
}

// lines opens a ledger's file, whichever way it comes.
func (c verifyCmd) lines(ctx context.Context, backup string) (lines io.ReadCloser, source string, err error) {
	if backup != "" {
		file, err := os.Open(backup)
		return file, backup, err
	}
	dsn, err := c.dsn()
	if err != nil {
		return nil, "", err
	}
	if dsn == "" {
		lines, err := c.client().stream(ctx, "/api/v1/ledger")
		return lines, c.Server, err
	}
	memory, err := store.OpenToRead(ctx, dsn)
	if err != nil {
		return nil, "", err
	}
	read, write := io.Pipe()
	go func() {
		write.CloseWithError(memory.WriteLedger(ctx, write))
	}()
	return closers{read, memory}, "the database", nil
}

// closers is a reader that closes what it reads from, too.
type closers struct {
	*io.PipeReader
	memory *store.Store
}

func (c closers) Close() error { return errors.Join(c.PipeReader.Close(), c.memory.Close()) }

func (v verified) text() string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "%s: fits\n", v.Source)
	for _, l := range []struct {
		n    int64
		what string
	}{
		{v.Entries, "entries, each bound to the one before by its hash"},
		{int64(v.Rollouts), "rollouts closed, with their figures"},
		{int64(v.Verdicts), "verdicts judged again from their ticks"},
		{int64(v.Decisions), "decisions of people, found in their rollouts"},
		{int64(v.Open), "rollouts without an entry yet"},
		{int64(v.Pruned), "rollouts whose ticks were pruned: their verdicts were not judged again"},
		{int64(v.Sidecars), "sidecars"},
	} {
		if l.n > 0 {
			fmt.Fprintf(text, "%8d %s\n", l.n, l.what)
		}
	}
	for _, note := range v.Notes {
		fmt.Fprintf(text, "note: %s\n", note)
	}
	if v.Hash != "" {
		fmt.Fprintf(text, "the last entry is %d, its hash %s\n", v.Entries, v.Hash)
	}
	return text.String()
}

// counter says on a terminal how far a long command has come.
type counter struct {
	out  io.Writer
	live bool
	last time.Time
}

func newCounter(s streams) *counter {
	return &counter{out: s.err, live: terminal(s.err), last: time.Now()}
}

// show paints at most twice a second.
func (p *counter) show(sum func() ledger.Summary) {
	if !p.live || time.Since(p.last) < 500*time.Millisecond {
		return
	}
	p.last = time.Now()
	at := sum()
	fmt.Fprintf(p.out, "\r\x1b[K%d entries, %d verdicts judged again", at.Entries, at.Verdicts)
}

func (p *counter) end() {
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
