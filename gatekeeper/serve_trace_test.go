package main

import (
	"bytes"
	"strings"
	"testing"
)

// What flags alone show to be wrong is said before anything begins, each with its flag.
func TestServeRefusesFlagsThatCanNotBeRight(t *testing.T) {
	for args, want := range map[string]string{
		"--trace-url https://traces.example/":            "{trace_id}",
		"--trace-url traces.example/{trace_id}":          "--trace-url",
		"--keep-ticks 1m":                                "--keep-ticks 1m0s",
		"--trace-url ftp://x/{trace_id} --keep-ticks 1m": "no http or https URL",
	} {
		out := &bytes.Buffer{}
		err := run(t.Context(), append([]string{"serve", "--kubeconfig", "/no/such/file"}, strings.Fields(args)...), out, out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", args, err, want)
		}
	}
}

// So is what is wrong in the environment, on every replica: no lead may end by it.
func TestServeRefusesTelemetryThatCanNotBeRight(t *testing.T) {
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_RESOURCE_ATTRIBUTES": "team"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, value)
			out := &bytes.Buffer{}
			err := run(t.Context(), []string{"serve", "--kubeconfig", "/no/such/file"}, out, out)
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want %s in it", err, name)
			}
		})
	}
}
