package slofile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/slo"
)

// refused is what Prometheus would not take: one such rule, and a Prometheus that starts with it does not start.
func refused(spec slo.Spec) (wrong []error) {
	for i, s := range spec.Services {
		field := func(name string, err error) {
			if err != nil {
				wrong = append(wrong, slo.FieldError{Field: fmt.Sprintf("services[%d].%s", i, name), Why: err.Error()})
			}
		}
		field("errors", query(s.Errors))
		field("total", query(s.Total))
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			field("labels", label(name, s.Labels[name]))
		}
	}
	return wrong
}

// query says what is wrong with PromQL that stands in sum(…).
func query(text string) error {
	if text == "" {
		return nil
	}
	promql := parser.NewParser(parser.Options{})
	text = strings.TrimSpace(strings.ReplaceAll(text, slo.Window, "5m"))
	expression, err := promql.ParseExpr(text)
	if err != nil {
		return fmt.Errorf("this is no PromQL, with 5m for %s: %w", slo.Window, err)
	}
	if expression.Type() != parser.ValueTypeVector {
		return fmt.Errorf("the query gives a %s, and must give series: rate(x_total[%s])", parser.DocumentedType(expression.Type()), slo.Window)
	}
	if _, err := promql.ParseExpr("sum(" + text + ")"); err != nil {
		return errors.New("a query must not end with a comment")
	}
	return nil
}

// label says what is wrong with a label of alerts. Before version 3 Prometheus took only the names that are checked here.
func label(name, value string) error {
	switch {
	case !model.LegacyValidation.IsValidLabelName(name) || strings.HasPrefix(name, model.ReservedLabelPrefix):
		return fmt.Errorf("%q is no name of a label: letters, digits and _, not a digit first, and not __", name)
	case strings.Contains(value, "{{"):
		return fmt.Errorf("%s has a template, which is not filled in: an alert's labels must stay as they are", name)
	}
	return nil
}
