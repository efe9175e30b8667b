package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // freeze windows name time zones, and the image has no files of them

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policyfile"
)

type policyCmd struct {
	Check  policyCheckCmd  `cmd:"" help:"Read a policy document and say in plain words what it asks for, or which lines are wrong."`
	Schema policySchemaCmd `cmd:"" help:"Print the JSON schema of a policy document."`
}

type policyCheckCmd struct {
	File   string `arg:"" type:"existingfile" help:"Policy document (YAML)."`
	Output string `enum:"text,json" default:"text" help:"text: what it asks for; json: the whole document with all that it left out (${enum})."`
	Sinks  string `env:"GATEKEEPER_SINKS" type:"existingfile" help:"Sinks file: warns of sinks that the policy tells and the file does not have."`
}

// Run prints what the policy asks for, or fails with the lines that are wrong.
func (c policyCheckCmd) Run(s streams) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	rules, err := policyfile.ParseFile(c.File, text)
	if err != nil {
		return err
	}
	if err := warnUnknown(s.err, c.Sinks, rules); err != nil {
		return err
	}
	if c.Output == "json" {
		resolved, err := policyfile.JSON(rules)
		if err != nil {
			return err
		}
		_, err = s.out.Write(resolved)
		return err
	}
	fmt.Fprintf(s.out, "policy %s\n", rules.Name)
	for _, line := range rules.Words() {
		fmt.Fprintf(s.out, "  %s\n", line)
	}
	return nil
}

type policySchemaCmd struct{}

// Run prints the schema.
func (policySchemaCmd) Run(s streams) error {
	schema, err := policyfile.Schema()
	if err != nil {
		return err
	}
	_, err = s.out.Write(schema)
	return err
}
