package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/report"
)

// maxName bounds a file's name without its ending; file systems allow 255 bytes.
const maxName = 120

// Name makes of a rollout's id the name of its files, without their ending. An id that is one already stays as it is; any
// other gets a hash, so that two ids never share a file.
func Name(id string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, id)
	if safe == id && len(id) <= maxName && !strings.HasPrefix(id, ".") && id != "" {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "_" + safe[:min(len(safe), maxName-18)] + "_" + hex.EncodeToString(sum[:8])
}

// entry is one rollout's in the report, with the line that stands nowhere else.
type entry struct{ mark, text string }

// addTo adds entries to the report file, but those whose mark it has already, so that a crash between writing and
// remembering does not make two of them. The whole file is replaced: a reader never sees half an entry.
func addTo(file string, entries []entry) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read report: %w", err)
	}
	if len(text) == 0 {
		text = []byte(report.Heading)
	}
	before := len(text)
	for _, e := range entries {
		if !bytes.Contains(text, []byte(e.mark)) {
			text = append(append(text, '\n'), e.text...)
		}
	}
	if len(text) == before {
		return nil
	}
	return write(file, text)
}

// tidyInterval is how often sidecars that are too old are looked for.
const tidyInterval = time.Hour

// old reports whether a rollout that ended then has no sidecar any more.
func (a *Archive) old(ended time.Time) bool { return a.Keep != 0 && a.Now().Sub(ended) > a.Keep }

// tidy removes sidecars that are too old: with all their ticks they are what fills a volume. Report entries and charts stay.
func (a *Archive) tidy() error {
	now := a.Now()
	if now.Sub(a.tidied) < tidyInterval {
		return nil
	}
	folder := filepath.Join(a.Folder, rollouts)
	files, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("look for old sidecars: %w", err)
	}
	for _, file := range files {
		if filepath.Ext(file.Name()) != ".json" || file.Name() == filepath.Base(a.placeFile()) {
			continue
		}
		info, err := file.Info()
		if err != nil {
			return fmt.Errorf("look for old sidecars: %w", err)
		}
		if !a.old(info.ModTime()) {
			continue
		}
		if err := os.Remove(filepath.Join(folder, file.Name())); err != nil {
			return fmt.Errorf("remove an old sidecar: %w", err)
		}
	}
	a.tidied = now
	return nil
}

// write replaces a file durably: written aside, synced, renamed, and the folder synced, which renameio leaves to us.
func write(file string, text []byte) error {
	if err := renameio.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(file), err)
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("sync the folder of %s: %w", filepath.Base(file), err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", filepath.Base(file), err)
	}
	return nil
}
