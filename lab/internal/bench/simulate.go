package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/lab/internal/sh"
)

// The rollouts that are simulated: a service of one request a second, a tenth of it at a canary that is as good as its primary.
const (
	simulatedRuns = "200"
	simulatedRate = "0.001" // of errors, both versions
)

// FalseRollbacks is, by judge, the percentage of healthy rollouts that it brings back within half an hour, as the gatekeeper's
// simulation has it. The gatekeeper in root is built into dir.
func FalseRollbacks(ctx context.Context, root, dir string) (map[string]float64, error) {
	program := filepath.Join(dir, "gatekeeper")
	build := sh.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Dir, build.Env = filepath.Join(root, "gatekeeper"), []string{"GOWORK=off", "CGO_ENABLED=0"}
	if err := build.Run(ctx); err != nil {
		return nil, fmt.Errorf("build gatekeeper: %w", err)
	}
	out, err := sh.Command(program, "simulate", "--rps", "1", "--weight", "10", "--error-rate", simulatedRate, "--primary-rate", simulatedRate,
		"--for", "30m", "--flagger", "--runs", simulatedRuns, "--output", "json").Output(ctx)
	if err != nil {
		return nil, fmt.Errorf("simulate healthy rollouts: %w", err)
	}
	return falseRollbacks([]byte(out))
}

// falseRollbacks reads the simulation's result. Of each judge the first line is that of the asked error rate; the second is a
// canary at its objective. The default policy has the name "default" here, and stands for those that differ from it
// in nothing that judges.
func falseRollbacks(text []byte) (map[string]float64, error) {
	var result struct {
		Results []struct {
			Judge      string `json:"judge"`
			Runs       int    `json:"runs"`
			RolledBack int    `json:"rolledBack"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return nil, fmt.Errorf("read simulation: %w", err)
	}
	shares := map[string]float64{}
	for _, line := range result.Results {
		judge := strings.TrimPrefix(line.Judge, "gatekeeper, policy ")
		if _, known := shares[judge]; known || line.Runs == 0 {
			continue
		}
		shares[judge] = 100 * float64(line.RolledBack) / float64(line.Runs)
	}
	if share, known := shares["default"]; known {
		shares["braked"] = share // the same judgement, carried out by another hand
	}
	return shares, nil
}
