package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// made are files that are made from something else, by their paths.
type made map[string][]byte

// put writes the files into folder, each as a whole or not at all; with check it writes nothing and returns the paths of
// those that are not so.
func (m made) put(folder string, check bool) (differ []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		path, text := filepath.Join(folder, name), m[name]
		if !check {
			if err := renameio.WriteFile(path, text, 0o644); err != nil {
				return nil, fmt.Errorf("write %s: %w", path, err)
			}
			continue
		}
		if there, err := os.ReadFile(path); err != nil || !bytes.Equal(there, text) {
			differ = append(differ, path)
		}
	}
	return differ, nil
}
