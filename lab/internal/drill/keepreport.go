package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// KeepReport writes what the gatekeeper reports of this run's rollouts into folder: deployment_report.md, and each rollout's
// chart and sidecar beside it, as the gatekeeper itself keeps them.
func (d *Drill) KeepReport(ctx context.Context, folder string) error {
	if err := os.MkdirAll(filepath.Join(folder, "rollouts"), 0o755); err != nil {
		return fmt.Errorf("keep the report: %w", err)
	}
	entries, err := d.report(ctx)
	if err != nil {
		return err
	}
	text := &strings.Builder{}
	text.WriteString("# Deployment report\n\nOne entry for each rollout, the newest last.\n")
	for _, e := range entries {
		fmt.Fprintf(text, "\n%s\n", strings.ReplaceAll(e.Text, "api/v1/rollouts/"+e.ID+"/chart.svg", "rollouts/"+e.ID+".svg"))
		for ending, part := range map[string]string{".svg": "chart.svg", ".json": "tape"} {
			path := "/api/v1/rollouts/" + e.ID + "/" + part
			body, status, err := d.Kube.Service(ctx, http.MethodGet, d.System, "gatekeeper", "people", path, nil)
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("gatekeeper answered GET %s with %d: %s", path, status, body)
			}
			if part == "tape" && !json.Valid(body) {
				return fmt.Errorf("gatekeeper answered GET %s with what is no JSON", path)
			}
			if err := os.WriteFile(filepath.Join(folder, "rollouts", e.ID+ending), body, 0o644); err != nil {
				return fmt.Errorf("keep the report: %w", err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "deployment_report.md"), []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("keep the report: %w", err)
	}
	return nil
}
