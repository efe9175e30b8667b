package policyfile

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON schema (draft 2020-12) of a policy document, indented. It uses only words that draft 7, which Helm
// reads, has with the same meaning.
func Schema() ([]byte, error) { return schemaOf(document{}, "gatekeeper policy") }

func schemaOf(document any, title string) ([]byte, error) {
	reflector := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, RequiredFromJSONSchemaTags: true,
	}
	schema := reflector.Reflect(document)
	schema.Title = title
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", title, err)
	}
	return append(text, '\n'), nil
}
