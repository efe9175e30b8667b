// Package policyfile reads policy documents and the sinks file (YAML, strict) into values and says which line is wrong.
package policyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/rollout-monitoring/microservice_rollout_monitoring/gatekeeper/internal/policy"
)

// ParseFile reads one document. What it leaves out keeps the default policy's value. Unknown fields, wrong types and values
// out of range are errors that begin with "file:line: ", one line each; all values out of range are named at once.
func ParseFile(file string, text []byte) (policy.Rules, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return policy.Rules{}, located(file, err)
	}
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			return policy.Rules{}, fmt.Errorf("%s:%d: a second document; write one policy per file", file, doc.Body.GetToken().Position.Line)
		}
	}
	base := policy.Default()
	base.Name = ""
	d := fromRules(base)
	if err := yaml.UnmarshalWithOptions(text, &d, yaml.Strict()); err != nil {
		return policy.Rules{}, located(file, err)
	}
	rules := d.rules()
	return rules, outOfRange(file, tree, rules.Validate())
}

// located words an error of the YAML library for people who do not know Go's types.
func located(file string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	message := at.GetMessage()
	var wrongType *yaml.TypeError
	var unknown *yaml.UnknownFieldError
	var overflow *yaml.OverflowError
	var shape *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &wrongType):
		message = fmt.Sprintf("%q is not %s", at.GetToken().Value, kindWord(wrongType.DstType))
	case errors.As(err, &overflow):
		message = fmt.Sprintf("%s is not %s", overflow.SrcNum, kindWord(overflow.DstType))
	case errors.As(err, &shape):
		message = fmt.Sprintf("%s stands where %s is wanted", shapeWord(shape.Actual), shapeWord(shape.Expected))
	case errors.As(err, &unknown):
		message += "; gatekeeper policy schema and gatekeeper notify schema list the fields"
	}
	return fmt.Errorf("%s:%d: %s", file, at.GetToken().Position.Line, message)
}

func kindWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Float64:
		return "a number"
	case reflect.Uint64:
		return "a whole number from 0 on"
	default:
		return "text"
	}
}

func shapeWord(t ast.NodeType) string {
	switch t {
	case ast.MappingType, ast.MappingValueType:
		return "a block of fields"
	case ast.SequenceType:
		return "a list"
	default:
		return "a single value"
	}
}

// outOfRange gives each error of a Validate the line of its field, or of the nearest block around it that the
// document has.
func outOfRange(file string, tree *ast.File, err error) error {
	if err == nil {
		return nil
	}
	var all []error
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		line := 1
		var field policy.FieldError
		if errors.As(one, &field) {
			line = lineOf(tree, field.Field)
		}
		all = append(all, fmt.Errorf("%s:%d: %w", file, line, one))
	}
	return errors.Join(all...)
}

func lineOf(tree *ast.File, field string) int {
	for field != "" {
		if path, err := yaml.PathString("$." + field); err == nil {
			if node, err := path.FilterFile(tree); err == nil && node != nil {
				return node.GetToken().Position.Line
			}
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return 1
}

// JSON writes the whole document that rules stand for, with what it left out, indented.
func JSON(rules policy.Rules) ([]byte, error) {
	text, err := json.MarshalIndent(fromRules(rules), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write policy %s: %w", rules.Name, err)
	}
	return append(text, '\n'), nil
}

// Load reads every *.yaml file of a folder, by the policies' names. A policy named default is added when no file has
// one. Two files with one name are an error.
func Load(folder fs.FS) (policy.Set, error) {
	files, err := fs.Glob(folder, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	all := policy.Set{}
	from := map[string]string{}
	for _, file := range files {
		text, err := fs.ReadFile(folder, file)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		rules, err := ParseFile(file, text)
		if err != nil {
			return nil, fmt.Errorf("policy file %w", err)
		}
		if other, taken := from[rules.Name]; taken {
			return nil, fmt.Errorf("policy file %s: name %q is already used by %s", file, rules.Name, other)
		}
		all[rules.Name], from[rules.Name] = rules, file
	}
	if _, ok := all["default"]; !ok {
		all["default"] = policy.Default()
	}
	return all, nil
}
