package archive

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// Schema is the JSON schema (draft 2020-12) of a sidecar, indented.
func Schema() ([]byte, error) {
	reflector := jsonschema.Reflector{
		Anonymous: true, RequiredFromJSONSchemaTags: true,
		// Two rooms may use one word: both have Counts.
		Namer: func(t reflect.Type) string {
			if t.Name() == "" {
				return ""
			}
			return path.Base(t.PkgPath()) + "." + t.Name()
		},
	}
	schema := reflector.Reflect(policy.Tape{})
	schema.Title = "gatekeeper rollout sidecar"
	schema.Description = "A rollout that has ended: its record, the rules it was judged by, and every tick with the verdict it led to. Durations are nanoseconds."
	for name, of := range schema.Definitions {
		for at := of.Properties.Oldest(); at != nil; at = at.Next() {
			if p := at.Value; p.Type == "array" || p.Type == "object" || p.Ref != "" {
				at.Value = &jsonschema.Schema{OneOf: []*jsonschema.Schema{p, {Type: "null"}}} // Go writes what is empty so
			}
		}
		if name == "policy.Tape" {
			of.Required = []string{"rollout", "rules", "ticks"}
		}
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema of sidecars: %w", err)
	}
	return append(text, '\n'), nil
}
