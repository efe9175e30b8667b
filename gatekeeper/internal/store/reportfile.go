package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ReportFile is the file that people read, newest entry last.
type ReportFile string

// Append adds an entry unless the file has its mark already, so that a crash between writing and remembering does not
// make two of it. The whole file is replaced (write, fsync, rename): a reader never sees half an entry.
func (f ReportFile) Append(mark, entry string) error {
	text, err := os.ReadFile(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read report: %w", err)
	}
	if len(text) == 0 {
		text = []byte("# Deployment report\n\nOne entry for each rollout, the newest last.\n")
	}
	if bytes.Contains(text, []byte(mark)) {
		return nil
	}
	text = append(append(text, '\n'), entry...)
	if err := renameio.WriteFile(string(f), text, 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return syncFolder(filepath.Dir(string(f)))
}

// syncFolder makes a rename durable; renameio syncs the file only.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync report folder: %w", err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("sync report folder: %w", err)
	}
	return nil
}
