// Package rules turns objectives into Prometheus' recording and alert rules, and adds those about rollouts.
package rules
