package main

import (
	"fmt"
	"io"

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
	all := made{}
	for _, f := range files {
		all[f.Name] = f.JSON
	}
	differ, err := all.put(c.Dir, c.Check)
	if err != nil {
		return err
	}
	for _, path := range differ {
		fmt.Fprintf(stdout, "%s is not what the code makes\n", path)
	}
	if len(differ) > 0 {
		return fmt.Errorf("%d dashboards differ: make dashboards writes them anew", len(differ))
	}
	return nil
}
