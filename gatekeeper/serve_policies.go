package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
)

// usualPolicies is where policies are looked for when nobody says where.
const usualPolicies = "/etc/gatekeeper/policies"

// policyFlags say by what is judged.
type policyFlags struct {
	Policies string `env:"GATEKEEPER_POLICIES" help:"Folder of policy documents (*.yaml), which must hold some; /etc/gatekeeper/policies, if there is one, without it."`
}

// policySet reads the policies. A folder that somebody named must hold some: else a slip of the pen would have every Canary judged
// by rules that nobody chose.
func (f policyFlags) policySet(log *slog.Logger) (policy.Set, error) {
	folder := f.Policies
	if folder == "" {
		folder = usualPolicies
	}
	files, err := fs.Glob(os.DirFS(folder), "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list policies of %s: %w", folder, err)
	}
	if len(files) == 0 && f.Policies != "" {
		return nil, fmt.Errorf("load policies from %s: there is no *.yaml: is --policies right?", folder)
	}
	if len(files) == 0 {
		log.Warn("THERE ARE NO POLICIES: every Canary is judged by the built-in default, whatever policy it names; give --policies", "folder", folder)
	}
	policies, err := policyfile.Load(os.DirFS(folder))
	if err != nil {
		return nil, fmt.Errorf("load policies from %s: %w", folder, err)
	}
	return policies, nil
}
