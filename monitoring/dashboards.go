package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/dashboards"
)

type dashboardsCmd struct {
	Check bool   `help:"Write nothing; say which files differ, and end with status 1 if one does."`
	Dir   string `default:"grafana_dashboards" help:"Folder of the files."`
}

// Run writes the dashboards, or checks them.
func (c dashboardsCmd) Run(stdout io.Writer) error {
	files, err := dashboards.Files()
	if err != nil {
		return err
	}
	differ := 0
	for _, f := range files {
		path := filepath.Join(c.Dir, f.Name)
		if !c.Check {
			if err := renameio.WriteFile(path, f.JSON, 0o644); err != nil {
				return fmt.Errorf("write dashboard: %w", err)
			}
			continue
		}
		if there, err := os.ReadFile(path); err != nil || !bytes.Equal(there, f.JSON) {
			differ++
			fmt.Fprintf(stdout, "%s is not what the code makes\n", path)
		}
	}
	if differ > 0 {
		return fmt.Errorf("%d dashboards differ: make dashboards writes them anew", differ)
	}
	return nil
}
