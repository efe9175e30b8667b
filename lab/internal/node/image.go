package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// image is what an image's file says about the program that stands for it.
type image struct {
	Binary string            `json:"binary"`
	Args   []string          `json:"args"`
	Env    map[string]string `json:"env"`
}

// readImage reads the file of an image below folder.
func readImage(folder, name string) (image, error) {
	path := filepath.Join(folder, url.PathEscape(name)+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		return image{}, fmt.Errorf("image %q: %w", name, err)
	}
	var i image
	if err := json.Unmarshal(text, &i); err != nil {
		return image{}, fmt.Errorf("image %q: read %s: %w", name, path, err)
	}
	if !filepath.IsAbs(i.Binary) {
		return image{}, fmt.Errorf("image %q: %w", name, errors.New("binary is not an absolute path"))
	}
	return i, nil
}
