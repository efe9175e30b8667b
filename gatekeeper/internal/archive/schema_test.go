package archive

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema of sidecars")

const published = "../../../docs/schemas/rollout.schema.json"

func TestSchemaFitsRealSidecars(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(published, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, published) != string(text) {
		t.Error("the published schema is another one: go test ./internal/archive -update")
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("sidecar.json", content); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("sidecar.json")
	if err != nil {
		t.Fatal(err)
	}
	memory, folder := open(t), t.TempDir()
	ids := closed(t, memory, 1)
	if err := in(t, folder, memory).File(t.Context()); err != nil {
		t.Fatal(err)
	}
	sidecar := read(t, filepath.Join(folder, rollouts), ids[0]+".json")
	fits := func(text string) error {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(document)
	}
	if err := fits(sidecar); err != nil {
		t.Errorf("a real sidecar does not fit: %v", err)
	}
	for what, wrong := range map[string]string{
		"a number in words":    strings.Replace(sidecar, `"weight":10`, `"weight":"ten"`, 1),
		"a field of no name":   strings.Replace(sidecar, `"ticks":[`, `"tricks":1,"ticks":[`, 1),
		"a tape without rules": `{"rollout":{},"ticks":[]}`,
	} {
		if wrong == sidecar || fits(wrong) == nil {
			t.Errorf("%s fits", what)
		}
	}
}
