// Package slofile reads slo.yaml (strict) into objectives and says which line is wrong.
package slofile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/prometheus/common/model"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

type document struct {
	Scrape   string    `yaml:"scrape"`
	Services []service `yaml:"services"`
}

type service struct {
	Namespace   string            `yaml:"namespace"`
	Canary      string            `yaml:"canary"`
	Objective   float64           `yaml:"objective"`
	SLO         string            `yaml:"slo"`
	Period      string            `yaml:"period"`
	Good        []string          `yaml:"good"`
	Source      slo.Source        `yaml:"source"`
	Errors      string            `yaml:"errors"`
	Total       string            `yaml:"total"`
	MinRequests float64           `yaml:"minRequests"`
	Labels      map[string]string `yaml:"labels"`
}

// Parse reads one document. Unknown fields, wrong types and values out of range are errors that begin with "file:line: ",
// one line each; all values out of range are named at once.
func Parse(file string, text []byte) (slo.Spec, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return slo.Spec{}, located(file, err)
	}
	var d document
	if err := yaml.UnmarshalWithOptions(text, &d, yaml.Strict()); err != nil {
		return slo.Spec{}, located(file, err)
	}
	spec, err := d.spec()
	if err == nil {
		err = errors.Join(append(each(spec.Validate()), refused(spec)...)...)
	}
	return spec, atLines(file, tree, err)
}

// spec puts in what is left out.
func (d document) spec() (slo.Spec, error) {
	var wrong []error
	duration := func(field, text string) time.Duration {
		parsed, err := model.ParseDuration(text)
		if err != nil {
			wrong = append(wrong, slo.FieldError{Field: field, Why: fmt.Sprintf("%q is not a duration such as 30s or 30d", text)})
		}
		return time.Duration(parsed)
	}
	spec := slo.Spec{Scrape: duration("scrape", d.Scrape)}
	for i, s := range d.Services {
		one := slo.Service{
			Namespace: s.Namespace, Canary: s.Canary, Name: s.SLO, Objective: s.Objective, Source: s.Source, Good: s.Good,
			Errors: s.Errors, Total: s.Total, MinRequests: s.MinRequests, Labels: s.Labels, Period: 30 * 24 * time.Hour,
		}
		if s.Period != "" {
			one.Period = duration(fmt.Sprintf("services[%d].period", i), s.Period)
		}
		if one.Name == "" {
			one.Name = "availability"
		}
		if one.Source == "" {
			one.Source = slo.Ingress
			if one.Errors != "" || one.Total != "" {
				one.Source = slo.Queries
			}
		}
		if len(one.Good) == 0 {
			one.Good = []string{"2xx"}
		}
		spec.Services = append(spec.Services, one)
	}
	return spec, errors.Join(wrong...)
}

func located(file string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return fmt.Errorf("%s:%d: %s", file, at.GetToken().Position.Line, at.GetMessage())
}

// atLines gives each error the line of its field, or of the nearest block around it that the document has.
func atLines(file string, tree *ast.File, err error) error {
	if err == nil {
		return nil
	}
	var all []error
	for _, one := range each(err) {
		line := 1
		var field slo.FieldError
		if errors.As(one, &field) {
			line = lineOf(tree, field.Field)
		}
		all = append(all, fmt.Errorf("%s:%d: %w", file, line, one))
	}
	return errors.Join(all...)
}

// each are the errors that were joined.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}

func lineOf(tree *ast.File, field string) int {
	for field != "" {
		if path, err := yaml.PathString("$." + field); err == nil {
			if node, err := path.FilterFile(tree); err == nil && node != nil {
				return node.GetToken().Position.Line
			}
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return 1
}
