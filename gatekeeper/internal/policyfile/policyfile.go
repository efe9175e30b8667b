// Package policyfile reads policy documents (YAML, strict) into policy.Rules and says which line is wrong.
package policyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// document is the YAML form of policy.Rules. Fields that are left out keep the default policy's values.
type document struct {
	Name string `yaml:"name"`
	SLO  struct {
		Objective float64  `yaml:"objective"`
		Good      []string `yaml:"good"`
	} `yaml:"slo"`
	FailFast struct {
		ErrorRate float64  `yaml:"errorRate"`
		Within    duration `yaml:"within"`
	} `yaml:"failFast"`
	Bake struct {
		First duration `yaml:"first"`
		Step  duration `yaml:"step"`
	} `yaml:"bake"`
	Evidence struct {
		MinRequests uint64   `yaml:"minRequests"`
		MaxHold     duration `yaml:"maxHold"`
	} `yaml:"evidence"`
}

// duration is a time.Duration whose parse error says what was written: the YAML library's own says neither field nor line.
type duration time.Duration

// UnmarshalYAML reads a Go duration such as 90s or 5m.
func (d *duration) UnmarshalYAML(text []byte) error {
	var s string
	if err := yaml.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s is not a duration such as 90s or 5m", text)
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s or 5m", s)
	}
	*d = duration(parsed)
	return nil
}

// Parse reads one document. Unknown fields, wrong types and values out of range are errors; the first two say where.
func Parse(text []byte) (policy.Rules, error) {
	base := policy.Default()
	var d document
	d.SLO.Objective, d.SLO.Good = base.SLO.Objective, base.SLO.Good
	d.FailFast.ErrorRate, d.FailFast.Within = base.FailFast.ErrorRate, duration(base.FailFast.Within)
	d.Bake.First, d.Bake.Step = duration(base.Bake.First), duration(base.Bake.Step)
	d.Evidence.MinRequests, d.Evidence.MaxHold = base.Evidence.MinRequests, duration(base.Evidence.MaxHold)
	if err := yaml.UnmarshalWithOptions(text, &d, yaml.Strict()); err != nil {
		return policy.Rules{}, errors.New(yaml.FormatError(err, false, true))
	}
	rules := policy.Rules{
		Name:     d.Name,
		SLO:      policy.SLO(d.SLO),
		FailFast: policy.FailFast{ErrorRate: d.FailFast.ErrorRate, Within: time.Duration(d.FailFast.Within)},
		Bake:     policy.Bake{First: time.Duration(d.Bake.First), Step: time.Duration(d.Bake.Step)},
		Evidence: policy.Evidence{MinRequests: d.Evidence.MinRequests, MaxHold: time.Duration(d.Evidence.MaxHold)},
	}
	return rules, rules.Validate()
}

// Load reads every *.yaml file of a folder, by the policies' names. A policy named default is added when no file has
// one. Two files with one name are an error.
func Load(folder fs.FS) (policy.Set, error) {
	files, err := fs.Glob(folder, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	all := policy.Set{}
	from := map[string]string{}
	for _, file := range files {
		text, err := fs.ReadFile(folder, file)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		rules, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("policy file %s: %w", file, err)
		}
		if other, taken := from[rules.Name]; taken {
			return nil, fmt.Errorf("policy file %s: name %q is already used by %s", file, rules.Name, other)
		}
		all[rules.Name], from[rules.Name] = rules, file
	}
	if _, ok := all["default"]; !ok {
		all["default"] = policy.Default()
	}
	return all, nil
}
