package web

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// Each route of the table is in the document with its role and its words, and nothing else is.
func TestTheDocumentHasTheRoutes(t *testing.T) {
	_, _, cfg := newDoor(t, nil)
	var document struct {
		Paths map[string]map[string]struct {
			Role    Role   `yaml:"x-role"`
			Summary string `yaml:"summary"`
		} `yaml:"paths"`
	}
	if err := yaml.Unmarshal(openAPIDocument, &document); err != nil {
		t.Fatal(err)
	}
	documented := 0
	for _, operations := range document.Paths {
		documented += len(operations)
	}
	routes := (door{cfg: cfg}).routes()
	for _, r := range routes {
		operation, ok := document.Paths[strings.ReplaceAll(r.path, ":id", "{id}")][strings.ToLower(r.method)]
		if !ok || operation.Role != r.needs || operation.Summary != r.summary {
			t.Errorf("%s %s needs %s, %q; the document says %+v", r.method, r.path, r.needs, r.summary, operation)
		}
	}
	if documented != len(routes) {
		t.Errorf("the document has %d operations, the table %d routes", documented, len(routes))
	}
}
