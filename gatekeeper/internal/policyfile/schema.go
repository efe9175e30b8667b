package policyfile

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON schema (draft 2020-12) of a policy document, indented. It uses only words that draft 7, which Helm
// reads, has with the same meaning.
func Schema() ([]byte, error) {
	reflector := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, RequiredFromJSONSchemaTags: true,
	}
	schema := reflector.Reflect(document{})
	schema.Title = "gatekeeper policy"
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the policy schema: %w", err)
	}
	return append(text, '\n'), nil
}
