// Package rulefile writes rules as Prometheus reads them from a file and as its operator reads them from the cluster.
package rulefile

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/monitoring/internal/rules"
)

type group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []rule `yaml:"rules"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	KeepFiring  string            `yaml:"keep_firing_for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type groupsOf struct {
	Groups []group `yaml:"groups"`
}

type object struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       groupsOf `yaml:"spec"`
}

type metadata struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace"`
	Labels    map[string]string `yaml:"labels"`
}

const header = "# Made from slo.yaml by \"make rules\": change that, not this.\n"

// Prometheus is a rule file.
func Prometheus(groups []rules.Group) ([]byte, error) { return write(body(groups)) }

// Operator is a PrometheusRule with the same groups.
func Operator(groups []rules.Group) ([]byte, error) {
	return write(object{
		APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule",
		Metadata: metadata{Name: "rollout-monitoring", Namespace: "monitoring", Labels: map[string]string{"app.kubernetes.io/part-of": "rollout-monitoring"}},
		Spec:     body(groups),
	})
}

func body(groups []rules.Group) groupsOf {
	var all groupsOf
	for _, g := range groups {
		one := group{Name: g.Name, Interval: rules.Text(g.Interval)}
		for _, r := range g.Rules {
			one.Rules = append(one.Rules, rule{Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: hold(r.For), KeepFiring: hold(r.KeepFiring), Labels: r.Labels, Annotations: r.Annotations})
		}
		all.Groups = append(all.Groups, one)
	}
	return all
}

func hold(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return rules.Text(d)
}

func write(document any) ([]byte, error) {
	text, err := yaml.MarshalWithOptions(document, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return append([]byte(header), text...), nil
}
