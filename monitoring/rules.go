package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/rulefile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/rules"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slofile"
)

type rulesCmd struct {
	SLO        string `name:"slo" default:"slo.yaml" help:"Objectives."`
	Folder     string `default:"." help:"Where alert_rules.yaml and operator/prometheusrule.yaml are."`
	Check      bool   `help:"Write nothing; say which files differ, and end with 1 if one does."`
	Accelerate int    `default:"1" placeholder:"N" help:"For proofs only: print the rules with the objectives' windows and periods N times shorter, under their real names, and write nothing."`
	Out        string `placeholder:"FILE" help:"Write the rules to this file alone."`
}

// Run writes, checks, or prints.
func (c rulesCmd) Run(stdout io.Writer) error {
	text, err := os.ReadFile(c.SLO)
	if err != nil {
		return fmt.Errorf("read objectives: %w", err)
	}
	spec, err := slofile.Parse(c.SLO, text)
	if err != nil {
		return err
	}
	groups, err := rules.Groups(spec, c.Accelerate)
	if err != nil {
		return err
	}
	prometheus, err := rulefile.Prometheus(groups)
	if err != nil {
		return err
	}
	switch {
	case c.Out != "":
		return c.put(made{filepath.Base(c.Out): prometheus}, filepath.Dir(c.Out))
	case c.Accelerate != 1:
		_, err := stdout.Write(prometheus)
		return err
	}
	operator, err := rulefile.Operator(groups)
	if err != nil {
		return err
	}
	return c.put(made{"alert_rules.yaml": prometheus, filepath.Join("operator", "prometheusrule.yaml"): operator}, c.Folder)
}

// put writes the files, or with --check says which are not up to date.
func (c rulesCmd) put(files made, folder string) error {
	differ, err := files.put(folder, c.Check)
	wrong := []error{err}
	for _, path := range differ {
		wrong = append(wrong, fmt.Errorf("%s is not what its source gives: run make rules", path))
	}
	return errors.Join(wrong...)
}
