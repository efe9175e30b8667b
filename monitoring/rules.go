package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/rulefile"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/rules"
	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slofile"
)

type rulesCmd struct {
	SLO        string `name:"slo" default:"slo.yaml" help:"Objectives."`
	Folder     string `default:"." help:"Where alert_rules.yaml and operator/prometheusrule.yaml are."`
	Check      bool   `help:"Write nothing; say which files differ, and end with 1 if one does."`
	Accelerate int    `default:"1" placeholder:"N" help:"For proofs only: print the rules with the objectives' windows and periods N times shorter, under their real names, and write nothing."`
	Out        string `placeholder:"FILE" help:"With --accelerate: write them to this file."`
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
	case c.Accelerate != 1 && c.Out != "":
		return made{filepath.Base(c.Out): prometheus}.put(filepath.Dir(c.Out), c.Check, "make rules")
	case c.Accelerate != 1:
		_, err := stdout.Write(prometheus)
		return err
	case c.Out != "":
		return errors.New("--out is for accelerated rules: the others go to --folder")
	}
	operator, err := rulefile.Operator(groups)
	if err != nil {
		return err
	}
	return made{"alert_rules.yaml": prometheus, filepath.Join("operator", "prometheusrule.yaml"): operator}.put(c.Folder, c.Check, "make rules")
}

// made are files that are made from something else, by their paths.
type made map[string][]byte

// put writes the files into folder, each as a whole or not at all, or with check says which of those there differ and how to make them anew.
func (m made) put(folder string, check bool, again string) error {
	var differ []error
	for path, text := range m {
		path = filepath.Join(folder, path)
		if !check {
			if err := renameio.WriteFile(path, text, 0o644); err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			continue
		}
		if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, text) {
			differ = append(differ, fmt.Errorf("%s is not what its source gives: run %s", path, again))
		}
	}
	return errors.Join(differ...)
}
