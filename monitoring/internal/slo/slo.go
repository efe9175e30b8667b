// Package slo holds the words of slo.yaml and the arithmetic of error budgets and burn rates.
package slo
