package ingress

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed nginx.tmpl
var configuration string

// settings are the parts of the configuration that do not come from the API.
type settings struct {
	Listen  string // address:port
	Workers int
	Files   int      // descriptors a worker may have
	User    *account // nil unless we are root, when NGINX would change to a user who may not enter our folder
}

type account struct{ Name, Group string }

// Connections counts both sides, so a worker carries half as many requests.
func (s settings) Connections() int { return s.Files - 64 }

// render writes a model as a configuration file of NGINX.
func render(s settings, m model) (string, error) {
	t, err := template.New("nginx.conf").Funcs(template.FuncMap{
		"quote":     quote,
		"methods":   methods,
		"logFormat": logFormat,
	}).Parse(configuration)
	if err != nil {
		return "", fmt.Errorf("parse template of nginx.conf: %w", err)
	}
	var text strings.Builder
	if err := t.Execute(&text, struct {
		settings
		model
	}{s, m}); err != nil {
		return "", fmt.Errorf("write nginx.conf: %w", err)
	}
	return text.String(), nil
}

// quote makes one word of text. It does not stop NGINX from seeing variables: a $ must not come this far, except at
// the end of an expression in a map, where it is none.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
