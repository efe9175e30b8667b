package policyfile

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

var update = flag.Bool("update", false, "write the schemas of the chart")

const chart = "../../../helm/gatekeeper"

// compiled is the schema as another library understands it.
func compiled(t *testing.T, draft *jsonschema.Draft, of func() ([]byte, error)) *jsonschema.Schema {
	t.Helper()
	text, err := of()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	delete(content.(map[string]any), "$schema")
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(draft)
	if err := compiler.AddResource("policy.json", content); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON gives a YAML document as a checker of JSON schemas wants it.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(converted))
	if err != nil {
		t.Fatalf("%v: %s", err, converted)
	}
	return content
}

// Both drafts: editors read the newest, Helm reads draft 7.
func TestTheSchemaKnowsGoodFromBad(t *testing.T) {
	for name, draft := range map[string]*jsonschema.Draft{"2020-12": jsonschema.Draft2020, "draft 7": jsonschema.Draft7} {
		schema := compiled(t, draft, Schema)
		for _, rules := range []policy.Rules{policy.Default(), fullRules()} {
			resolved, err := JSON(rules)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(asJSON(t, string(resolved))); err != nil {
				t.Errorf("%s: %s is refused: %v", name, rules.Name, err)
			}
		}
		for _, text := range []string{full, "name: x\n", "name: x\nbrake: false\n", "name: x\nbrake: on\n", "name: x\nbake: {first: \"0\"}\n"} {
			if err := schema.Validate(asJSON(t, text)); err != nil {
				t.Errorf("%s: a good document is refused: %v\n%s", name, err, text)
			}
		}
		for what, c := range bad {
			if !c.schema {
				continue
			}
			if err := schema.Validate(asJSON(t, c.text)); err == nil {
				t.Errorf("%s: the schema takes %s:\n%s", name, what, c.text)
			}
		}
	}
}

// The chart has the schema twice: as a file for editors, and among the schema of its values, because Helm follows no
// references to files. There the name is left to the key. "go test ./internal/policyfile -update" writes both.
func TestTheChartsSchemasAreOfTheseFields(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(chart, "policy.schema.json"), func([]byte) []byte { return schema })

	var fields map[string]any
	if err := json.Unmarshal(schema, &fields); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"$schema", "title", "required"} {
		delete(fields, own)
	}
	inValues(t, `"policy": `, fields)

	// The list of sinks and the rest of the sinks file are values of their own there.
	if schema, err = SinksSchema(); err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(chart, "sinks.schema.json"), func([]byte) []byte { return schema })
	fields = nil
	if err := json.Unmarshal(schema, &fields); err != nil {
		t.Fatal(err)
	}
	for _, own := range []string{"$schema", "title"} {
		delete(fields, own)
	}
	inValues(t, `"sinks": `, fields)
}

// inValues writes a definition into the schema of the chart's values.
func inValues(t *testing.T, key string, fields map[string]any) {
	t.Helper()
	definition, err := json.MarshalIndent(fields, "    ", "  ")
	if err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(chart, "values.schema.json"), func(text []byte) []byte {
		head, rest, found := bytes.Cut(text, []byte(key))
		old := json.NewDecoder(bytes.NewReader(rest))
		var skipped json.RawMessage
		if err := old.Decode(&skipped); err != nil || !found {
			t.Fatalf("values.schema.json has no definition %s: %v", key, err)
		}
		return slicesOf(head, []byte(key), definition, rest[old.InputOffset():])
	})
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// same compares a file with what it must be, or makes it so.
func same(t *testing.T, file string, want func(got []byte) []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	if bytes.Equal(got, want(got)) {
		return
	}
	if !*update {
		t.Errorf("%s is stale: go test ./internal/policyfile -update", file)
		return
	}
	if err := os.WriteFile(file, want(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every field stands in the document for people, by its full path.
func TestEveryFieldIsDocumented(t *testing.T) {
	for file, of := range map[string]func() ([]byte, error){"docs/policy.md": Schema, "docs/notifications.md": SinksSchema} {
		text, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths("", compiled(t, jsonschema.Draft2020, of)) {
			if !strings.Contains(string(text), "`"+path+"`") {
				t.Errorf("%s does not explain %s", file, path)
			}
		}
	}
}

// paths are those of all fields that have no fields of their own.
func paths(prefix string, schema *jsonschema.Schema) (all []string) {
	fields := schema.Properties
	if list, ok := schema.Items2020, schema.Items2020 != nil; ok && len(list.Properties) > 0 {
		fields = list.Properties
	}
	for name, field := range fields {
		inner := paths(prefix+name+".", field)
		if len(inner) == 0 {
			inner = []string{prefix + name}
		}
		all = append(all, inner...)
	}
	return all
}
